import shutil

import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import filtering, people
from deepfakery.faces.extraction import extract
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, video
from deepfakery.notebook.controls import Chooser


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A clip of both people side by side."""
    clip = tmp_path_factory.mktemp("pair") / "pair.mp4"
    moves = samples.motion(300, seed=2)[::30]
    both = [samples.animate(name, moves) for name in samples.PEOPLE]
    with video.VideoWriter(clip, fps=10) as writer:
        for i, (left, right) in enumerate(zip(*both, strict=True)):
            left = left if i < 9 else np.zeros_like(left)  # seen less often
            writer.write(np.concatenate([left, right], axis=1))
    return clip


@pytest.fixture(scope="module")
def extracted(pair, tmp_path_factory):
    return extract(pair, tmp_path_factory.mktemp("pair") / "faces", workers=2).folder


@pytest.fixture
def crowd(extracted, tmp_path):
    """The faces of the clip, in a folder that a test may change."""
    return FaceSet.load(shutil.copytree(extracted, tmp_path / "faces"))


def side(found):
    return {
        "left" if np.mean(r["landmarks"], 0)[0] < 384 else "right"
        for r in found.records
    }


def test_the_most_frequent_person_is_kept_and_the_other_lies_beside(crowd):
    assert len(crowd) == 10 and side(crowd) == {"right"}
    (other,) = crowd.others().values()
    assert len(other) == 9 and side(other) == {"left"}
    means = [found.descriptors().mean(0) for found in (crowd, other)]
    for found, own in ((crowd, 0), (other, 1)):
        away = [np.linalg.norm(found.descriptors() - mean, axis=1) for mean in means]
        assert (away[own] < away[1 - own]).all() and away[own].max() < 0.6


def test_another_person_may_be_chosen_by_number(crowd, pair):
    records = crowd.records
    again = extract(pair, crowd.folder, who=2, workers=0)
    assert len(again) == 9 and side(again) == {"left"}
    assert list(again.others()) == ["person_1"]
    assert extract(pair, crowd.folder, who=1, workers=0).records == records
    with pytest.raises(ValueError, match="2 people; there is no person 3"):
        extract(pair, crowd.folder, who=3, workers=0)
    assert len(extract(pair, crowd.folder, who="everyone", workers=0)) == 19


def test_a_person_may_be_chosen_by_a_photo(crowd, pair, posed, tmp_path):
    for name, where in zip(samples.PEOPLE, ("left", "right"), strict=True):
        images.write_image(tmp_path / "photo.png", posed(name, yaw=8))
        found = extract(pair, crowd.folder, who=tmp_path / "photo.png", workers=0)
        assert side(found) == {where}


def test_a_photo_of_somebody_else_or_nobody_is_refused(pair, noise, posed, tmp_path):
    images.write_image(tmp_path / "nobody.png", noise)
    images.write_image(tmp_path / "hopper.png", posed("hopper"))
    alone = tmp_path / "alone.png"
    images.write_image(alone, posed("collins"))
    for photo, words in (("nobody", "shows no face"), ("hopper", "is not among the 1")):
        with pytest.raises(ValueError, match=f"{photo}.png {words}"):
            extract(alone, tmp_path / "faces", who=tmp_path / f"{photo}.png", workers=0)
        assert not (tmp_path / "faces").exists()


def test_a_deleted_face_stays_deleted_whoever_is_chosen(crowd, pair):
    (crowd.folder / crowd.records[3]["image"]).unlink()
    (other,) = crowd.others().values()
    (other.folder / other.records[0]["image"]).unlink()
    assert len(extract(pair, crowd.folder, who=2, workers=0)) == 8
    assert len(extract(pair, crowd.folder, who=1, workers=0)) == 9


def test_choosing_may_be_interrupted(crowd, monkeypatch):
    write = people.write_lines
    monkeypatch.setattr(people, "write_lines", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        people.choose(crowd.folder, 2)
    monkeypatch.setattr(people, "write_lines", write)
    people.choose(crowd.folder, 2)
    found = FaceSet.load(crowd.folder)
    assert len(found) == 9 and sum(map(len, found.others().values())) == 10


def test_groups_are_numbered_by_size_and_strangers_are_nobody():
    random = np.random.default_rng(0)
    centres = random.normal(0, 0.08, (3, 128))
    sizes = (5, 2000, 40)
    made = [
        centre + random.normal(0, 0.015, (size, 128))
        for centre, size in zip(centres, sizes, strict=True)
    ]
    numbers = people.group(np.float32(np.concatenate(made)))
    # Five among two thousand may be missed by the sample, but are never another.
    assert set(numbers[:5]) in ({0}, {3})
    assert set(numbers[5:2005]) == {1} and set(numbers[2005:]) == {2}
    assert people.group(np.zeros((1, 128), np.float32)).tolist() == [1]


def test_a_person_may_be_chosen_by_a_click(crowd, pair):
    chooser = Chooser(pair, crowd.folder, workers=0)

    def buttons():
        return [row.children[0] for row in chooser.children]

    assert [b.description for b in buttons()] == ["1: 10 faces", "2: 9 faces"]
    assert [b.disabled for b in buttons()] == [True, False]
    buttons()[1].click()
    assert [b.disabled for b in buttons()] == [False, True]
    assert side(chooser.faceset) == {"left"} and len(chooser.faceset) == 9
    assert len(FaceSet.load(crowd.folder)) == 9
    buttons()[0].click()
    assert side(chooser.faceset) == {"right"}
    strip = chooser.children[1].children[1]
    assert filtering.decode(strip.value).shape[:2] == (72, 10 * 74 - 2)


def test_who_was_clicked_is_kept_until_another_is_asked_for(crowd, pair, capsys):
    Chooser(pair, crowd.folder, who="most", workers=0).choose(2)
    capsys.readouterr()
    for who in ("most", None):  # the cells are run again
        assert side(extract(pair, crowd.folder, who=who, workers=0)) == {"left"}
        assert "keeps person 2, as chosen" in capsys.readouterr().out
    chooser = Chooser(pair, crowd.folder, who="most", workers=0)
    assert side(chooser.faceset) == {"left"}
    assert side(extract(pair, crowd.folder, who=1, workers=0)) == {"right"}
    assert side(extract(pair, crowd.folder, workers=0)) == {"right"}
    assert side(extract(pair, crowd.folder, who=2, workers=0)) == {"left"}
    capsys.readouterr()
    assert side(extract(pair, crowd.folder, who="most", workers=0)) == {"right"}
    assert not capsys.readouterr().out


def test_the_person_stays_when_footage_of_others_is_added(crowd, pair, posed, tmp_path):
    def names(found):
        return {r["source"] for r in found.records}

    for i in range(8):  # now the other one is seen more often
        picture = posed("collins", yaw=5 * i - 20)
        images.write_image(tmp_path / f"album/{i}.png", picture)
    both = [pair, tmp_path / "album"]
    found = extract(both, crowd.folder, who="most", workers=0)
    assert side(found) == {"right"} and names(found) == {"pair.mp4"}
    assert list(found.others()) == ["person_1"]
    found = extract(both, crowd.folder, who=1, workers=0)
    assert len(found) == 9 + 8 and names(found) == {"pair.mp4", *album(8)}
    found = extract(both[1:], crowd.folder, who=1, workers=0)
    assert len(found) == 8 and not found.others()


def album(count):
    return [f"{i}.png" for i in range(count)]


def test_choosing_removes_nothing_that_is_not_its_own(crowd):
    (other,) = crowd.others().values()
    (other.folder / "notes.txt").write_text("mine")
    (crowd.folder / "others/person_bob").mkdir()
    people.choose(crowd.folder, "everyone")
    assert len(FaceSet.load(crowd.folder)) == 19
    left = [file.name for file in (crowd.folder / "others").rglob("*")]
    assert sorted(left) == ["notes.txt", other.folder.name, "person_bob"]
    assert FaceSet.load(crowd.folder).others() == {}
    people.choose(crowd.folder, 1)
    assert len(FaceSet.load(crowd.folder)) == 10


def test_faces_do_not_leave_their_folder_by_a_link(crowd, tmp_path):
    others = crowd.folder / "others"
    others.rename(tmp_path / "elsewhere")
    others.symlink_to(tmp_path / "elsewhere")
    before = sorted(file.name for file in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="others is a link"):
        people.choose(crowd.folder, 1)
    assert sorted(file.name for file in tmp_path.rglob("*")) == before
