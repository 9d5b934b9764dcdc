"""Photos of many people: the files of a data set, cropped, streamed in batches.

    train, held_out = photos.split("img_align_celeba")
    for noise, images in batches(train, size=64, batch=128): ...    # for a DCGAN
    for small, large in pairs(train, factors=(2, 4)): ...           # for an upscaler

Nothing but the batches at hand is in memory, however many photos there are.

Reference:
    Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with
    Pure Synthetic Data" (`degrade`: blur, then noise, then JPEG, each at random).
"""

import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deepfakery.batches import prepare, restore
from deepfakery.faces import detect, geometry
from deepfakery.media import images
from deepfakery.media.video import MediaError

#: Batches that are read ahead.
AHEAD = 3

#: Photos that a thread reads in one go, with a random generator of their own.
PART = 16


def split(
    folder: str | os.PathLike, held_out: float = 0.1, people: bool = False
) -> tuple[list, list]:
    """Photos to train on, and photos held out: two lists of paths.

    Args:
        folder: Photos, in subfolders or not. CelebA's `list_eval_partition.txt` (or
            `.csv`), in it or beside it, is followed: validation and test are held out.
        held_out: Share of the files to hold out otherwise, the last in order of name.
        people: A subfolder is a person, none of whom may be on both sides.

    Raises:
        video.MediaError: There is no photo, or not one of another person.
    """
    folder = Path(folder)
    files = [file for file in images.list_files(folder) if images.is_image(file)]
    if not files:
        raise MediaError(f"{folder} holds no photo; give a folder that does.")
    for place, kind in itertools.product((folder, folder.parent), ("txt", "csv")):
        file = place / f"list_eval_partition.{kind}"
        if file.exists():
            text = file.read_text(encoding="utf-8", errors="replace")
            lines = (line.replace(",", " ").split() for line in text.split("\n"))
            parts = dict(line for line in lines if len(line) == 2)
            train = [f for f in files if parts.get(f.name) == "0"]
            rest = [f for f in files if parts.get(f.name) in ("1", "2")]
            if train and rest:
                return train, rest
    cut = len(files) - max(1, round(held_out * len(files)))
    if people and (person := files[cut].parent) != folder:
        cut = next(i for i, file in enumerate(files) if file.parent == person)
        if not cut:
            raise MediaError(
                f"{person} is all that {folder} holds, and is taken for one person; "
                "give a folder with a subfolder a person, or photos without."
            )
    return files[:cut], files[cut:]


def fingerprint(files: list) -> str:
    """How many photos and which, for a run's configuration: names and sizes alone."""
    facts = [(f.parent.name, f.name, f.stat().st_size) for f in map(Path, files)]
    digest = hashlib.sha256("".join(map(repr, facts)).encode()).hexdigest()
    return f"{len(files)} photos, {digest[:12]}"


def crop(image: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle, made smaller: (size, size, 3) uint8.

    Of CelebA's aligned photos (178 × 218) that leaves the face with its hair and chin.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    kind = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=kind)


def read(files: list, size: int) -> np.ndarray:
    """Photos in order, (N, size, size, 3) uint8, as `crop` cuts them.

    One that cannot be read is warned of and left out; MediaError where none can.
    """
    out = [crop(picture, size) for picture in images.read_each(files, size)]
    if not out:
        said = f"None of {len(files)} photos can be read, such as {files[0]}"
        raise MediaError(f"{said}; give others.")
    return np.stack(out)


def stream(
    files: list,
    make,
    batch: int = 64,
    *,
    seed: int = 0,
    start: int = 0,
    at_least: int | None = None,
) -> Iterator[tuple[int, list]]:
    """Photos, each read and made into something, a batch at a time, without end.

    The n-th batch is the same whenever and wherever it is asked for. Every photo comes
    once before any comes again; one of no use is warned of, another takes its place.

    Args:
        files: Paths of photos.
        make: A function, called in a thread, of a photo (H, W, 3) uint8 and a
            `numpy.random.Generator`; raises `MediaError` where the photo is of no use.
        batch: Photos at a time.
        seed: The only source of randomness.
        start: Number of the first batch, to go on where a run stopped.
        at_least: As for `images.read_image`.

    Yields:
        (number of the batch, what `make` returned for each of its photos).

    Raises:
        video.MediaError: There are no photos, or a hundred in a row were of no use.
    """
    if not (count := len(files)):
        raise MediaError("There are no photos to read; give at least one.")

    @lru_cache(2)
    def order(round_):  # a new one each time round
        return np.random.default_rng((seed, 1, round_)).permutation(count)

    def one(file, random):
        for _ in range(100):
            try:
                return make(images.read_image(file, at_least), random)
            except MediaError as error:
                said = str(error)
                said = said if str(file) in said else f"{file}: {said}"
                warnings.warn(f"Left out: {said}", stacklevel=2)
                file = files[random.integers(count)]
        raise MediaError(f"A hundred photos in a row were of no use, at last: {said}")

    def some(places):
        random = np.random.default_rng((seed, 2, places[0]))
        return [one(files[order(p // count)[p % count]], random) for p in places]

    def ask(step):
        places = range(step * batch, (step + 1) * batch)
        return [pool.submit(some, places[i : i + PART]) for i in range(0, batch, PART)]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(map(ask, range(start, start + AHEAD)))
        for step in itertools.count(start):
            made = [item for future in waiting.popleft() for item in future.result()]
            waiting.append(ask(step + AHEAD))
            yield step, made


def batches(
    files: list,
    size: int,
    batch: int = 64,
    *,
    latent: int = 100,
    seed: int = 0,
    start: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of noise and photos, half of these mirrored.

    Args:
        files, batch, seed, start: As for `stream`.
        size: Side in pixels.
        latent: Numbers of noise.

    Yields:
        (noise (batch, latent), photos (batch, size, size, 3) in [0, 1]), float32.
    """

    def one(picture, random):
        picture = crop(picture, size)
        return picture[:, ::-1] if random.random() < 0.5 else picture

    options = {"seed": seed, "start": start, "at_least": size}
    for step, photos in stream(files, one, batch, **options):
        random = np.random.default_rng((seed, 3, step))
        noise = random.standard_normal((batch, latent), np.float32)
        yield noise, np.stack(photos).astype(np.float32) / 255


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Bicubically, without aliasing: (H, W, 3) uint8 → (H / factor, W / factor, 3)."""
    small = picture.shape[1] // factor, picture.shape[0] // factor
    return np.asarray(Image.fromarray(picture).resize(small, Image.Resampling.BICUBIC))


def jpeg(picture: np.ndarray, quality: float = 50) -> np.ndarray:
    """A picture, (H, W, 3) uint8, after JPEG at that quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    code = cv2.imencode(".jpg", picture[..., ::-1], quality)[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


def degrade(
    picture: np.ndarray, factor: int, random: np.random.Generator
) -> np.ndarray:
    """`shrink` a picture and make it worse: each of blur, noise and JPEG at random."""
    if random.random() < 0.5:
        blur = random.uniform(0.2, 0.8) * factor
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    small = shrink(picture, factor)
    if random.random() < 0.5:
        noise = random.normal(0, random.uniform(1, 10), small.shape)
        small = (small + noise).round().clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        small = jpeg(small, random.integers(40, 95))
    return small


def pairs(
    files: list,
    factors=(2, 4),
    patch: int = 96,
    batch: int = 16,
    *,
    seed: int = 0,
    start: int = 0,
    degraded: float = 0.5,
    made: dict | None = None,
    share: float = 0.15,
) -> Iterator[tuple[dict, dict]]:
    """Endless batches of pairs: a patch of a photo, mirrored or not, and it smaller.

    Args:
        files, batch, seed, start: As for `stream`; each side is at least `patch`.
        factors: How much smaller.
        patch: Side of the large ones in pixels, a multiple of every factor.
        degraded: Share of pairs that are also made worse.
        made: Factor → (small, large) uint8 pictures, as from `remake`.
        share: Of the pairs of such a factor that come from there.

    Yields:
        ({factor: (batch, patch / factor, patch / factor, 3)},
        {factor: (batch, patch, patch, 3)}), float32 in [0, 1].

    Raises:
        ValueError: `patch` is no multiple of a factor.
    """
    for factor in factors:
        if patch % factor:
            raise ValueError(f"patch={patch} is no multiple of the factor {factor}.")

    def one(picture, random):
        height, width = picture.shape[:2]
        if min(height, width) < patch:
            raise MediaError(f"{width} × {height} is smaller than patches of {patch}.")
        top, left = (random.integers(n - patch + 1) for n in (height, width))
        large = picture[top : top + patch, left : left + patch]
        large = np.ascontiguousarray(large[:, ::-1] if random.random() < 0.5 else large)
        small = {}
        for k in factors:
            bad = random.random() < degraded
            small[k] = degrade(large, k, random) if bad else shrink(large, k)
        return small, large

    for step, chosen in stream(files, one, batch, seed=seed, start=start):
        x = {k: np.stack([small[k] for small, _ in chosen]) for k in factors}
        y = {k: np.stack([large for _, large in chosen]) for k in factors}
        for k in set(made or ()) & x.keys():
            random = np.random.default_rng((seed, 4, step, k))
            for i in np.flatnonzero(random.random(batch) < share):
                x[k][i], y[k][i] = _piece(*made[k], k, patch, random)
        yield tuple(
            {k: v.astype(np.float32) / 255 for k, v in part.items()} for part in (x, y)
        )


def _piece(small, large, factor, patch, random):
    """The same random piece of a small picture and of its large one."""
    i, side = random.integers(len(small)), patch // factor
    top, left = random.integers(small.shape[1] - side + 1, size=2)
    return (
        small[i, top : top + side, left : left + side],
        large[i, top * factor :, left * factor :][:patch, :patch],
    )


def remake(swapper, identity: str, files: list, factor: int = 2) -> dict:
    """What a decoder generates of faces, and the faces: `made` for `pairs`.

    It has faults of its own, which no blur or noise resembles.

    Args:
        swapper: A trained `FaceSwapper`.
        identity: Whose decoder generates.
        files: Photos; the largest face of each is aligned.
        factor: How much larger the true faces are than the generated ones.

    Raises:
        video.MediaError: No photo shows a face.
    """
    size, large = swapper.size * factor, []
    for picture in images.read_each(files):
        for face in detect.detect(picture)[:1]:
            transform = geometry.alignment(face.landmarks, size)
            large.append(geometry.crop(picture, transform, size))
    if not large:
        said = f"None of {len(files)} photos shows a face"
        raise MediaError(f"{said}; give some that do.")
    generated, _ = swapper.swap(prepare(large, swapper.size), identity)
    return {factor: (restore(generated), np.stack(large))}
