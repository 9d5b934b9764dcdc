import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import detect, extraction, faceset, filtering, geometry, people
from deepfakery.faces.extraction import extract
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, records, video

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*passed over, which are no images:UserWarning"
)

KEYS = {
    "image",
    "source",
    "frame",
    "time",
    "landmarks",
    "transform",
    "score",
    "size",
    "sharpness",
    "light",
    "pose",
    "outline",
    "descriptor",
    "number",
    "version",
}


@pytest.fixture
def copied(facesets, tmp_path):
    """A copy of Hopper's face folder that a test may change."""
    return shutil.copytree(facesets["hopper"].folder, tmp_path / "hopper")


@pytest.fixture
def album(posed, tmp_path):
    """A folder of photos with a subfolder, a photo without a face, and other files."""
    folder = tmp_path / "album"
    images.write_image(folder / "p2.png", posed("collins", yaw=10))
    images.write_image(folder / "p10.jpg", posed("collins", yaw=-10))
    images.write_image(folder / "summer" / "p2.png", posed("collins", smile=1))
    images.write_image(folder / "p3.png", np.full((200, 300, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("not a photo")
    return folder


def grey_clip(path, frames=5):
    with video.VideoWriter(path, fps=25) as writer:
        for i in range(frames):
            writer.write(np.full((120, 160, 3), 80 + i, np.uint8))
    return path


def test_every_frame_gives_an_image_and_a_record(facesets, clips):
    for name, found in facesets.items():
        assert len(found) == 72
        lines = (found.folder / "faces.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == found.records
        assert [r["frame"] for r in found.records] == list(range(72))
        for record in found.records[::20]:
            assert set(record) == KEYS
            assert record["source"] == clips[name].name
            assert record["time"] == pytest.approx(record["frame"] / 30, abs=1e-3)
            assert np.shape(record["landmarks"]) == (68, 2)
            assert np.shape(record["transform"]) == (2, 3)
            assert np.shape(record["pose"]) == (3,)
            assert np.shape(record["descriptor"]) == (128,)
            assert record["score"] > -0.5 and record["sharpness"] > 0
            assert record["size"] > 100 and 60 < record["light"] < 220
            image = images.read_image(found.folder / record["image"])
            assert image.shape == (geometry.FACE_SIZE, geometry.FACE_SIZE, 3)
        files = {file.name for file in found.folder.glob("*.jpg")}
        assert files == {r["image"] for r in found.records}


def test_records_describe_their_frames(facesets, clips):
    found = facesets["collins"]
    frame = next(video.read_frames(clips["collins"], start=30))
    record = found.records[30]
    (face,) = detect.detect(frame.image, describe=True)
    # A look near the last face is not quite a look at the whole frame.
    eyes = face.landmarks[36:48].reshape(2, 6, 2).mean(1)
    apart = np.linalg.norm(record["landmarks"] - face.landmarks, axis=1).mean()
    assert apart < 0.05 * np.linalg.norm(eyes[1] - eyes[0])
    assert np.linalg.norm(record["descriptor"] - face.descriptor) < 0.25
    crop = geometry.crop(frame.image, np.float32(record["transform"]))
    assert np.abs(found.images()[30].astype(int) - crop).mean() < 2


def test_arrays_have_one_row_a_face(facesets):
    found = facesets["collins"]
    assert found.descriptors().shape == (72, 128)
    pictures = found.images(64)
    assert pictures.shape == (72, 64, 64, 3) and pictures.dtype == np.uint8
    few = found.images(64, limit=4)
    np.testing.assert_array_equal(few, pictures[[0, 24, 47, 71]])
    assert found.images(64, limit=500).shape == pictures.shape


@pytest.mark.parametrize("size", [256, 96])
def test_landmarks_land_on_the_aligned_face(facesets, landmarks, size):
    found = facesets["hopper"]
    points = found.landmarks(size)
    assert points.shape == (72, 68, 2) and points.dtype == np.float32
    for i in (0, 40):
        picture = cv2.resize(found.images(size)[i], (256, 256))
        seen = landmarks(picture) * size / 256
        assert np.abs(seen - points[i])[17:].mean() < 0.02 * size


def test_a_deleted_image_is_a_deleted_face(copied, facesets):
    gone = [facesets["hopper"].records[i]["image"] for i in (0, 10, 11)]
    for name in gone:
        (copied / name).unlink()
    left = FaceSet.load(copied)
    assert len(left) == 69 and len(left.images(32)) == 69
    assert not {r["image"] for r in left.records} & set(gone)
    assert left.fingerprint() != facesets["hopper"].fingerprint()
    assert left.fingerprint().startswith("69 faces, ")
    assert FaceSet.load(copied).fingerprint() == left.fingerprint()


@pytest.mark.parametrize("written", [3, 8, 12])
def test_an_interrupted_extraction_goes_on(written, short_clips, tmp_path, monkeypatch):
    monkeypatch.setattr(filtering, "FRAMES", 3)  # several pieces
    clip = short_clips["hopper"]
    whole = quick(clip, tmp_path / "whole")
    write, calls = records.write, []

    def interrupted(path, content):
        calls.append(path)
        if len(calls) == written:
            path.write_bytes(b"torn")
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(records, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(clip, tmp_path / "hopper")
    monkeypatch.setattr(records, "write", write)
    if written == 12:  # a kill may also tear a line
        with (tmp_path / "hopper" / "faces.jsonl").open("a") as lines:
            lines.write('{"image": "x.jpg", "sou')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = quick(clip, tmp_path / "hopper")
    assert again.records == whole.records
    np.testing.assert_array_equal(again.images(64), whole.images(64))
    states = [
        json.loads((tmp_path / name / "extraction.json").read_text())
        for name in ("whole", "hopper")
    ]
    assert states[0] == states[1] and states[0]["frames"] == 12
    assert not list(tmp_path.rglob(".*"))


def test_a_full_disk_is_named_and_leaves_no_half_record(tmp_path, clips):
    # A process that may write only small files, like one whose disk is full.
    program = """if True:
        import resource, signal, sys
        from deepfakery.faces import extraction
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        try:
            extraction.extract(sys.argv[1], sys.argv[2], describe=False, workers=0)
        except OSError as error:
            print(error)
    """
    arguments = [sys.executable, "-c", program, clips["collins"], tmp_path / "faces"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert "could not be written (File too large); make room" in done.stdout
    assert "Traceback" not in done.stderr
    for record in FaceSet.load(tmp_path / "faces").records:
        assert images.read_image(tmp_path / "faces" / record["image"]).shape[0] == 256
    assert not list(tmp_path.rglob(".*"))
    # With room again it is finished.
    again = extract(clips["collins"], tmp_path / "faces", describe=False, workers=0)
    assert len(again) == 72


def test_a_kill_before_the_first_face_is_no_other_footage(
    short_clips, tmp_path, monkeypatch, capsys
):
    def killed(*given):
        work(*given)
        raise KeyboardInterrupt

    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    for name in ("write_lines", "append"):  # before the list of faces, and after it
        work = getattr(records, name)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(records, name, killed)
            patch.setattr(shutil, "disk_usage", lambda place: free)
            quick(short_clips["hopper"], tmp_path / "faces")
    assert "faces may take up to about 0.5 MB" in capsys.readouterr().out
    assert len(quick(short_clips["hopper"], tmp_path / "faces")) == 12


def test_a_finished_folder_is_returned_as_it_is(copied, clips):
    FaceSet.load(copied)
    (copied / FaceSet.load(copied).records[5]["image"]).unlink()
    before = {file: file.stat().st_mtime_ns for file in copied.iterdir()}
    again = extract(clips["hopper"], copied, workers=0)
    assert len(again) == 71
    assert {file: file.stat().st_mtime_ns for file in copied.iterdir()} == before


def test_a_folder_of_other_footage_is_refused(copied, clips):
    with pytest.raises(ValueError, match=r"hopper\.mp4, not of collins\.mp4"):
        extract(clips["collins"], copied, workers=0)
    assert len(FaceSet.load(copied)) == 72


def test_footage_without_a_face_is_named_and_leaves_nothing(tmp_path):
    clip = grey_clip(tmp_path / "fog.mp4")
    with pytest.raises(ValueError, match=r"fog\.mp4 shows no face.*none"):
        extract(clip, tmp_path / "faces", workers=0)
    assert not (tmp_path / "faces").exists()


def test_footage_with_too_few_faces_is_named_and_leaves_nothing(tmp_path, short_clips):
    clip = shutil.copy(short_clips["collins"], tmp_path / "glimpse.mp4")
    with pytest.raises(ValueError, match=r"glimpse\.mp4 shows only 12 .*at least 64"):
        extract(clip, tmp_path / "faces", minimum=64, describe=False, workers=0)
    assert not (tmp_path / "faces").exists()


def test_a_folder_of_too_few_faces_is_never_deleted(copied, clips):
    for record in FaceSet.load(copied).records[:40]:
        (copied / record["image"]).unlink()
    with pytest.raises(ValueError, match="32 faces"):
        extract(clips["hopper"], copied, minimum=64, workers=0)
    assert len(FaceSet.load(copied)) == 32


def test_a_folder_that_was_there_before_is_never_deleted(tmp_path, short_clips):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="no face"):
        extract(grey_clip(tmp_path / "fog.mp4"), tmp_path / "mine", workers=0)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert len(extract(short_clips["collins"], tmp_path / "mine", workers=0)) == 12


def test_footage_that_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "text.mp4").write_text("words")
    (tmp_path / "empty").mkdir()
    for name in ("text.mp4", "missing.mp4", "missing.jpg", "empty"):
        with pytest.raises(video.MediaError, match=name):
            extract(tmp_path / name, tmp_path / "faces", workers=0)
        assert not (tmp_path / "faces").exists()


def test_a_nested_folder_of_photos_is_footage(album, tmp_path):
    found = extract(album, tmp_path / "faces", describe=False, workers=0)
    names = ["p2.png", "p10.jpg", "summer/p2.png"]
    assert [r["source"] for r in found.records] == names
    assert [r["frame"] for r in found.records] == [0, 2, 3]
    assert len({r["image"] for r in found.records}) == 3
    assert all(r["descriptor"] is None for r in found.records)
    state = json.loads((tmp_path / "faces/extraction.json").read_text())
    assert state["frames"] == 4 and state["lines"] == 3


def test_a_single_photo_is_footage(album, tmp_path):
    found = extract(album / "p10.jpg", tmp_path / "faces", workers=0)
    assert len(found) == 1 and found.descriptors().shape == (1, 128)


def test_the_largest_face_of_a_frame_is_kept(posed, tmp_path):
    image = np.full((384, 640, 3), 127, np.uint8)
    image[:, 256:] = posed("collins")
    image[:224, 10:234] = cv2.resize(posed("hopper"), (224, 224))
    images.write_image(tmp_path / "pair.png", image)
    (record,) = extract(tmp_path / "pair.png", tmp_path / "faces", workers=0).records
    assert np.min(record["landmarks"], axis=0)[0] > 256


def test_too_few_faces_for_training_are_named(facesets, copied):
    enough = facesets["collins"]
    assert enough.require() is enough
    with pytest.raises(ValueError, match="hopper holds 72 faces.* at least 100"):
        FaceSet.load(copied).require(100)
    assert faceset.MINIMUM == 64


def test_what_is_no_face_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a face folder"):
        FaceSet.load(tmp_path / "nowhere")


def test_both_people_hold_the_same_pose(facesets):
    yaw = [[r["pose"][0] for r in f.records] for f in facesets.values()]
    assert np.corrcoef(yaw)[0, 1] > 0.5
    assert samples.PEOPLE == tuple(facesets)


def test_held_out_faces_are_stretches_and_all_faces_are_somewhere(facesets):
    found = facesets["hopper"]
    train, held = found.split(0.2)
    assert len(held) == 14 and len(train) == 58
    numbers = [r["number"] for r in held.records]
    assert numbers == [r["number"] for r in found.split(0.2)[1].records]
    both = sorted(train.records + held.records, key=lambda r: r["number"])
    assert both == found.records
    # Four stretches, spread over the clip: a frame's neighbours are held out with it.
    assert (np.diff(numbers) > 1).sum() == 3
    assert numbers[0] < 15 and numbers[-1] > 55
    train, held = FaceSet(found.folder, found.records[:20]).split()
    assert len(train) == 18 and len(held) == 2


def test_a_folder_of_clips_and_photos_is_footage(album, short_clips, tmp_path):
    shutil.copy(short_clips["collins"], album / "summer" / "clip.mp4")
    (album / "broken.mp4").write_text("words")
    with pytest.warns(UserWarning, match=r"broken\.mp4"):
        found = extract(album, tmp_path / "faces", describe=False, workers=0)
    assert len(found) == 3 + 12
    names = {"p2.png", "p10.jpg", "summer/p2.png", "summer/clip.mp4"}
    assert {r["source"] for r in found.records} == names


def test_several_sources_are_one_set(short_clips, album, tmp_path):
    sources = [short_clips["collins"], album]
    found = extract(sources, tmp_path / "faces", describe=False, workers=0)
    assert len(found) == 12 + 3
    with pytest.raises(ValueError, match="without descriptors.* choose another folder"):
        extract(sources, tmp_path / "faces", workers=0)


def test_limits_are_kept_and_counted(short_clips, tmp_path):
    clip, limits = short_clips["collins"], {"yaw": 12, "alike": None}
    found = quick(clip, tmp_path / "faces", limits=limits)
    assert np.abs([r["pose"][0] for r in found.records]).max() <= 12
    ((reason, (count, pictures)),) = found.rejected().items()
    assert reason == "turned too far" and count == 12 - len(found) > 0
    assert pictures.shape == (min(count, 2), 256, 256, 3)
    with pytest.raises(ValueError, match="other limits"):
        quick(clip, tmp_path / "faces")
    with pytest.raises(ValueError, match="no limit"):
        quick(clip, tmp_path / "other", limits={"beauty": 1})


def test_footage_of_bad_faces_says_why(tmp_path, short_clips):
    with pytest.raises(ValueError, match=r"good enough \(12 too small\)"):
        quick(short_clips["collins"], tmp_path / "faces", limits={"size": 900})
    assert not (tmp_path / "faces").exists()


def test_a_still_head_is_not_kept_a_thousand_times(posed, tmp_path, monkeypatch):
    monkeypatch.setattr(filtering, "PLENTY", 10)
    clip = tmp_path / "still.mp4"
    with video.VideoWriter(clip, fps=30) as writer:
        for i in range(60):
            writer.write(posed("collins", mouth_open=float(i >= 30)))
    found = extract(clip, tmp_path / "faces", describe=False, workers=0)
    assert 2 <= len(found) < 15
    count, _ = found.rejected()["near-duplicate"]
    assert count == 60 - len(found)
    # What moved is there all the same.
    assert {r["frame"] >= 30 for r in found.records} == {True, False}


def test_one_clip_of_many_may_fail(short_clips, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("words")
    clips = short_clips | {"bad": bad}
    done, failed = extraction.extract_many(
        clips, tmp_path / "faces", describe=False, workers=2
    )
    assert list(done) == ["collins", "hopper"]
    assert [len(found) for found in done.values()] == [12, 12]
    assert list(failed) == ["bad"] and "not a video" in failed["bad"]


def test_a_cluster_does_the_same_though_a_worker_is_killed(short_clips, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the cluster extra")

    def kill_one(client):
        while not any((tmp_path / "faces").glob("*/*.jpg")):
            time.sleep(0.05)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    (tmp_path / "bad.mp4").write_text("words")
    clips = short_clips | {"bad": tmp_path / "bad.mp4"}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        with distributed.Client(cluster) as client, ThreadPoolExecutor(1) as aside:
            killed = aside.submit(kill_one, client)
            done, failed = extraction.extract_many(
                clips,
                tmp_path / "faces",
                executor=client.get_executor(),
                describe=False,
            )
            killed.result()
    assert [len(found) for found in done.values()] == [12, 12]
    assert list(failed) == ["bad"] and "not a video" in failed["bad"]


def grown(album, posed, count=2):
    """More photos, sorted before those that are there."""
    for i in range(count):
        picture = posed("collins", yaw=12 * i - 20, light=1)
        images.write_image(album / f"a{i}.png", picture)


def photos(folder, person, posed, count=3):
    for i in range(count):
        images.write_image(folder / f"IMG_{i}.png", posed(person, yaw=9 * i - 9))
    return folder


def quick(source, folder, **options):
    return extract(source, folder, **{"describe": False, "workers": 0, **options})


def assert_own_pictures(found, folder):
    """Every record has a picture of its own, and it is of the frame that it names."""
    names = [r["image"] for r in found.records]
    assert len({name.casefold() for name in names}) == len(names)
    sources = {r["source"] for r in found.records}
    frames = {name: list(images.read_source(folder / name)) for name in sources}
    for record, image in zip(found.records, found.images(256), strict=True):
        there = frames[record["source"]]
        frame = there[record["frame"] if len(there) > 1 else 0].image
        crop = geometry.crop(frame, np.float32(record["transform"]))
        assert np.abs(image.astype(int) - crop).mean() < 4  # other frames: 26 and more


#: Pairs that would be one name in a folder of faces, on one system or another.
CLASHES = (
    ("day1/photo.png", "day2/photo.png"),
    ("photo.png", "photo.jpg"),
    ("a" * 60 + "1.png", "a" * 60 + "2.png"),
    ("Face.png", "face.png"),
    ("a_b/c.png", "a/b_c.png"),
    ("a?.png", "a:.png"),
)


def test_files_of_one_name_do_not_overwrite_each_other(posed, tmp_path):
    for i, names in enumerate(CLASHES):
        for person, name in zip(samples.PEOPLE, names, strict=True):
            picture = posed(person, yaw=5 * i - 12)
            images.write_image(tmp_path / "in" / name, picture)
    found = quick(tmp_path / "in", tmp_path / "faces", limits={"alike": None})
    assert len(found) == 12 == len(list((tmp_path / "faces").glob("*.jpg")))
    assert {r["source"] for r in found.records} == {n for two in CLASHES for n in two}
    assert_own_pictures(found, tmp_path / "in")


def test_names_stay_when_a_clip_of_the_same_name_comes_later(short_clips, tmp_path):
    sources = [tmp_path / day / "clip.mp4" for day in ("day1", "day2")]
    for clip, source in zip(short_clips.values(), sources, strict=True):
        source.parent.mkdir()
        shutil.copy(clip, source)
    first = quick(sources[0], tmp_path / "faces").records
    both = quick([*sources[::-1]], tmp_path / "faces").records
    assert both[:12] == first and len(both) == 24
    assert {r["source"] for r in both} == {"clip.mp4", "day2/clip.mp4"}


def test_a_picture_that_lay_there_before_is_not_overwritten(short_clips, tmp_path):
    mine = tmp_path / "faces" / "Collins_Short_000003.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    found = quick(short_clips["collins"], mine.parent)
    assert mine.read_bytes() == b"mine" and len(found) == 12
    assert len(list(mine.parent.glob("*.jpg"))) == 13


def test_photos_added_are_looked_through_and_removed_ones_laid_aside(
    album, posed, tmp_path, monkeypatch
):
    folder = tmp_path / "faces"
    first = quick(album, folder)
    (folder / first.records[0]["image"]).unlink()
    grown(album, posed)
    looked, look = [], filtering.filter_piece
    monkeypatch.setattr(
        filtering,
        "filter_piece",
        lambda file, *more: looked.append(file) or look(file, *more),
    )
    more = quick(album, folder)
    assert [file.name for file in looked] == ["a0.png", "a1.png"]
    names = ["p10.jpg", "summer/p2.png", "a0.png", "a1.png"]
    assert [r["source"] for r in more.records] == names  # the deleted one stays so
    assert_own_pictures(more, album)
    (album / "p10.jpg").rename(tmp_path / "p10.jpg")
    assert [r["source"] for r in quick(album, folder).records] == names[1:]
    assert len(list((folder / "others" / "removed").glob("*.jpg"))) == 1
    (tmp_path / "p10.jpg").rename(album / "back.jpg")
    assert [r["source"] for r in quick(album, folder).records] == names
    assert len(looked) == 2 and not (folder / "others").exists()


@pytest.mark.filterwarnings("ignore:Left out")
def test_footage_is_added_where_a_picture_is_damaged(album, posed, tmp_path):
    found = quick(album, tmp_path / "faces")
    (found.folder / found.records[0]["image"]).write_bytes(b"torn")
    grown(album, posed)
    with pytest.warns(UserWarning, match="is cut short"):
        assert len(quick(album, found.folder)) == 2 + 2


def test_a_place_that_is_a_link_out_of_the_folder_is_refused(album, posed, tmp_path):
    rejected = quick(album, tmp_path / "faces").folder / "rejected"
    shutil.rmtree(rejected, ignore_errors=True)
    (tmp_path / "elsewhere").mkdir()
    rejected.symlink_to(tmp_path / "elsewhere")
    grown(album, posed)
    with pytest.raises(ValueError, match="rejected is a link"):
        quick(album, tmp_path / "faces")
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_photos_may_come_and_go_while_it_is_interrupted(posed, tmp_path, monkeypatch):
    album, folder = photos(tmp_path / "album", "collins", posed, 5), tmp_path / "faces"
    look, looked = filtering.filter_piece, []

    def interrupted(*piece):
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(piece)
        return look(*piece)

    monkeypatch.setattr(filtering, "filter_piece", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(album, folder)
    monkeypatch.setattr(filtering, "filter_piece", look)
    grown(album, posed)
    for gone in ("IMG_0.png", "IMG_4.png"):
        (album / gone).unlink()
    found = quick(album, folder)
    assert sorted(r["source"] for r in found.records) == [
        *("IMG_1.png", "IMG_2.png", "IMG_3.png", "a0.png", "a1.png")
    ]
    assert_own_pictures(found, album)


def test_moved_footage_is_the_same_and_other_footage_is_refused(
    posed, short_clips, tmp_path
):
    alice, carol = tmp_path / "alice/photos", tmp_path / "carol/photos"
    found = quick(photos(alice, "collins", posed), tmp_path / "faces")
    photos(carol, "hopper", posed)
    with pytest.raises(ValueError, match="and 2 more, not of .*: none of the 3"):
        quick(carol, tmp_path / "faces")
    shutil.copytree(alice, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(alice)
    assert quick(tmp_path / "copy", tmp_path / "faces").records == found.records
    # The names are those of the other folder, the faces are not.
    other = quick(carol, tmp_path / "others")
    names = [[r["image"] for r in f.records] for f in (found, other)]
    assert names[0] == names[1] and found.fingerprint() != other.fingerprint()
    day = shutil.copyfile(short_clips["collins"], tmp_path / "day.mp4")
    quick(day, tmp_path / "day")
    shutil.copyfile(short_clips["hopper"], day)
    for sources in (day, [day, tmp_path / "copy"]):
        with pytest.raises(
            ValueError, match=r"faces of day\.mp4, .*content has changed"
        ):
            quick(sources, tmp_path / "day")
    assert len(FaceSet.load(tmp_path / "day")) == 12


def test_a_face_folder_is_no_footage(album, tmp_path):
    for inside in (album, album / "out" / "faces"):
        with pytest.raises(ValueError, match="choose a folder outside"):
            quick(album, inside)
    assert not (album / "out").exists()
    quick(album, tmp_path / "faces")
    shutil.copytree(tmp_path / "faces", album / "out")
    shutil.copytree(tmp_path / "faces", album / "out/others/person_2")
    assert len(quick(album, tmp_path / "again")) == 3
    assert len(quick(album, tmp_path / "faces")) == 3


def test_one_writer_a_folder(copied, clips, tmp_path):
    with records.one_writer(copied, "extracts faces"):
        for work in (
            lambda: extract(clips["hopper"], copied, who=1, workers=0),
            lambda: people.choose(copied, 1),
        ):
            with pytest.raises(BlockingIOError, match="hopper is in use: process"):
                work()
        assert len(extract(clips["hopper"], copied)) == 72  # reading is free
    with records.one_writer(tmp_path / "new", "extracts faces"):
        with pytest.raises(BlockingIOError):
            quick(clips["hopper"], tmp_path / "new")
    assert len(extract(clips["hopper"], copied, who=1, workers=0)) == 72
    assert not list(tmp_path.rglob(".lock"))


def test_what_somebody_put_into_a_new_folder_stays(tmp_path, monkeypatch):
    folder, look = tmp_path / "faces", filtering.filter_piece

    def meanwhile(*piece):
        (folder / "mine.jpg").write_text("mine")
        return look(*piece)

    monkeypatch.setattr(filtering, "filter_piece", meanwhile)
    with pytest.raises(ValueError, match="no face"):
        extract(grey_clip(tmp_path / "fog.mp4"), folder, workers=0)
    assert [file.name for file in folder.iterdir()] == ["mine.jpg"]


def test_an_index_of_unknown_footage_is_not_emptied(copied, clips):
    (copied / "extraction.json").unlink()
    before = (copied / "faces.jsonl").read_bytes()
    with pytest.raises(ValueError, match="holds faces, and no extraction.json"):
        extract(clips["hopper"], copied, workers=0)
    assert (copied / "faces.jsonl").read_bytes() == before


BAD = {
    "outside": {"image": "../secret.jpg"},
    "absolute": {"image": "/etc/secret.jpg"},
    "drive": {"image": "C:secret.jpg"},
    "backslash": {"image": "..\\secret.jpg"},
    "zero": {"image": "a\0.jpg"},
    "empty": {"image": ""},
    "dots": {"image": ".."},
    "index": {"image": "faces.jsonl"},
    "number": {"image": 7},
    "list": {"image": ["a.jpg"]},
    "long": {"image": "a" * 300 + ".jpg"},
    "surrogate": {"image": "\ud800.jpg"},
    "source": {"source": None},
    "landmarks": {"landmarks": [[1, 2]] * 67},
    "ragged": {"landmarks": [[1, 2]] * 67 + [[1]]},
    "text": {"landmarks": [["1", "2"]] * 68},
    "descriptor": {"descriptor": [0.1] * 127},
    "nan": {"pose": [0, float("nan"), 0]},
    "infinity": {"sharpness": float("inf")},
    "huge": {"frame": 10**400},
    "large": {"light": 1e300},
    "negative": {"number": -1},
    "half": {"number": 0.5},
    "string": {"time": "0"},
    "null": {"transform": None},
}


@pytest.mark.parametrize("left", [0, 1, 0.5])
def test_a_picture_that_is_cut_short_is_named_and_the_others_stay(left, copied):
    name = FaceSet.load(copied).records[4]["image"]
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[: int(left * len(data)) if left < 1 else 1])
    with pytest.warns(UserWarning, match=f"{name} is cut short.*left out"):
        found = FaceSet.load(copied)
    assert found.images(64).shape == (71, 64, 64, 3)
    assert name not in {record["image"] for record in found.records}


@pytest.mark.parametrize("kind", [*BAD, "missing", "not an object", "deep"])
def test_a_bad_record_is_named_and_the_others_stay(kind, copied, tmp_path):
    (tmp_path / "secret.jpg").write_text("mine")
    lines = (copied / "faces.jsonl").read_text().splitlines()
    record = json.loads(lines[4])
    if kind == "missing":
        del record["score"]
    lines[4] = json.dumps(record | BAD.get(kind, {}))
    if kind == "not an object":
        lines[4] = "[1, 2]"
    if kind == "deep":
        lines[4] = "[" * 100_000
    (copied / "faces.jsonl").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"faces\.jsonl, line 5: .*left out"):
        found = FaceSet.load(copied)
    assert len(found) == 71
    assert found.landmarks().shape == (71, 68, 2)
    assert found.descriptors().shape == (71, 128)
    with pytest.warns(UserWarning, match="line 5"):
        people.choose(copied, 1)
    assert (tmp_path / "secret.jpg").read_text() == "mine"
    assert len(FaceSet.load(copied)) == 71


def test_a_picture_that_is_a_link_out_of_the_folder_is_left_out(copied, tmp_path):
    name = FaceSet.load(copied).records[3]["image"]
    (copied / name).rename(tmp_path / "elsewhere.jpg")
    (copied / name).symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.warns(UserWarning, match=f"{name} is a link out"):
        assert len(FaceSet.load(copied)) == 71


@pytest.mark.parametrize(
    "change",
    [
        "words",
        "[]",
        {"files": {}},
        {"files": [[]]},
        {"lines": "72"},
        {"lines": float("nan")},
        {"limits": []},
        {"rejected": {"../..": 3}},
        {"rejected": {"blurred": "3"}},
        {"seen": -1},
        {"who": 7},
        {"files": [{"stem": "../x"}]},
    ],
)
def test_a_damaged_state_is_named(change, copied, clips):
    file = copied / "extraction.json"
    state = json.loads(file.read_text())
    if isinstance(change, dict):
        if change.get("files") == [{"stem": "../x"}]:
            change = {"files": [state["files"][0] | {"stem": "../x"}]}
        change = json.dumps(state | change)
    file.write_text(change)
    for work in (
        lambda: extract(clips["hopper"], copied, workers=0),
        FaceSet.load(copied).rejected,
        lambda: people.choose(copied, 1),
    ):
        with pytest.raises(ValueError, match=r"extraction\.json is damaged or of an"):
            work()
    assert len(FaceSet.load(copied)) == 72
