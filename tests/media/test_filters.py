"""Footage that is not shown as it is stored: read as a player shows it."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from deepfakery.faces import filtering
from deepfakery.media.video import (
    EXACT,
    MediaError,
    VideoWriter,
    index,
    probe,
    read_frames,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*has pixels that are not square:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is interlaced:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*has high dynamic range:UserWarning"),
]

TURNED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # a display matrix, by 90 degrees


def disc(width, height, stretch=1.0, shift=0):
    """A picture with a bright disc, `stretch` times as wide as high."""
    y, x = np.mgrid[:height, :width]
    radius = 0.3 * min(width / stretch, height)
    inside = np.hypot((x - width / 2 - shift) / stretch, y - height / 2) < radius
    return np.where(inside, 220, 40).astype(np.uint8)[..., None].repeat(3, 2)


def roundness(image):
    """Width over height of what is bright."""
    bright = image.mean(-1) > 120
    return bright.any(0).sum() / bright.any(1).sum()


def encode(path, pictures, codec="libx264", pix_fmt="yuv420p", matrix=None, **tags):
    options = tags.pop("options", {})
    with av.open(path, "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pix_fmt
        if matrix:
            video.set_display_matrix(matrix)
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        for i, picture in enumerate(pictures):
            kind = "rgb48le" if picture.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, kind)
            to = tags.get("colorspace", 5)
            frame = frame.reformat(format=pix_fmt, dst_colorspace=to)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def rewritten(source, target):
    with VideoWriter(target, like=probe(source)) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    return target


def joined(target, *parts):
    """Raw H.264 that changes on the way, in a container."""
    raw = target.with_suffix(".h264")
    raw.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(raw) as source, av.open(target, "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.pts = packet.dts = i
            packet.time_base, packet.stream = Fraction(1, 25), video
            container.mux(packet)
    return target


def same_in_parts(path, whole):
    """Whether reading pieces of a clip gives what reading all of it gives."""
    times = [pts for pts, _ in index(path)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(1, len(times), 3):
            for frame in read_frames(path, start, times[start : start + 3]):
                other = whole[frame.index]
                assert (frame.pts, frame.index) == (other.pts, other.index)
                np.testing.assert_array_equal(frame.image, other.image)


# --- the shape of pixels ----------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (160, 120)),
        (Fraction(3, 4), (120, 160)),
        (Fraction(64, 45), (170, 120)),
    ],
)
def test_pixels_become_square(name, aspect, size, tmp_path):
    pictures = [disc(120, 120, 1 / float(aspect))] * 3
    clip = encode(tmp_path / name, pictures, sample_aspect_ratio=aspect)
    with pytest.warns(UserWarning, match=rf"{name} has pixels.*{size[0]}x{size[1]}"):
        image = next(read_frames(clip)).image
    assert image.shape == (size[1], size[0], 3)
    assert roundness(image) == pytest.approx(1, abs=0.03)
    quick = next(read_frames(clip, quick=True)).image
    assert roundness(quick) == pytest.approx(1, abs=0.04)
    with av.open(rewritten(clip, tmp_path / "b.mp4")) as again:
        stream = again.streams.video[0]
        assert (stream.width, stream.height) == size
        assert stream.sample_aspect_ratio in (None, 1)


def test_a_turned_picture_of_oblong_pixels(tmp_path):
    pictures = [disc(90, 120, 3 / 4)] * 2
    tags = {"sample_aspect_ratio": Fraction(4, 3), "matrix": TURNED}
    clip = encode(tmp_path / "a.mp4", [p[:100] for p in pictures], **tags)
    assert (probe(clip).width, probe(clip).height) == (100, 120)
    image = next(read_frames(clip)).image
    assert image.shape == (120, 100, 3)
    assert roundness(image) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("aspect", [Fraction(1280, 1281), Fraction(200), Fraction(1)])
def test_a_shape_that_was_not_meant_is_passed_over(aspect, tmp_path):
    tags = {"sample_aspect_ratio": aspect, "pix_fmt": "yuv444p"}
    clip = encode(tmp_path / "a.mp4", [disc(121, 91)] * 2, **tags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(read_frames(clip)).image.shape == (91, 121, 3)


@pytest.mark.parametrize(
    ("second", "aspect"), [((90, 160), 1), ((160, 160), 1), ((160, 90), Fraction(4, 3))]
)
def test_a_size_that_changes_on_the_way(second, aspect, tmp_path):
    """Frames keep their shape, whatever comes after the first."""
    options = {"g": "3", "bf": "0"}
    first = encode(tmp_path / "1.h264", [disc(160, 90)] * 6, options=options)
    pictures = [disc(*second, 1 / float(aspect), shift=i) for i in range(6)]
    tags = {"sample_aspect_ratio": aspect, "options": options}
    later = encode(tmp_path / "2.h264", pictures, **tags)
    clip = joined(tmp_path / "a.mkv", first, later)
    with pytest.warns(UserWarning, match=r"a\.mkv changes .* at frame 6") as said:
        frames = list(read_frames(clip))
    assert sum("fitted in" in str(w.message) for w in said) == 1
    assert len(frames) == 12
    for frame in frames:
        assert frame.image.shape == (90, 160, 3)
        assert roundness(frame.image) == pytest.approx(1, abs=0.05)
    same_in_parts(clip, frames)


# --- fields -----------------------------------------------------------------------

FIELDS = {"flags": "+ildct+ilme", "x264-params": "tff=1", "g": "5", "crf": "1"}


def combed(count, first=0):
    """A disc that moves; odd lines are half a frame later."""
    for i in range(2 * first, 2 * (first + count), 2):
        picture, later = (disc(160, 96, shift=3 * j - 60) for j in (i, i + 1))
        picture[1::2] = later[1::2]
        yield picture


def combs(image):
    """How much neighbouring lines differ, beside lines of the same field."""
    grey = image.astype(float).mean(-1)
    return np.abs(np.diff(grey, axis=0)).mean() / np.abs(grey[2:] - grey[:-2]).mean()


@pytest.mark.parametrize(
    ("name", "codec", "tags"),
    [
        ("a.mp4", "libx264", {"options": FIELDS}),
        ("a.mkv", "libx264", {"options": FIELDS}),
        ("a.ts", "mpeg2video", {"options": {"flags": "+ildct+ilme", "qmax": "2"}}),
        ("a.mov", "mjpeg", {"field_order": 2, "pix_fmt": "yuvj420p"}),  # not its frames
    ],
)
def test_interlaced_footage_is_deinterlaced(name, codec, tags, tmp_path):
    pictures = list(combed(20))
    assert min(combs(p) for p in pictures[4:12]) > 1.2
    clip = encode(tmp_path / name, pictures, codec, **tags)
    with pytest.warns(UserWarning, match=rf"{name} is interlaced") as said:
        frames = list(read_frames(clip))
    assert len(said) == 1 and len(frames) == 20
    with av.open(clip) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert [frame.pts for frame in frames] == times
    assert max(combs(frame.image) for frame in frames[4:12]) < 0.8
    if index(clip):
        same_in_parts(clip, frames)


def test_whole_frames_among_fields_stay_untouched(tmp_path):
    moving = [disc(160, 96, shift=3 * i) for i in range(7)]
    fields = FIELDS | {"bf": "0"}
    raw = [
        encode(tmp_path / "1.h264", moving, options={"g": "5", "bf": "0"}),
        encode(tmp_path / "2.h264", list(combed(8, first=4)), options=fields),
    ]
    clip = joined(tmp_path / "a.mkv", raw[0], raw[1], raw[0])
    with pytest.warns(UserWarning, match="is interlaced"):
        frames = list(read_frames(clip))
    same_in_parts(clip, frames)
    alone = [frame.image for frame in read_frames(raw[0])]
    for i in range(7):
        np.testing.assert_array_equal(frames[i].image, alone[i])
        np.testing.assert_array_equal(frames[15 + i].image, alone[i])
    assert max(combs(frame.image) for frame in frames[7:15]) < 0.8


def test_pieces_of_interlaced_footage_are_looked_through_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(filtering, "FRAMES", 5)
    clip = encode(tmp_path / "a.mkv", list(combed(20)), options=FIELDS)
    whole = [frame.image for frame in read_frames(clip)]
    pieces = filtering.pieces(clip)
    assert len(pieces) > 2
    for piece in pieces:
        for frame in read_frames(clip, *piece):
            np.testing.assert_array_equal(frame.image, whole[frame.index])


def test_ordinary_frames_are_only_converted(tmp_path):
    clip = encode(tmp_path / "a.mp4", [disc(160, 96, shift=i) for i in range(4)])
    with av.open(clip) as container:
        plain = [
            frame.reformat(
                format="rgb24",
                src_colorspace=5,
                src_color_range=1,
                interpolation=EXACT,
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for frame, image in zip(read_frames(clip), plain, strict=True):
            np.testing.assert_array_equal(frame.image, image)


# --- dynamic range ----------------------------------------------------------------

NITS = np.array([0, 5, 20, 50, 100, 203, 400, 1000])


def pq(nits):
    y = (nits / 10_000) ** (1305 / 8192)
    return ((107 / 128 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(nits):
    scene = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    curve = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curve)


@pytest.mark.parametrize(("transfer", "signal"), [(16, pq), (18, hlg)])
def test_high_dynamic_range_becomes_sdr(transfer, signal, tmp_path):
    grey = np.repeat((signal(NITS) * 65535).round().astype(np.uint16), 16)
    picture = np.broadcast_to(grey[None, :, None], (32, len(grey), 3))
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    tags |= {"pix_fmt": "yuv420p10le", "color_range": 1}
    clip = encode(tmp_path / "a.mkv", [np.ascontiguousarray(picture)], "ffv1", **tags)
    name = {16: "PQ", 18: "HLG"}[transfer]
    with pytest.warns(UserWarning, match=rf"a\.mkv has high dynamic range \({name}"):
        image = next(read_frames(clip)).image
    shown = image[16, 8::16].astype(float)
    assert np.ptp(shown, axis=1).max() <= 2  # grey stays grey
    # What a display of SDR makes of 100 nits of white, but for a sixth of the signal.
    plain = 255 * (NITS[:5] / 100) ** (1 / 2.4)
    np.testing.assert_allclose(shown[:5, 0], 0.84 * plain, atol=6)
    assert np.all(np.diff(shown[:, 0]) > 0) and shown[-1, 0] > 250
    quick = next(read_frames(clip, quick=True)).image
    assert np.abs(quick[16, 8::16] - shown).max() <= 3
    rewritten(clip, tmp_path / "b.mp4")
    for info in (probe(clip), probe(tmp_path / "b.mp4")):
        assert (info.transfer, info.primaries, info.matrix) == (1, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = next(read_frames(tmp_path / "b.mp4")).image
    assert np.abs(again[16, 8::16] - shown).max() <= 6


def test_ten_bits_of_sdr_keep_their_tags(tmp_path):
    tags = {"color_trc": 14, "color_primaries": 9, "colorspace": 9}
    tags |= {"pix_fmt": "yuv420p10le", "color_range": 1}
    clip = encode(tmp_path / "a.mkv", [disc(160, 96)], "ffv1", **tags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = next(read_frames(clip)).image
    assert np.abs(image - disc(160, 96).astype(int)).max() <= 12
    info = probe(rewritten(clip, tmp_path / "b.mp4"))
    assert (info.transfer, info.primaries, info.matrix) == (14, 9, 9)


def test_colours_that_cannot_be_read_are_refused(tmp_path):
    clip = encode(tmp_path / "a.mp4", [disc(160, 96)])
    with av.open(clip) as source, av.open(tmp_path / "b.mkv", "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv444p"
        video.codec_context.colorspace = 8
        for frame in source.decode(video=0):
            out.mux(video.encode(frame.reformat(format="yuv444p")))
        out.mux(video.encode(None))
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match=r"b\.mkv stores its colours as YCgCo"):
            read(tmp_path / "b.mkv")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_with_exif_are_turned_as_it_says(orientation, tmp_path):
    """A camera's own clips of JPEG frames hold it; PyAV has no name for it."""
    photo, note = Image.fromarray(disc(96, 64, shift=16)), Image.Exif()
    note[0x0112] = orientation
    photo.save(tmp_path / "a.jpg", exif=note)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    (tmp_path / "a.jpg").rename(tmp_path / "a.mjpeg")
    [frame] = read_frames(tmp_path / "a.mjpeg")
    assert frame.image.shape == shown.shape
    assert np.abs(frame.image.astype(int) - shown).mean() < 3
