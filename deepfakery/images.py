"""Pictures in, pictures out, and one way to read clips, folders and single photos."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from deepfakery import video

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
#: What is looked for in folders; a clip that is named may end as it likes.
CLIP_SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}


def read_image(path, at_least: int | None = None) -> np.ndarray:
    """Read a picture the way a viewer shows it.

    Args:
        path: an image file of any kind Pillow reads; grey, palette, CMYK and 16-bit
            are converted, transparency is laid on white, EXIF orientation is applied.
        at_least: pixels of the shorter side that will do; a larger JPEG is then read
            at a half, a quarter or an eighth of its size, in a fraction of the time.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        MediaError: the file is missing or no readable image.
    """
    path = Path(path)
    if not path.exists():
        raise video.MediaError(f"{path} does not exist; check the name.")
    try:
        with Image.open(path) as image:
            if at_least:
                if (small := _shrunk(path, image, at_least)) is not None:
                    return small
                image.draft(None, (at_least, at_least))
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
                grey = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
                image = Image.fromarray(grey.astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            return np.array(image.convert("RGB"))
    except PermissionError as error:
        raise video.MediaError(
            f"{path} may not be read; change its permissions."
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise video.MediaError(
            f"{path} is not an image that can be read; save it again as PNG or JPEG."
        ) from error


def _shrunk(path, image, at_least):
    """An everyday JPEG read small, in a third of Pillow's time; None for all others.

    OpenCV fills up a file that was cut short with grey, and says nothing of it.
    """
    if image.format != "JPEG" or image.mode != "RGB" or "exif" in image.info:
        return None
    data = path.read_bytes()
    if not data.endswith(b"\xff\xd9"):  # the end of a whole one
        return None
    scales = {
        8: cv2.IMREAD_REDUCED_COLOR_8,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        1: cv2.IMREAD_COLOR,
    }
    scale = next(k for k in scales if k * at_least <= min(image.size) or k == 1)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), scales[scale])
    return None if read is None else cv2.cvtColor(read, cv2.COLOR_BGR2RGB)


def write_image(path, image: np.ndarray, finish=None, software: str = ""):
    """Write a picture under a temporary name, then rename it, over whatever is there.

    Args:
        path: the file; its suffix chooses the format.
        image: RGB uint8 (H, W, 3).
        finish: a function of what would be written, bytes, that returns what is.
        software: what made it, for the file's metadata; see `software_of`.

    Raises:
        ValueError: the array is no RGB uint8 image, or the suffix is not known.
    """
    path, image = Path(path), np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"{path} takes RGB uint8 of shape (H, W, 3), not {image.dtype} "
            f"{image.shape}."
        )
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{path} must end in one of {sorted(IMAGE_SUFFIXES)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    # PNG's own default takes several times as long for a few per cent of the size.
    options = {"compress_level": 1} if suffix == ".png" else {}
    if suffix in {".jpeg", ".jpg", ".webp"}:
        options = {"quality": 95}
    options |= noted(suffix, software)
    drawn = io.BytesIO()
    Image.fromarray(image).save(drawn, Image.registered_extensions()[suffix], **options)
    try:
        temporary.write_bytes(finish(drawn.getvalue()) if finish else drawn.getbuffer())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _natural(path):
    """A sorting key that puts frame 10 after frame 9."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [int(part) if part.isdecimal() else part for part in parts], str(path)


def read_source(path, start: int = 0) -> Iterator[video.Frame]:
    """Read a clip, a single image, or a folder of either with its subfolders.

    In a folder, files come in natural order; other files are passed over, and what
    cannot be read is warned of and left out.

    Args:
        path: the video, image or folder.
        start: the first frame wanted; those before it are passed over.

    Returns:
        An iterator over `video.Frame`. Images have time 0; index and pts are their
        place among all that the folder holds, images left out included.

    Raises:
        MediaError: at the first step, if there is nothing to read.
    """
    path = Path(path)
    if not path.is_dir():
        if is_image(path):
            yield video.Frame(0, 0.0, 0, read_image(path), path)
        else:
            yield from video.read_frames(path, start)
        return
    readable = place = 0
    for file in list_files(path):
        try:
            if not is_image(file):
                for frame in video.read_frames(file):
                    if place >= start:
                        yield replace(frame, index=place)
                    place, readable = place + 1, readable + 1
                continue
            if place >= start:
                yield video.Frame(place, 0.0, place, read_image(file), file)
                readable += 1
        except video.MediaError as error:
            warnings.warn(f"Left out: {error}", stacklevel=2)
        place += 1
    if not readable and not start:
        raise video.MediaError(
            f"{path} holds no image or clip that can be read; give one that does."
        )


def count_frames(path) -> int | None:
    """How many frames `read_source` will give, as far as headers tell.

    Args:
        path: the video, image or folder.

    Returns:
        A number, exact for images and near for clips; None where nothing says.

    Raises:
        MediaError: the source is missing or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return sum(1 if is_image(f) else _count_or_0(f) for f in list_files(path))
    if is_image(path):
        read_image(path)
        return 1
    info = video.probe(path)
    if info.frames is None and info.duration:
        return round(info.duration * info.fps)
    return info.frames


def stills(source, count: int = 8, among=None) -> list[np.ndarray]:
    """Frames spread evenly over a source, to look at.

    Args:
        source: the video, image or folder.
        count: how many; fewer where there are fewer.
        among: indices of the frames to choose from, all by default.

    Returns:
        A list of (H, W, 3) uint8.
    """
    among = range(count_frames(source) or 1) if among is None else sorted(among)
    chosen = np.linspace(0, len(among) - 1, count).round().astype(int)
    wanted = {among[i] for i in chosen}
    return [frame.image for frame in read_source(source) if frame.index in wanted]


def _count_or_0(clip: Path) -> int:
    try:
        return count_frames(clip) or 0
    except video.MediaError:
        return 0


def is_image(path) -> bool:
    """Whether a file is a picture, by its name; everything else may be a clip."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def list_files(folder, also=()) -> list[Path]:
    """The images and clips of a folder and its subfolders, in natural order.

    Args:
        folder: the folder.
        also: more suffixes to list.
    """
    # A name that begins with a dot is half-written, or a file manager's own.
    folder = Path(folder)
    files = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES | CLIP_SUFFIXES | {*also}
        and not file.name.startswith(".")
        and file.is_file()
    ]
    return sorted(files, key=lambda file: _natural(file.relative_to(folder)))
