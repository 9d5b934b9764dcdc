"""Footage as people really have it: the right faces, or one clear sentence."""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from deepfakery.faces.extraction import extract
from deepfakery.media import video

CLIPS = Path(__file__).parents[3] / "shared/clips"


@pytest.fixture(scope="module")
def clip(short_clips):
    """Twelve frames with a face."""
    return short_clips["collins"]


@pytest.fixture(scope="module")
def photo(posed):
    return Image.fromarray(posed("collins"))


def cut(share):
    def make(folder, clip, photo):
        data = clip.read_bytes()
        (folder / "cut.mp4").write_bytes(data[: max(30, int(share * len(data)))])
        return folder / "cut.mp4"

    return make


def flipped(start, stop, count=40):
    """Bits turned over in a part of the file, from `start` to `stop` of its length."""

    def make(folder, clip, photo):
        data = bytearray(clip.read_bytes())
        random = np.random.default_rng(0)
        for at in random.integers(int(start * len(data)), int(stop * len(data)), count):
            data[at] ^= 1 << random.integers(8)
        (folder / "flipped.mp4").write_bytes(data)
        return folder / "flipped.mp4"

    return make


def bytes_of(data, name):
    def make(folder, clip, photo):
        (folder / name).write_bytes(data)
        return folder / name

    return make


def coded(codec, name, **options):
    """The frames again, by another encoder or in another container."""

    def make(folder, clip, photo):
        with av.open(str(folder / name), "w", options=options.pop("mux", {})) as out:
            stream = out.add_stream(codec, rate=25)
            stream.width = stream.height = 384
            stream.pix_fmt = options.get("pix_fmt", "yuv420p")
            for frame in video.read_frames(clip):
                picture = av.VideoFrame.from_ndarray(frame.image, "rgb24")
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
        return folder / name

    return make


def pictures(count=None, size=None):
    def make(folder, clip, photo):
        frames = list(video.read_frames(clip))[:count]
        with video.VideoWriter(folder / "some.mp4", fps=25) as writer:
            for frame in frames:
                image = frame.image if size is None else cv2.resize(frame.image, size)
                writer.write(image)
        return folder / "some.mp4"

    return make


def sound_only(folder, clip, photo):
    with av.open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        noise = np.zeros((1, 44100), np.float32)
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        frame.rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return folder / "sound.mp4"


def still(name, change=lambda im: im, **options):
    def make(folder, clip, photo):
        change(photo).save(folder / name, **options)
        return folder / name

    return make


def exif(orientation):
    """Turned in the file, and a note in it that says how to turn it back."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }

    def make(folder, clip, photo):
        note = Image.Exif()
        note[0x0112] = orientation
        turned = photo.transpose(turns[orientation])
        turned.save(folder / "turned.jpg", exif=note)
        return folder / "turned.jpg"

    return make


def sixteen_bit(folder, clip, photo):
    grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "deep.png"), grey)
    return folder / "deep.png"


def eight_k(photo):
    large = Image.new("RGB", (7680, 4320), (90, 90, 90))
    large.paste(photo.resize((3000, 3000)), (2000, 600))
    return large


def transparent(photo):
    out = photo.convert("RGBA")
    out.putalpha(255)
    return out


def elsewhere(name):
    def make(folder, clip, photo):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
        return folder / name

    return make


def loop(folder, clip, photo):
    (folder / "photos").mkdir()
    photo.save(folder / "photos/face.png")
    (folder / "photos/again").symlink_to(folder / "photos")
    return folder / "photos"


def link_to_itself(folder, clip, photo):
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    return folder / "self.mp4"


def bad_among_good(folder, clip, photo):
    photo.save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "empty.png").touch()
    return folder


#: What it is → (how it is made, how many faces at least or words of the error).
INPUTS = {
    "H.264 in MP4": (pictures(), 8),
    "one frame": (pictures(1), 1),
    "64 × 64 pixels": (pictures(size=(64, 64)), "face"),
    "16 × 16 pixels": (pictures(size=(16, 16)), "face"),
    "HEVC, 10 bit": (coded("libx265", "ten.mp4", pix_fmt="yuv420p10le"), 8),
    "VP9 in WebM": (coded("libvpx-vp9", "some.webm"), 8),
    "AV1 in Matroska": (coded("libsvtav1", "some.mkv"), 8),
    "MPEG-1": (coded("mpeg1video", "some.mpg"), 8),
    "MPEG-4 in AVI": (coded("mpeg4", "some.avi"), 8),
    "MJPEG in QuickTime": (coded("mjpeg", "some.mov", pix_fmt="yuvj420p"), 8),
    "raw H.264, no length in a header": (coded("libx264", "some.h264"), 8),
    "cut off at 90 %": (cut(0.9), 8),
    "cut off at 30 bytes": (cut(0), "cut.mp4"),
    "bits turned in the pictures": (flipped(0.1, 0.5), 1),
    "bits turned in the header": (flipped(0, 0.002, 8), "flipped.mp4"),
    "zero bytes": (bytes_of(b"", "empty.mp4"), "empty"),
    "text called .mp4": (bytes_of(b"words\n" * 99, "text.mp4"), "text.mp4"),
    "a picture called .mp4": (still("photo.mp4", format="png"), 1),
    "a clip called .png": (elsewhere("clip.png"), 12),
    "sound alone": (sound_only, "sound.mp4"),
    "JPEG, CMYK": (still("cmyk.jpg", lambda im: im.convert("CMYK")), 1),
    "JPEG, grey": (still("grey.jpg", lambda im: im.convert("L")), 1),
    "PNG, 16 bit": (sixteen_bit, 1),
    "PNG, palette": (still("palette.png", lambda im: im.quantize(128)), 1),
    "PNG with transparency": (still("clear.png", transparent), 1),
    "WebP": (still("some.webp"), 1),
    "TIFF": (still("some.tif"), 1),
    "1 × 1 pixel": (still("dot.png", lambda im: im.resize((1, 1))), "no face"),
    "8K still": (still("large.jpg", eight_k), 1),
    **{f"JPEG, EXIF orientation {n}": (exif(n), 1) for n in range(2, 9)},
    "spaces and ümlauts": (elsewhere("mein Ördner/日本 clip.mp4"), 8),
    "a folder that holds itself": (loop, 1),
    "a link to itself": (link_to_itself, "self.mp4"),
    "damaged photos among good ones": (bad_among_good, 1),
    "a folder of nothing": (lambda folder, *_: folder, "no image"),
}


def result(source, out):
    """How many faces, or what was said; and what went wrong on the way."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = extract(source, out, workers=0, describe=False)
            records = (out / "faces.jsonl").read_text().splitlines()
            assert len(records) == len(found) == len(list(out.glob("*.jpg")))
            return len(found), said
        except (ValueError, OSError) as error:  # MediaError is a ValueError or OSError
            assert "\n" not in str(error) and str(error).endswith((".", ")"))
            assert not out.exists(), "something half-written was left behind"
            return str(error), said


@pytest.mark.parametrize("name", INPUTS)
def test_odd_footage_gives_faces_or_one_clear_sentence(name, clip, photo, tmp_path):
    make, expected = INPUTS[name]
    (tmp_path / "in").mkdir()
    found, _ = result(make(tmp_path / "in", clip, photo), tmp_path / "out")
    if isinstance(expected, str):
        assert isinstance(found, str) and expected in found
    else:
        assert not isinstance(found, str), found
        assert found >= expected


def test_a_clip_that_may_not_be_read_is_named(clip):
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(shutil.copy(clip, Path(folder) / "mine.mp4"))
        Path(folder).chmod(0o755)
        locked.chmod(0)
        if before == 0:  # root may read everything
            os.seteuid(65534)
        try:
            found, _ = result(locked, Path(folder) / "out")
        finally:
            os.seteuid(before)
    assert "mine.mp4" in found and "ermission" in found


@pytest.mark.skipif(not CLIPS.exists(), reason="no shared clips beside the project")
def test_a_clip_cut_off_gives_the_faces_before_the_cut(tmp_path):
    found, said = result(CLIPS / "truncated.mp4", tmp_path / "out")
    assert found > 10 and any("truncated.mp4" in str(w.message) for w in said)
