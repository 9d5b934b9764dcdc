"""What dlib sees in whole clips, and which frames of two clips belong together.

Each clip is looked at once; everything that is measured later uses this look.
"""

import hashlib
import io
import itertools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from deepfakery.faces import detect, tracking
from deepfakery.media import images, records
from deepfakery.media.workers import FED, how_many, in_order, pool


@dataclass(frozen=True)
class Look:
    """What dlib sees in a clip or folder of frames.

    Attributes:
        source: The clip or folder.
        times: (frames,) seconds since the first frame; all 0 for pictures.
        files: The image that each frame was read from, or the clip.
        sizes: Every (width, height) that occurs.
        found: (frames,) bool: whether there is a face.
        landmarks: (68, 2) of each frame's largest face, steadied over time; None
            where there is none for longer than a moment.
        described: (frames,) bool: whether the identity was asked for.
        descriptors: (frames, 128); nan where it was not, or nobody is there.
    """

    source: Path
    times: np.ndarray
    files: list[Path]
    sizes: set[tuple[int, int]]
    found: np.ndarray
    landmarks: list[np.ndarray | None]
    described: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.landmarks)


def look(
    sources, described: int | None = 60, workers: int | None = None
) -> dict[str | os.PathLike, Look]:
    """Find the faces of some clips or folders of frames, and whose they are.

    Args:
        sources: Clips, folders or photos.
        described: Frames of each, evenly spread, whose identity is read (a tenth of a
            second each); None for every frame.
        workers: Processes; one a core by default, 0 for none.

    Returns:
        {source: `Look`}.
    """
    workers = min(how_many(None), FED) if workers is None else workers
    total = sum(images.count_frames(source) or 0 for source in sources)
    bar = tqdm(total=total, unit="frame", desc="looking")
    with bar, pool(workers) as crew:
        return {s: _look(s, described, workers, crew, bar) for s in sources}


def _look(source, described, workers, crew, bar) -> Look:
    count = images.count_frames(source) or 0
    step = math.ceil(count / described) if described and count else 1
    times, files, sizes, course, descriptors = [], [], set(), [], []
    jobs = (
        (frame, detect.detect, frame.image, number % step == 0)
        for number, frame in enumerate(images.read_source(source))
    )
    # The face that the merge paints, smoothed as there, so that both align it alike.
    for (frame, chosen), found in _largest(in_order(crew, workers, jobs)):
        course.append((len(course), chosen))
        face = found[next(iter(chosen))] if chosen else None
        known = face is not None and face.descriptor is not None
        descriptors.append(face.descriptor if known else np.full(128, np.nan))
        times.append(frame.time)
        files.append(frame.file)
        sizes.add(frame.image.shape[1::-1])
        bar.update()
    return Look(
        source=Path(source),
        times=np.array(times) - times[0],
        files=files,
        sizes=sizes,
        found=np.array([bool(chosen) for _, chosen in course]),
        landmarks=[
            next((one.landmarks for one in chosen.values()), None)
            for _, chosen in tracking.steady(course)
        ],
        described=np.arange(len(course)) % step == 0,
        descriptors=np.array(descriptors, float),
    )


def _largest(stream) -> Iterator[tuple]:
    """`tracking.largest` of a stream, beside all the faces of each frame."""
    linked, kept = itertools.tee(tracking.link(stream))
    for chosen, (_, found) in zip(tracking.largest(linked, ""), kept, strict=True):
        yield chosen, found


def gallery(
    folder: str | os.PathLike,
    people: int = 300,
    *,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """Descriptors of many other people, to look the painted person up among them.

    Args:
        folder: A sub-folder a person, with photos (the layout of Labeled Faces in the
            Wild). One photo of each is read.
        people: How many, spread over the alphabet.
        cache: A file to keep them in. It is read where it holds the descriptors of
            these very photos, and replaced where it holds those of others.
        workers: Processes; one a core by default.

    Returns:
        (N, 128) float32. Photos without a face, or that cannot be read, are left out.

    Raises:
        FileNotFoundError: The folder holds no sub-folder with photos.
        ValueError: `cache` is a file of another kind.
    """
    first = {}
    for file in filter(images.is_image, images.list_files(folder)):
        *named, _ = file.relative_to(folder).parts
        if named:
            first.setdefault(named[0], file)
    files = [first[name] for name in sorted(first)]
    if not files:
        raise FileNotFoundError(f"{folder} holds no sub-folders with photos.")
    files = [files[i] for i in np.linspace(0, len(files) - 1, people).astype(int)]
    files = list(dict.fromkeys(files))
    contents = b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)
    made_of = hashlib.sha256(contents).hexdigest()
    if cache and (kept := _kept(Path(cache), made_of)) is not None:
        return kept
    stream = (SimpleNamespace(image=picture) for picture in images.read_each(files))
    found = detect.detect_each(stream, True, workers)
    bar = tqdm(found, total=len(files), unit="photo", desc="gallery")
    out = np.float32([f[0].descriptor for _, f in bar if f]).reshape(-1, 128)
    if cache:
        Path(cache).parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        np.savez(packed, descriptors=out, made_of=made_of)
        records.write(Path(cache), packed.getvalue())
    return out


def _kept(cache: Path, made_of: str) -> np.ndarray | None:
    """The descriptors that a file keeps; None if they are of other photos."""
    if not cache.exists():
        return None
    try:
        kept = np.load(cache)
        if isinstance(kept, np.ndarray) and kept.shape[1:] == (128,):
            return None  # as it was once written: nobody knows of whom
        with kept:
            found, descriptors = str(kept["made_of"]), kept["descriptors"]
    except Exception as error:  # whatever NumPy and zip make of a foreign file
        raise ValueError(
            f"{cache} keeps no gallery ({error}); give `cache` another name, or "
            "delete the file."
        ) from error
    return descriptors if found == made_of else None


def match(clip: Look, target: Look, by: str = "index") -> np.ndarray:
    """Which frame of a clip belongs to each frame of the target.

    Args:
        clip: Made from the target's footage, by whatever tool.
        target: What it was made from.
        by: "index": the n-th to the n-th. "time": what is shown at the same time,
            counted from each clip's first frame.

    Returns:
        (target frames,) numbers of the clip's frames.

    Raises:
        ValueError: Sizes, counts or times do not match; says which.
    """
    if by not in ("index", "time"):
        raise ValueError(f"Frames are matched by 'index' or 'time', not {by!r}.")
    if clip.sizes != target.sizes or len(clip.sizes) > 1:
        raise ValueError(
            f"{clip.source} has frames of {_sizes(clip)}, {target.source} of "
            f"{_sizes(target)}; all must have the target's size."
        )
    if by == "index":
        if len(clip) != len(target):
            raise ValueError(
                f"{clip.source} holds {len(clip)} frames, {target.source} "
                f"{len(target)}{_missing(clip)}; export every frame, or match by time "
                "where both are clips."
            )
        return np.arange(len(target))
    for one in (clip, target):
        if len(one) > 1 and one.times[-1] <= 0:
            raise ValueError(
                f"{one.source} holds pictures, which have no time; match by index."
            )
    nearest = _nearest(clip.times, target.times)
    away = np.abs(clip.times[nearest] - target.times)
    step = np.median(np.diff(target.times)) if len(target) > 1 else 0
    worst = int(away.argmax())
    if away[worst] > step / 2 + 1e-3:
        raise ValueError(
            f"{clip.source} shows nothing at {target.times[worst]:.2f} s, where "
            f"{target.source} has frame {worst}; is it the whole clip?"
        )
    return nearest


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of some times is nearest to each wanted one; of equals, the first."""
    known, first = np.unique(times, return_index=True)
    after = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    pair = np.sort(first[[(after - 1).clip(0), after]], axis=0)  # (2, wanted)
    closer = np.abs(times[pair] - wanted).argmin(0)
    return np.take_along_axis(pair, closer[None], 0)[0]


def _sizes(clip: Look) -> str:
    return " and ".join(f"{w} × {h}" for w, h in sorted(clip.sizes))


def _missing(clip: Look) -> str:
    """Which numbers are missing among numbered pictures."""
    numbers = [re.findall(r"\d+", file.stem) for file in clip.files]
    if clip.source.is_file() or not all(numbers):
        return ""
    there = {int(found[-1]) for found in numbers}
    missing = sorted(set(range(min(there), max(there))) - there)
    if not missing:
        return ""
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
    return f" (between its first and its last there is no {shown})"
