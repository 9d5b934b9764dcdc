import cv2
import numpy as np
import pytest
from PIL import Image

from deepfakery import images
from deepfakery.video import MediaError, read_frames


@pytest.fixture
def folder(tmp_path):
    """Five images in two folders, in natural order 0 to 4, and a text."""
    names = ("a/1.png", "a/2.png", "a/10.png", "b.png", "c.png")
    for value, name in enumerate(names):
        images.write_image(tmp_path / name, np.full((8, 8, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_frames_are_counted_whatever_the_source(folder, clips):
    assert images.count_frames(clips["collins"]) == 72
    assert images.count_frames(folder) == 5
    assert images.count_frames(folder / "b.png") == 1
    for source in (clips["collins"], folder, folder / "b.png"):
        assert images.count_frames(source) == len(list(images.read_source(source)))


def test_counting_what_is_missing_is_an_error(tmp_path):
    for name in ("missing.mp4", "missing.png", "missing"):
        with pytest.raises(MediaError, match=name):
            images.count_frames(tmp_path / name)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_a_folder_may_be_read_from_any_image_on(folder, start):
    frames = list(images.read_source(folder, start))
    assert [f.index for f in frames] == list(range(start, 5))
    assert [f.image[0, 0, 0] for f in frames] == list(range(start, 5))


def test_a_clip_may_be_read_from_any_frame_on(clips):
    late = list(images.read_source(clips["hopper"], start=69))
    assert [f.index for f in late] == [69, 70, 71]
    everything = list(read_frames(clips["hopper"]))
    np.testing.assert_array_equal(late[0].image, everything[69].image)


def test_beyond_the_end_nothing_is_left(folder, clips):
    assert list(images.read_source(folder, start=5)) == []
    assert list(images.read_source(clips["hopper"], start=72)) == []


def test_stills_are_spread_from_the_first_frame_to_the_last(folder):
    def shown(*arguments):
        return [image[0, 0, 0] for image in images.stills(folder, *arguments)]

    assert shown(3) == [0, 2, 4]
    assert shown(9) == [0, 1, 2, 3, 4]
    assert shown(2, {1, 2, 3}) == [1, 3]


def test_a_large_photo_may_be_read_smaller(tmp_path, posed):
    images.write_image(tmp_path / "large.jpg", posed("collins"))
    whole = images.read_image(tmp_path / "large.jpg")
    small = images.read_image(tmp_path / "large.jpg", at_least=90)
    assert whole.shape == (384, 384, 3) and small.shape == (96, 96, 3)
    same = cv2.resize(whole, (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(float) - same).mean() < 3


def test_a_jpeg_read_small_is_the_one_that_pillow_reads(tmp_path, posed):
    image = posed("collins")[:218, :178]
    for side in (16, 32, 64, 128, 500):
        images.write_image(tmp_path / "a.jpg", image)
        small = images.read_image(tmp_path / "a.jpg", side)
        with Image.open(tmp_path / "a.jpg") as opened:
            opened.draft(None, (side, side))
            np.testing.assert_allclose(small, np.float32(opened), atol=2)
        assert side > 178 or side <= min(small.shape[:2]) < 4 * side


def test_a_jpeg_that_was_cut_short_is_never_filled_up(tmp_path, posed):
    images.write_image(tmp_path / "a.jpg", posed("collins"))
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="a.jpg"):
        images.read_image(tmp_path / "a.jpg", 64)


def test_a_jpeg_read_small_still_stands_upright(tmp_path, posed):
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.fromarray(posed("collins")[:200]).save(tmp_path / "a.jpg", exif=turned)
    small = images.read_image(tmp_path / "a.jpg", 64)
    assert small.shape[0] > small.shape[1]
