"""Pictures in, pictures out, and one way to read clips, folders and single photos."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps

from deepfakery.media import records, video

pillow_heif.register_heif_opener()

#: What a picture may be written as.
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
#: What pictures and clips are known by; FFmpeg plays a GIF, be it a still.
PHOTO_SUFFIXES = IMAGE_SUFFIXES | {
    *(".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pgm", ".ppm")
}
CLIP_SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}
# Phones make 200 million pixels, of which Pillow would warn. Twice this is refused.
Image.MAX_IMAGE_PIXELS = 250_000_000
_SRGB = ImageCms.createProfile("sRGB")


def read_image(path, at_least: int | None = None) -> np.ndarray:
    """Read a picture the way a viewer shows it: RGB uint8 (H, W, 3).

    Colours become sRGB, transparency white, and EXIF orientation is applied.

    Args:
        path: an image file of any kind that Pillow reads, or HEIC.
        at_least: pixels of the shorter side that will do; a larger JPEG is read at a
            half, a quarter or an eighth of its size, in a fraction of the time.

    Raises:
        MediaError: the file is missing or no readable image.
    """
    path = Path(path)
    video.refuse_unreadable(path, "an image file")
    try:
        with Image.open(path) as image:
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            with suppress(Exception):  # EXIF may be damaged
                ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I;16"):
                image = Image.fromarray(np.uint8(np.asarray(image) >> 8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image).convert("RGB")
            if image.mode not in ("L", "RGB", "CMYK"):
                image = image.convert("RGB")
            return _in_srgb(image, path)
    except Exception as error:  # a decoder may stumble over damage in any way
        raise video.MediaError(
            f"{path} is damaged or not an image that can be read ({error}); copy it "
            "again, or save it again as PNG or JPEG."
        ) from error


def _in_srgb(image, path) -> np.ndarray:
    if icc := image.info.get("icc_profile"):
        try:
            profile = ImageCms.getOpenProfile(io.BytesIO(icc))
            if image.mode == "L" and profile.profile.xcolor_space != "GRAY":
                image = image.convert("RGB")
            shown = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
            off = cv2.absdiff(np.array(shown), np.array(image.convert("RGB")))
            # What says that it is sRGB stays as it is, to the level.
            if image.mode != "RGB" or off.max() > 2:
                return np.array(shown)
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            _warn(f"{path} has a colour profile of no use; it is read as sRGB.")
    return np.array(image.convert("RGB"))


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
    options = {"quality": 95, "compress_level": 1, **noted(software)}
    drawn = io.BytesIO()
    Image.fromarray(image).save(drawn, Image.registered_extensions()[suffix], **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, drawn.getvalue())


def noted(software: str) -> dict:
    """Pillow's options that write into a picture what software made it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = software
    return {"exif": exif} if software else {}


def software_of(path) -> str:
    """What software made a picture, as it says itself; "" where nothing is said."""
    with suppress(Exception), Image.open(path) as image:
        return str(image.getexif().get(ExifTags.Base.Software, ""))
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
        if is_image(file) and place < start:
            place += 1
            continue
        try:
            for frame in read_source(file):
                if place >= start:
                    yield replace(frame, index=place)
                place, is_empty = place + 1, False
        except video.MediaError as error:
            _warn(f"Left out: {error}")
            place += is_image(file)
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
    """Whether a file is a picture, by its name; everything else may be a clip."""
    return Path(path).suffix.lower() in PHOTO_SUFFIXES


def list_files(folder) -> list[Path]:
    """The images and clips of a folder and its subfolders, in natural order.

    They are known by their names. Links are followed, and hidden files left out; a
    warning names others.
    """

    def natural(file):  # frame 10 comes after frame 9
        parts = re.split(r"(\d+)", str(file).lower())
        return [int(part) if part.isdecimal() else part for part in parts], str(file)

    folder, found, visited = Path(folder), [], set()
    walk = os.walk(folder, onerror=lambda e: _warn(f"Left out: {e}"), followlinks=True)
    for place, folders, names in walk:
        real = os.path.realpath(place)
        if real in visited:  # links may lead round in a circle
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if name[0] != "."]
        found += [Path(place, name) for name in names if name[0] != "."]
    files, others = [], []
    for file in sorted(found, key=natural):
        is_media = file.suffix.lower() in PHOTO_SUFFIXES | CLIP_SUFFIXES
        (files if is_media else others).append(file)
    if others:
        few = ", ".join(str(file.relative_to(folder)) for file in others[:3])
        few += ", …" * (len(others) > 3)
        _warn(
            f"{len(others)} of {len(found)} files in {folder} passed over, which are "
            f"no images or clips: {few}"
        )
    return files
