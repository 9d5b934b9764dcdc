"""Photos of many people: the files of a data set, cropped, streamed in batches.

    train, held_out = photos.split("img_align_celeba")
    for noise, images in batches(train, size=64, batch=128): ...

Nothing but the batches at hand is in memory, however many photos there are.
"""

import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from deepfakery.media import images
from deepfakery.media.video import MediaError

#: Batches that are read ahead.
AHEAD = 3

#: Photos that a thread reads in one go: to hand each over by itself, with randomness of
#: its own, took as long as reading it.
PART = 16


def split(
    folder: str | os.PathLike, held_out: float = 0.1, people: bool = False
) -> tuple[list, list]:
    """Photos to train on and photos to judge by.

    Args:
        folder: Photos, in subfolders or not. CelebA's own `list_eval_partition.txt` (or
            `.csv`), in the folder or beside it, is followed where it is; its validation
            and test parts are both held out.
        held_out: Share of the files to hold out otherwise, the last in order of name.
        people: A subfolder is a person, none of whom may be on both sides: where the
            cut goes through one, all of that subfolder is held out.

    Returns:
        (paths to train on, paths held out).

    Raises:
        video.MediaError: There is no photo, or not one of another person.
    """
    folder = Path(folder)
    files = [file for file in images.list_files(folder) if images.is_image(file)]
    if not files:
        raise MediaError(f"{folder} holds no photo; give a folder that does.")
    lists = [
        place / f"list_eval_partition.{kind}"
        for place in (folder, folder.parent)
        for kind in ("txt", "csv")
    ]
    for file in filter(Path.exists, lists):
        text = file.read_text(encoding="utf-8", errors="replace").replace(",", " ")
        lines = [line.split() for line in text.split("\n")]
        parts = {line[0]: line[1] for line in lines if len(line) == 2}
        train = [f for f in files if parts.get(f.name) == "0"]
        rest = [f for f in files if parts.get(f.name) in ("1", "2")]
        if train and rest:
            return train, rest
    count = len(files) - max(1, round(held_out * len(files)))
    if people:
        while files[count].parent != folder and (
            count and files[count - 1].parent == files[count].parent
        ):
            count -= 1
        if not count:
            raise MediaError(
                f"{files[0].parent} is all that {folder} holds, and is taken for one "
                "person; give a folder with a subfolder a person, or photos without."
            )
    return files[:count], files[count:]


def fingerprint(files: list) -> str:
    """How many photos and which, in a few letters: a run's configuration holds it.

    Args:
        files: Paths. Their names, their folders' names and their sizes count: to read
            them all would take minutes.
    """
    digest = hashlib.sha256()
    for file in map(Path, files):
        facts = file.parent.name, file.name, file.stat().st_size
        digest.update(repr(facts).encode())
    return f"{len(files)} photos, {digest.hexdigest()[:12]}"


def crop(image: np.ndarray, size: int) -> np.ndarray:
    """The one crop of every photo: the largest square in its middle, made smaller.

    Of CelebA's aligned photos (178 × 218) that leaves the face with its hair and chin.

    Args:
        image: (H, W, 3) uint8.
        size: Side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    shrinks = side > size
    return cv2.resize(
        square,
        (size, size),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )


def read(files: list, size: int) -> np.ndarray:
    """Photos, cropped and in order; one that cannot be read is warned of and left out.

    Args:
        files: Paths.
        size: Side in pixels.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        video.MediaError: None can be read.
    """
    out = [crop(picture, size) for picture in images.read_each(files, size)]
    if not out:
        raise MediaError(
            f"No photo can be read, of {len(files)} such as {files[0]}; give others."
        )
    return np.stack(out)


def batches(
    files: list,
    size: int,
    batch: int = 64,
    *,
    latent: int = 100,
    seed: int = 0,
    start: int = 0,
    flip: bool = True,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches; the n-th is the same whenever and wherever it is asked for.

    Every photo comes once before any comes again. One that cannot be read is warned of
    and another takes its place.

    Args:
        files: Paths of photos.
        size: Side in pixels.
        batch: Photos at a time.
        latent: Numbers of noise for each made face.
        seed: The only source of randomness.
        start: Number of the first batch, to go on where a run stopped.
        flip: Mirror half of them.

    Yields:
        (noise (batch, latent) float32, photos (batch, size, size, 3) float32 in
        [0, 1]).
    """

    def one(picture, random):
        picture = crop(picture, size)
        return picture[:, ::-1] if flip and random.random() < 0.5 else picture

    for step, photos in stream(
        files, one, batch, seed=seed, start=start, at_least=size
    ):
        random = np.random.default_rng((seed, 3, step))
        noise = random.standard_normal((batch, latent), np.float32)
        yield noise, np.stack(photos).astype(np.float32) / 255


def stream(
    files: list,
    make,
    batch: int = 64,
    *,
    seed: int = 0,
    start: int = 0,
    at_least: int | None = None,
) -> Iterator[tuple[int, list]]:
    """What `batches` is made of: photos read, made into something, a batch at a time.

    Args:
        files: Paths of photos.
        make: A function of a photo, (H, W, 3) uint8, and a `numpy.random.Generator`.
            It runs in a thread; a `MediaError` that it raises is warned of, and another
            photo takes that one's place.
        batch, seed, start: As for `batches`.
        at_least: As for `images.read_image`.

    Yields:
        (number of the batch, what `make` returned for each of its photos).

    Raises:
        video.MediaError: There are no photos, or a hundred in a row were of no use.
    """
    count = len(files)
    if not count:
        raise MediaError("There are no photos to read; give at least one.")

    def order(position):  # a new order each time round
        round_, place = divmod(position, count)
        if round_ not in orders:
            orders.clear()
            orders[round_] = np.random.default_rng((seed, 1, round_)).permutation(count)
        return files[orders[round_][place]]

    def one(file, random):
        for _ in range(100):
            try:
                return make(images.read_image(file, at_least), random)
            except MediaError as error:
                said = str(error)
                said = said if str(file) in said else f"{file}: {said}"
                warnings.warn(f"Left out: {said}", stacklevel=2)
                file = files[random.integers(count)]
        raise MediaError(
            f"A hundred photos in a row were of no use; the last was {said}"
        )

    def some(first, files):
        random = np.random.default_rng((seed, 2, first))
        return [one(file, random) for file in files]

    def ask(step):
        places = range(step * batch, (step + 1) * batch)
        parts = [places[i : i + PART] for i in range(0, batch, PART)]
        return [pool.submit(some, part[0], [*map(order, part)]) for part in parts]

    orders = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(ask(start + i) for i in range(AHEAD))
        for step in itertools.count(start):
            made = [item for future in waiting.popleft() for item in future.result()]
            waiting.append(ask(step + AHEAD))
            yield step, made
