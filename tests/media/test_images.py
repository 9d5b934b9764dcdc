import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from deepfakery.media import images
from deepfakery.media.video import MediaError, VideoWriter, read_frames

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*passed over, which are no images:UserWarning"
)


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


@pytest.mark.parametrize("side", [16, 64, 128, 500])
def test_a_photo_is_read_no_smaller_than_it_may(side, tmp_path, posed):
    images.write_image(tmp_path / "a.jpg", posed("collins")[:218, :178])
    small = images.read_image(tmp_path / "a.jpg", side)
    assert min(side, 178) <= min(small.shape[:2]) < 4 * side


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


# --- colours ----------------------------------------------------------------------

ADOBE = np.array(
    [[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.0270, 0.0707, 0.9911]]
)
SRGB = np.array(
    [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
)


@pytest.fixture(scope="module")
def photo(posed):
    return posed("collins")


@pytest.fixture(scope="module")
def adobe(photo):
    """The photo's values in Adobe RGB, by its definition."""
    x = photo / 255
    light = np.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    light = (light @ SRGB.T @ np.linalg.inv(ADOBE).T).clip(0, 1)
    values = np.uint8((light ** (256 / 563) * 255).round())
    assert off(values, photo) > 3
    return Image.fromarray(values)


def profile_of_adobe_rgb():
    """ICC.1:2001-04; colours are given by the white of print."""
    points = {
        b"r": (0.60974, 0.31111, 0.01947),
        b"g": (0.20528, 0.62567, 0.06087),
        b"b": (0.14919, 0.06322, 0.74457),
    }

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv" + struct.pack(">IIHxx", 0, 1, 563)  # a gamma, in 256ths
    tags = {b"wtpt": xyz((0.9642, 1, 0.8249))}
    for name, values in points.items():
        tags |= {name + b"XYZ": xyz(values), name + b"TRC": curve}
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", at + len(body), len(tag))
        body += tag
    head = struct.pack(">4x4xI12s12x4s28x", 0x02100000, b"mntrRGB XYZ ", b"acsp")
    head += tags[b"wtpt"][8:]
    whole = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def off(image, wanted):
    return np.abs(np.asarray(image, float) - wanted).mean()


def said_by(exif_ifd):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(exif_ifd)
    return {"exif": exif}


def with_chunks(path, **chunks):
    data = path.read_bytes()
    for name, values in chunks.items():
        body = name.encode() + struct.pack(f">{len(values)}I", *values)
        crc = struct.pack(">I", zlib.crc32(body))
        data = data[:33] + struct.pack(">I", len(body) - 4) + body + crc + data[33:]
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.jpg", {"quality": 98, "subsampling": 0}),
        ("a.heic", {"quality": 95}),
        ("a.webp", {"quality": 98}),
    ],
)
def test_a_profile_is_converted_to_srgb(photo, adobe, tmp_path, name, options):
    profile = profile_of_adobe_rgb()
    adobe.save(tmp_path / name, icc_profile=profile, **options)
    assert off(images.read_image(tmp_path / name), photo) < 2
    small = cv2.resize(photo, (192, 192), interpolation=cv2.INTER_AREA)
    if name == "a.jpg":
        assert off(images.read_image(tmp_path / name, 192), small) < 2


@pytest.mark.parametrize("ifd", [{0xA001: 2}, {0xA001: 65535, 0xA005: {1: "R03"}}])
def test_exif_names_adobe_rgb_too(photo, adobe, tmp_path, ifd):
    adobe.save(tmp_path / "a.jpg", quality=98, subsampling=0, **said_by(ifd))
    assert off(images.read_image(tmp_path / "a.jpg"), photo) < 1.5


def test_a_png_names_its_colours_in_chunks(photo, adobe, tmp_path):
    path = tmp_path / "a.png"
    points = [round(value * 1e5) for value in images._ADOBE]
    adobe.save(path)
    with_chunks(path, gAMA=[45471], cHRM=points)
    assert off(images.read_image(path), photo) < 0.5
    for chunks in ({"gAMA": [45455]}, {"cHRM": [round(v * 1e5) for v in images._SRGB]}):
        Image.fromarray(photo).save(path)
        with_chunks(path, **chunks)
        assert off(images.read_image(path), photo) == 0


def test_srgb_stays_and_a_broken_profile_is_warned_of(photo, tmp_path):
    picture = Image.fromarray(photo)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "a.png", icc_profile=srgb)
    assert off(images.read_image(tmp_path / "a.png"), photo) == 0
    for broken in (b"nonsense" * 30, srgb[:200]):
        picture.save(tmp_path / "b.png", icc_profile=broken)
        with pytest.warns(UserWarning, match="b.png has a colour profile"):
            assert off(images.read_image(tmp_path / "b.png"), photo) == 0


# --- kinds ------------------------------------------------------------------------


def grey(photo):
    return photo[..., 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda rgb: np.float32(rgb / 255),
        lambda rgb: np.float32(rgb),
        lambda rgb: np.float64(rgb / 255),
        lambda rgb: np.uint16(rgb) * 257,
        lambda rgb: np.float32(rgb[..., 1] / 255),
        lambda rgb: np.float32(rgb[..., 1]),
    ],
)
def test_numbers_of_any_kind_become_the_picture(photo, tmp_path, make):
    values = make(photo)
    stored = values if values.ndim == 2 else values[..., ::-1]
    cv2.imwrite(str(tmp_path / "a.tif"), stored)
    wanted = photo if values.ndim == 3 else grey(photo)[..., None]
    assert off(images.read_image(tmp_path / "a.tif"), wanted) < 0.6


def test_lights_above_one_do_not_darken_a_float_picture(photo, tmp_path):
    values = np.float32(photo / 255)
    values[:5] = 40, np.inf, np.nan
    cv2.imwrite(str(tmp_path / "a.tif"), values[..., ::-1])
    assert off(images.read_image(tmp_path / "a.tif")[5:], photo[5:]) < 0.6


def png_header(path, width, height):
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    Image.new("RGB", (1, 1)).save(path)
    data = path.read_bytes()
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + size))
    path.write_bytes(data[:16] + size + crc + data[33:])


def test_what_cannot_be_read_is_told_why(photo, tmp_path):
    png_header(tmp_path / "bomb.png", 50_000, 40_000)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(photo).save(tmp_path / "cut.heic")
    data = (tmp_path / "cut.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(data[: len(data) // 2])
    for name, why in {
        "bomb.png": "more than 250 million pixels",
        "empty.jpg": "is empty",
        "text.jpg": "not an image",
        "cut.heic": "is damaged",
        ".": "is a folder",
        "none.jpg": "does not exist",
    }.items():
        with pytest.raises(MediaError, match=why):
            images.read_image(tmp_path / name)


def test_a_picture_of_100_megapixels_is_read(tmp_path):
    Image.new("L", (10_000, 10_000), 9).save(tmp_path / "large.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.read_image(tmp_path / "large.jpg", 1000).shape[0] < 2001


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_stands_upright_small_or_not(photo, tmp_path, orientation):
    wide = np.hstack([photo, photo // 2])
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(wide)
    stored.getexif()[0x0112] = undo
    ImageOps.exif_transpose(stored, in_place=True)
    stored.save(tmp_path / "a.jpg", exif=exif, quality=98)
    assert off(images.read_image(tmp_path / "a.jpg"), wide) < 2
    half = cv2.resize(wide, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert off(images.read_image(tmp_path / "a.jpg", 192), half) < 3


# --- folders ----------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path, photo):
    """A folder of pictures under names of every kind, and what is none; 13 frames."""
    folder, other = tmp_path / "mixed", tmp_path / "other"
    (folder / "sub").mkdir(parents=True)
    other.mkdir()
    picture = Image.fromarray(photo[::4, ::4].copy())
    for name, kind in {
        "a.jfif": "JPEG",
        "b.jpe": "JPEG",
        "c.avif": "AVIF",
        "d.gif": "GIF",
        "e": "JPEG",
        "f.heic": "HEIF",
        "g.mp4": "JPEG",
        "h.jpg": "PNG",
        "i.txt": "PNG",
    }.items():
        picture.save(folder / name, kind)
    with VideoWriter(tmp_path / "clip.mp4", fps=25) as writer:
        for level in (0, 99, 198):
            writer.write(np.full((64, 64, 3), level, np.uint8))
    (tmp_path / "clip.mp4").rename(folder / "j.jpg")
    picture.save(other / "k.png")
    (folder / "linked").symlink_to(other, target_is_directory=True)
    (folder / "sub" / "again").symlink_to(other, target_is_directory=True)
    (folder / "sub" / "round").symlink_to(folder, target_is_directory=True)
    (folder / "sub" / "alias.jpg").symlink_to(folder / "a.jfif")
    (folder / "notes.txt").write_text("notes, of some length, in plain words")
    (folder / "numbers.npy").write_bytes(bytes(range(256)) * 9)
    for silent in ("__MACOSX/._a.jpg", ".DS_Store", "Thumbs.db", ".hidden/a.png"):
        (folder / silent).parent.mkdir(exist_ok=True)
        (folder / silent).write_bytes(b"\1\2\0")
    return folder


def test_a_folder_is_known_by_content(mixed):
    with pytest.warns(UserWarning) as said:
        files = images.list_files(mixed)
    names = [file.relative_to(mixed).as_posix() for file in files]
    assert "".join(name[0] for name in names) == "abcdefghijs"
    assert names[-1] == "sub/again/k.png"
    [said] = [str(one.message) for one in said]
    assert said.startswith("2 of 13 files") and said.endswith("notes.txt, numbers.npy")
    kinds = [images.is_image(file) for file in files]
    assert kinds == [True] * 9 + [False, True]


def test_all_of_a_mixed_folder_is_read(mixed):
    with pytest.warns(UserWarning, match="passed over"):
        frames = list(images.read_source(mixed))
    assert [frame.index for frame in frames] == list(range(13))
    assert len({frame.file for frame in frames}) == 11


def test_what_moves_is_a_clip_where_ffmpeg_plays_it(photo, tmp_path):
    first, *others = (Image.fromarray(np.roll(photo, 9 * i, 1)) for i in range(3))
    for name, is_clip in {"a.gif": 1, "a.png": 1, "a.webp": 0}.items():
        path = tmp_path / name
        first.save(path, save_all=True, append_images=others, duration=40)
        assert images.is_image(path) != is_clip
        if is_clip:
            assert len(list(images.read_source(path))) == 3
        else:
            with pytest.warns(UserWarning, match="holds 3 pictures"):
                assert off(images.read_image(path), photo) < 6
