"""Pictures in, pictures out, and one way to read clips, folders and single photos."""

import io
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import PIL
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from deepfakery.media import records, video
from deepfakery.media.remux import moving

pillow_heif.register_heif_opener()

#: What a picture may be written as. What one is read as, its content says.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
#: What a file that is damaged was meant to be a clip by.
CLIP_SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}

#: Most pixels of a picture: they take 3 GB while it is read. Phones make 200 million.
MOST_PIXELS = 250_000_000
# Pillow refuses more than twice this, and warns of less: too little for a good camera.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS

# How files begin that hold a picture for sure; a PNG with `acTL` moves.
_STILL = re.compile(
    rb"\xff\xd8\xff|II[*+]\0|MM\0[*+]|BM.{4}\0{4}|RIFF.{4}WEBP"
    rb"|\x89PNG\r\n\x1a\n(?!.*acTL)|.{4}ftyp(heic|heix|heim|heis|mif1|avif|avis)",
    re.DOTALL,
)
# What Pillow opens although it is no photo, or has no signature.
_NO_PHOTOS = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "SPIDER", "WMF"}
# What systems leave in folders, in lower case, and credentials: passed over silently.
_LEFTOVERS = {"__macosx", "@eadir", "desktop.ini", "ehthumbs.db", "thumbs.db"}

# (white, red, green, blue) as x and y, of sRGB and of Adobe RGB.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def read_image(path, at_least: int | None = None) -> np.ndarray:
    """Read a picture the way a viewer shows it: RGB uint8 (H, W, 3).

    Colours become sRGB, transparency white, and EXIF orientation is applied. Of several
    pictures in a file the first is read, and that is warned of.

    Args:
        path: an image file of any kind that Pillow reads, or HEIC, or a TIFF of floats.
        at_least: pixels of the shorter side that will do; a larger JPEG is read at a
            half, a quarter or an eighth of its size, in a fraction of the time.

    Raises:
        MediaError: the file is missing or no readable image.
    """
    path = Path(path)
    video.refuse_unreadable(path, "an image file")
    try:
        with Image.open(path) as image:
            if math.prod(image.size) > MOST_PIXELS:
                raise Image.DecompressionBombError
            if image.format not in ("MPO", "PSD") and getattr(image, "n_frames", 1) > 1:
                _warn(f"{path} holds {image.n_frames} pictures; the first is read.")
            colours = _colours_of(image)
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            with suppress(Exception):  # what else EXIF says may be damaged
                ImageOps.exif_transpose(image, in_place=True)
            return _in_srgb(_plain(image), colours, path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{MOST_PIXELS / 1e6:.0f} million pixels"
        text = f"{path} has more than {most}; make it smaller."
        raise video.MediaError(text) from error
    except Exception as error:  # a decoder may stumble over damage in any way
        read = _numbers(path) if isinstance(error, PIL.UnidentifiedImageError) else None
        if read is not None:
            return read
        raise video.MediaError(
            f"{path} is damaged or not an image that can be read ({error}); copy it "
            "again, or save it again as PNG or JPEG."
        ) from error


def read_each(files, at_least: int | None = None) -> Iterator[np.ndarray]:
    """Read pictures as `read_image` does; a warning names those that cannot be read."""
    for file in files:
        try:
            yield read_image(file, at_least)
        except video.MediaError as error:
            _warn(f"Left out: {error}")


def _warn(text):
    # From one place, so that Python says it once.
    warnings.warn(text, stacklevel=1)


def _plain(image):
    """The same picture with 8 bits and no transparency: L, RGB, CMYK or LAB."""
    if image.mode[0] in "IF":
        image = Image.fromarray(_levels(np.asarray(image)))
    if image.has_transparency_data:
        mode = "L" if image.mode in ("L", "LA", "La") else "RGB"
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image


def _levels(values) -> np.ndarray:
    """Numbers of any kind as uint8: what they mean by white, most of them stay below.

    Floats end at 1 as a rule, with some lights above; some end where integers do.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return (values >> 8 * (values.dtype.itemsize - 1)).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float32), posinf=np.float32(3e38))
    most = np.percentile(values[:: len(values) // 512 + 1], 99)
    ends = ((4, 1), (255, 255), (65535, 65535))
    white = next((end for limit, end in ends if most <= limit), values.max())
    return (values.clip(0, white) * np.float32(255 / white)).round().astype(np.uint8)


def _numbers(path):
    """A TIFF of floats or long integers, of which Pillow reads grey ones only."""
    with suppress(Exception):
        with open(path, "rb") as file:
            head = file.read(8)
            head += file.read(8) if head[2] == 43 else b""
            tags = ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
        if math.prod((tags[256], tags[257])) > MOST_PIXELS or tags.get(284) == 2:
            return None  # OpenCV would mix up channels that lie one after the other
        read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if read is not None:
            read = _levels(read if read.ndim == 2 else read[..., 2::-1])
            read = Image.fromarray(np.ascontiguousarray(read))
            return _in_srgb(read, tags.get(34675), path)
    return None


def _colours_of(image) -> bytes | tuple | None:
    """An ICC profile, or (gamma, None for sRGB's; points as `_SRGB`); None for sRGB."""
    if icc := image.info.get("icc_profile"):
        return icc
    if image.format == "PNG" and "srgb" not in image.info:
        gamma, points = (image.info.get(key) for key in ("gamma", "chromaticity"))
        points = tuple(points or _SRGB)
        others = not np.allclose(points, _SRGB, atol=0.002)
        # With sRGB's own points, what is near to its curve means that one.
        if gamma and (others or abs(gamma - 1 / 2.2) > 0.01):
            return 1 / gamma, points
        return (None, points) if others else None
    with suppress(Exception):  # EXIF may be damaged
        has_exif = image.format == "TIFF" or "exif" in image.info
        if has_exif and (
            image.getexif().get_ifd(0x8769).get(0xA001) == 2  # "ColorSpace"
            or image.getexif().get_ifd(0xA005).get(1) == "R03"  # "InteropIndex"
        ):
            return 563 / 256, _ADOBE
    return None


def _converted(image: np.ndarray, gamma, points) -> np.ndarray:
    """RGB uint8 of another curve and other primaries in sRGB."""
    x = np.linspace(0, 1, 256)
    curve = np.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    light = np.float32(x**gamma if gamma else curve)[image]
    matrix = np.linalg.solve(_to_xyz(_SRGB), _to_xyz(points))
    matrix /= matrix.sum(1, keepdims=True)  # white stays white
    light = cv2.transform(light, matrix).clip(0, 1)
    x = np.linspace(0, 1, 65536)
    curve = np.where(x > 0.0031308, 1.055 * x ** (1 / 2.4) - 0.055, 12.92 * x)
    return np.uint8((curve * 255).round())[np.uint16(light * 65535 + 0.5)]


def _to_xyz(points) -> np.ndarray:
    """(3, 3) from linear RGB to XYZ, by chromaticities as `_SRGB`."""
    white, *primaries = (
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in np.reshape(points, (4, 2))
    )
    columns = np.array(primaries).T
    return columns * np.linalg.solve(columns, white)


def _in_srgb(image, colours, path) -> np.ndarray:
    try:
        if isinstance(colours, tuple):
            return _converted(np.asarray(image.convert("RGB")), *colours)
        if colours:
            profile, srgb = io.BytesIO(colours), ImageCms.createProfile("sRGB")
            profile = ImageCms.getOpenProfile(profile)
            if image.mode == "L" and profile.profile.xcolor_space != "GRAY":
                image = image.convert("RGB")
            shown = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            shown = np.array(shown)
            # What says that it is sRGB stays as it is, to the level.
            if image.mode != "RGB" or cv2.absdiff(shown, np.asarray(image)).max() > 2:
                return shown
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        _warn(f"{path} has a colour profile that is of no use; it is read as sRGB.")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def write_image(path, image: np.ndarray, software: str = ""):
    """Write a picture under a temporary name, then rename it, over whatever is there.

    Args:
        path: the file; its suffix chooses the format.
        image: RGB uint8 (H, W, 3).
        software: what made it, for the file's metadata; see `software_of`.

    Raises:
        ValueError: the array is no RGB uint8 image, or the suffix is not known.
    """
    path, image, suffix = Path(path), np.asarray(image), Path(path).suffix.lower()
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        kind = f"{image.dtype} {image.shape}"
        raise ValueError(f"{path} takes RGB uint8 of shape (H, W, 3), not {kind}.")
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{path} must end in one of {sorted(IMAGE_SUFFIXES)}.")
    # PNG's own default takes several times as long for a few per cent of the size.
    options = {"quality": 95, "compress_level": 1, **noted(suffix, software)}
    drawn = io.BytesIO()
    Image.fromarray(image).save(drawn, Image.registered_extensions()[suffix], **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, drawn.getvalue())


def noted(suffix: str, software: str) -> dict:
    """Pillow's options that write into a picture what software made it."""
    if not software or suffix == ".bmp":
        return {}
    if suffix in {".gif", ".jpeg", ".jpg"}:  # a JPEG with EXIF is slower to read
        return {"comment": software.encode()}
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = software
    return {"exif": exif}


def software_of(path) -> str:
    """What software made a picture, as it says itself; "" where nothing is said."""
    try:
        with Image.open(path) as image:
            said = image.info.get("comment", b"")
            said = said.decode(errors="replace") if isinstance(said, bytes) else said
            return str(image.getexif().get(ExifTags.Base.Software, said))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def read_source(path, start: int = 0) -> Iterator[video.Frame]:
    """Read a clip, a single image, or a folder of either with its subfolders.

    Args:
        path: the video, image or folder; what cannot be read in a folder is warned of.
        start: the first frame wanted; those before it are passed over.

    Yields:
        `video.Frame`; images have time 0, and in a folder the index goes on. A
        `MediaError` comes at the first step, if there is nothing to read.
    """
    path = Path(path)
    if not path.is_dir():
        if is_image(path):
            yield video.Frame(0, 0.0, 0, read_image(path), path)
        else:
            yield from video.read_frames(path, start)
        return
    is_empty, place = not start, 0
    for file in list_files(path):
        is_still = is_image(file)
        if is_still and place < start:
            place += 1
            continue
        try:
            for frame in read_source(file):
                if place >= start:
                    pts = place if is_still else frame.pts
                    yield replace(frame, index=place, pts=pts)
                place, is_empty = place + 1, False
        except video.MediaError as error:
            _warn(f"Left out: {error}")
            place += is_still
    if is_empty:
        raise video.MediaError(
            f"{path} holds no image or clip that can be read; give one that does."
        )


def count_frames(path) -> int | None:
    """How many frames `read_source` will give, or None where no header tells."""
    path = Path(path)
    if path.is_dir():
        count = 0
        for file in list_files(path):
            with suppress(video.MediaError):
                count += 1 if is_image(file) else count_frames(file) or 0
        return count
    if is_image(path):
        read_image(path)
        return 1
    info = video.probe(path)
    if info.frames is None and info.duration:
        return round(info.duration * info.fps)
    return info.frames


def stills(source, count: int = 8, among=None) -> list[np.ndarray]:
    """Up to `count` frames, (H, W, 3) uint8 each, spread evenly over a source.

    `among` are indices of the frames to choose from, all by default.
    """
    among = range(count_frames(source) or 1) if among is None else sorted(among)
    chosen = np.linspace(0, len(among) - 1, count).round().astype(int)
    wanted = {among[i] for i in chosen}
    return [frame.image for frame in read_source(source) if frame.index in wanted]


def is_image(path) -> bool:
    """Whether a file is a picture, by its content; everything else may be a clip.

    A GIF or PNG that moves is a clip. A file that says nothing is what its name says.
    """
    return _kind(Path(path)) == "image"


def _kind(path) -> str | None:
    """What a file is: "image", "clip", or None for something else."""
    suffix = path.suffix.lower()
    named = "clip" if suffix in CLIP_SUFFIXES else None
    named = "image" if suffix in IMAGE_SUFFIXES else named
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return named
    if _STILL.match(head):
        return "image"
    if not head or (named == "clip" and not head.startswith((b"GIF8", b"\x89PNG"))):
        return named
    if b"\0" not in head and not re.match(rb"GIF8|P[1-7]\s", head):
        with suppress(UnicodeDecodeError):
            head[:-3].decode()  # less what may be cut in two
            return named
    # Both take their time, but few files come here.
    try:
        with Image.open(path) as image:
            weak = image.format == "TGA" and suffix != ".tga"  # it has no signature
            if image.format not in _NO_PHOTOS and not weak:
                moves = image.format in ("GIF", "PNG") and image.is_animated
                return "clip" if moves else "image"
    except Image.DecompressionBombError:
        return "image"
    except Exception:  # a decoder may stumble in any way over what is none of its own
        pass
    with suppress(av.FFmpegError, OSError, ValueError):
        # Without its name, by which FFmpeg would film a text.
        with open(path, "rb") as file, av.open(file) as container:
            if moving(container):
                return "clip"
    return named


def list_files(folder) -> list[Path]:
    """The images and clips of a folder and its subfolders, in natural order.

    They are known by their content. Links are followed, and what can be reached in
    several ways is listed once. Hidden files are left out; a warning names others.
    """

    def natural(file):  # frame 10 comes after frame 9
        parts = re.split(r"(\d+)", str(file).lower())
        return [int(part) if part.isdecimal() else part for part in parts], str(file)

    folder, files, others = Path(folder), [], []
    for file in sorted((f.relative_to(folder) for f in _walk(folder)), key=natural):
        (files if _kind(folder / file) else others).append(file)
    if others:
        few = ", ".join(map(str, others[:3])) + ", …" * (len(others) > 3)
        _warn(
            f"{len(others)} of {len(files) + len(others)} files in {folder} passed "
            f"over, which are no images or clips: {few}"
        )
    return [folder / file for file in files]


def _walk(folder) -> Iterable[Path]:
    """Every file of a folder and its subfolders, if it can be by its own name."""
    visited, found = set(), {}

    def unread(error):
        if isinstance(error, PermissionError):
            _warn(f"{error.filename} may not be read and is left out.")

    for place, folders, names in os.walk(folder, onerror=unread, followlinks=True):
        if (real := os.path.realpath(place)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(filter(_is_wanted, folders))
        folders.sort(key=lambda name: os.path.islink(os.path.join(place, name)))
        for name in sorted(filter(_is_wanted, names)):
            path, own = Path(place, name), os.path.join(real, name)
            target = os.path.realpath(path) if path.is_symlink() else own
            if (target == own or target not in found) and path.is_file():
                found[target] = path
    return found.values()


def _is_wanted(name) -> bool:
    name = name.lower()
    return not (name.startswith(".") or name in _LEFTOVERS or name.endswith(".c2pa"))
