import numpy as np
import pytest
from PIL import Image
from swappers import IdentityCopy

from deepfakery.convert.export import swap_clip
from deepfakery.media import provenance, video
from deepfakery.media.animation import animate


@pytest.fixture(scope="module")
def finished(short_clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "swap.mp4"
    swap_clip(short_clips["collins"], IdentityCopy(32), "collins", path, workers=0)
    return path


@pytest.mark.parametrize("kind", [".webp", ".gif"])
def test_a_clip_becomes_a_small_moving_picture(finished, tmp_path, kind):
    path = tmp_path / f"swap{kind}"
    animate(finished, path, width=160, fps=15)
    with Image.open(path) as moving:
        assert moving.n_frames == 6 and moving.size == (160, 160)
        pictures = []
        for i in (0, 5):
            moving.seek(i)
            pictures.append(np.asarray(moving.convert("RGB"), int))
    first = next(video.read_frames(finished)).image
    small = np.asarray(Image.fromarray(first).resize((160, 160), Image.Resampling.BOX))
    assert np.abs(pictures[0] - small).mean() < 8
    assert np.abs(pictures[0] - pictures[1]).mean() > 1
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [".webp", ".gif"])
def test_credentials_travel_on(finished, short_clips, tmp_path, kind):
    animate(finished, tmp_path / f"swap{kind}", width=96)
    said = provenance.inspect(tmp_path / f"swap{kind}")
    assert said["state"] == "Valid" and said["preset"] == "identity copy"
    assert said["ingredients"] == [finished.name]
    assert said["label"] == provenance.LABEL
    assert said["source_type"] == "compositeSynthetic"  # no network had a hand in it
    # Nor does ours vouch for what somebody changed.
    data = bytearray(finished.read_bytes())
    data[data.index(b"mdat") + 500] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    animate(tmp_path / "changed.mp4", tmp_path / f"changed{kind}", width=96)
    assert not provenance.inspect(tmp_path / f"changed{kind}")["signed"]
    # Footage that nobody painted into does not become a composite.
    animate(short_clips["collins"], tmp_path / "real.webp", width=96)
    assert not provenance.inspect(tmp_path / "real.webp")["signed"]


def test_a_part_of_a_clip_can_be_chosen(finished, tmp_path):
    animate(finished, tmp_path / "part.webp", width=64, fps=30, start=0.1, seconds=0.1)
    with Image.open(tmp_path / "part.webp") as moving:
        assert moving.n_frames == 3


def test_other_names_and_empty_parts_are_refused(finished, tmp_path):
    with pytest.raises(ValueError, match="webp"):
        animate(finished, tmp_path / "swap.avi")
    with pytest.raises(ValueError, match="is over"):
        animate(finished, tmp_path / "swap.gif", start=60)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_takes_the_place_of_ours_alone(suffix, short_clips, tmp_path):
    path = tmp_path / f"a{suffix}"
    for _ in range(2):  # of a clip that says nothing: the animation is not signed
        animate(short_clips["collins"], path, width=64)
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(ValueError, match="no export made it"):
        animate(short_clips["collins"], path, width=64)
    assert Image.open(path).size == (8, 8)
