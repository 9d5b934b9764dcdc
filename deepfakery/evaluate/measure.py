"""How good is a swap? Any swap: ours, or another tool's clip or folder of frames.

    frames = measure("swap.mp4", "target.mp4", "data/faces/hopper", truth="true.mp4")
    tables.side_by_side(tables.summarise(frames))

What is measured is defined in `metrics.MEASURES`. The target as it was, the ground
truth and real footage of the generated person are measured likewise, to compare with.
"""

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from tqdm import tqdm

from deepfakery.evaluate import matching, metrics
from deepfakery.evaluate.metrics import MEASURES, PERSON, TARGET, TRUTH
from deepfakery.faces import detect, geometry, tracking
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images
from deepfakery.media.workers import FED, how_many, in_order, own_pages, pool


def _look(sources, described: int | None, workers: int | None) -> dict:
    """What dlib sees in each of some clips or folders; each is looked at once."""
    workers = min(how_many(None), FED) if workers is None else workers
    counts = {source: images.count_frames(source) or 0 for source in sources}
    bar, seen = tqdm(total=sum(counts.values()), unit="frame", desc="looking"), {}
    own_pages()
    with bar, pool(workers) as crew:
        for source, count in counts.items():
            step = max(1, math.ceil(count / described)) if described else 1
            jobs = (
                (frame, detect.detect, frame.image, number % step == 0)
                for number, frame in enumerate(images.read_source(source))
            )
            seen[source] = _course(source, in_order(crew, workers, jobs), step, bar)
    return seen


def _course(source, stream, step: int, bar) -> SimpleNamespace:
    """What (frame, faces) say of a clip, the largest face of each frame alone."""
    # The face that the merge paints, smoothed as there, so that both align it alike.
    linked, kept = itertools.tee(tracking.link(stream))
    pairs = zip(tracking.largest(linked, ""), kept, strict=True)
    rows, sizes, nobody = [], set(), np.full(128, np.nan, np.float32)

    def passed():
        for (_, faces), (frame, found) in pairs:
            known = [found[track].descriptor for track in faces]
            known = known[0] if known and known[0] is not None else nobody
            small = matching.thumbnail(frame.image)
            rows.append((frame.time, frame.file, small, bool(faces), known))
            sizes.add(frame.image.shape[1::-1])
            bar.update()
            yield None, faces

    landmarks = [
        next((face.landmarks for face in faces.values()), np.full((68, 2), np.nan))
        for _, faces in tracking.steady(passed())
    ]
    times, files, thumbnails, found, descriptors = zip(*rows, strict=True)
    return SimpleNamespace(
        source=Path(source),
        times=np.array(times) - times[0],  # seconds; all 0 for pictures
        files=files,
        sizes=sizes,  # every (width, height) that occurs
        thumbnails=np.array(thumbnails),
        found=np.array(found),
        # nan where there is no face for longer than a moment
        landmarks=np.array(landmarks, np.float32),
        asked=np.arange(len(times)) % step == 0,  # whether the identity was read
        descriptors=np.array(descriptors),  # nan where it was not, or nobody is
    )


def gallery(
    folder: str | os.PathLike, people: int = 300, *, workers: int | None = None
) -> np.ndarray:
    """Descriptors of many other people, (N, 128) float32.

    Args:
        folder: A sub-folder a person, with photos (the layout of Labeled Faces in the
            Wild). One photo of each is read; without a face it is left out.
        people: How many, spread over the alphabet.
        workers: Processes; one a core by default.
    """
    photos = filter(images.is_image, images.list_files(folder))
    inside = [photo.relative_to(folder) for photo in photos]
    first = {one.parts[0]: one for one in reversed(inside) if one.parts[1:]}
    if not first:
        raise FileNotFoundError(f"{folder} holds no sub-folders with photos.")
    files = [Path(folder, first[name]) for name in sorted(first)]
    chosen = np.linspace(0, len(files) - 1, min(people, len(files))).astype(int)
    pictures = images.read_each([files[i] for i in chosen])
    stream = (SimpleNamespace(image=picture) for picture in pictures)
    found = detect.detect_each(stream, True, workers)
    bar = tqdm(found, total=len(chosen), unit="photo", desc="gallery")
    described = [faces[0].descriptor for _, faces in bar if faces]
    return np.float32(described).reshape(-1, 128)


def measure(
    swaps: str | os.PathLike | dict,
    target: str | os.PathLike,
    face: str | os.PathLike | np.ndarray,
    truth: str | os.PathLike | None = None,
    *,
    gallery: np.ndarray | None = None,
    described: int | None = 60,
    workers: int | None = None,
) -> pd.DataFrame:
    """Score swaps of one target, frame by frame.

    Args:
        swaps: A clip or a folder of frames that any tool made from the target, whole
            or in part, of any size and frame rate; or {name: such}, to compare several.
            What `matching.match` makes of it is printed.
        target: The clip, or folder of frames, as it was before.
        face: The generated person: a face folder, footage, or (N, 128) descriptors.
        truth: The same motion played by the generated person, where that exists.
        gallery: (N, 128) descriptors of other people, from `gallery`.
        described: Frames of a clip, evenly spread, whose identity is read (a tenth of
            a second each); None for all.
        workers: Processes; one a core by default, 0 for none.

    Returns:
        A row a clip and frame: `clip` (a swap's name, `TARGET`, `TRUTH` or `PERSON`),
        `frame`, `time` in seconds, and a column for each of `metrics.MEASURES`; nan
        where there is nothing to say, as in frames that a clip has no partner of.

    Raises:
        ValueError: A swap was made from something else; or nobody is shown.
    """
    label = "" if isinstance(swaps, dict) else Path(swaps).name
    swaps = {"swap": swaps} if label else dict(swaps)
    if taken := {TARGET, TRUTH, PERSON} & swaps.keys():
        raise ValueError(f"Call the swap something else than {taken.pop()!r}.")
    sources = swaps | {TARGET: target} | ({TRUTH: truth} if truth else {})
    known = face if isinstance(face, np.ndarray) else None
    if known is None and (Path(face) / "faces.jsonl").exists():
        known = FaceSet.load(face).descriptors()
    looked = dict.fromkeys([*sources.values(), *([face] if known is None else [])])
    seen = _look(looked, described, workers)
    generated = _known(seen[face].descriptors if known is None else known)
    before = _known(seen[target].descriptors)
    for descriptors, source in ((generated, face), (before, target)):
        if not len(descriptors):
            raise ValueError(f"{source} shows no face to compare with.")
    for source in sources.values():
        sizes = [f"{w} × {h}" for w, h in sorted(seen[source].sizes)]
        if sizes[1:]:
            raise ValueError(f"{source} has {' and '.join(sizes)}; export one size.")
    people = [generated.mean(0), before.mean(0), *([] if gallery is None else gallery)]

    clips, here, said = {}, seen[target], {}
    for name, source in sources.items():
        own = seen[source]
        at = np.arange(len(here.times))
        if own is not here:
            at, how = matching.match(own, here, source != truth)
            said.setdefault(how, []).append(name if name == TRUTH else label or name)
        (size,), (own_size,), there = here.sizes, own.sizes, at >= 0
        scale = np.float32(size) / np.float32(own_size)
        landmarks = geometry.resize_points(own.landmarks, scale)[at]
        distances = cdist(own.descriptors[at], people)
        clips[name] = SimpleNamespace(
            source=source,
            size=size,
            at=at,
            found=np.where(there, own.found[at], np.nan),
            landmarks=np.where(there[:, None, None], landmarks, np.nan),
            asked=own.asked[at] & there,
            distances=np.where(there[:, None], distances, np.nan),
        )
        if own is here:
            clips[name].distances[:, 1] = _from_other_half(own.descriptors)
    for how, names in said.items():
        print(f"{', '.join(map(str, names))}: {how}")
    for clip in clips.values():  # a swap's faces belong where the target's are
        clip.is_swap = clip.source != truth
        clip.places = clips[TARGET if clip.is_swap else TRUTH].landmarks

    pixels, parts = _pixels(clips, workers), []
    for name, clip in clips.items():
        rows = {"clip": name, "frame": np.arange(len(here.times)), "time": here.times}
        rows |= _verdicts(clip.distances, clip.asked) | {"found": clip.found}
        rows |= _geometry(clip, clips[TARGET], clips.get(TRUTH), size)
        parts.append(pd.DataFrame(rows).join(pd.DataFrame(pixels[name])))
    distances = cdist(generated, people)
    distances[:, 0] = _from_other_half(generated)
    rows = {"clip": PERSON, "frame": np.arange(len(generated))}
    parts.append(pd.DataFrame(rows | _verdicts(distances, True)))
    columns = ["clip", "frame", "time", *MEASURES]
    numbers = dict.fromkeys(columns[2:], float)
    parts = [part.reindex(columns=columns).astype(numbers) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _known(descriptors: np.ndarray) -> np.ndarray:
    return descriptors[np.isfinite(descriptors[:, 0])]


def _from_other_half(descriptors: np.ndarray) -> np.ndarray:
    """Distance of each to the mean of the other half, in which it is not itself."""
    half = len(descriptors) // 2
    parts = descriptors[:half], descriptors[half:]
    known = [_known(part) for part in parts[::-1]]
    means = [part.mean(0) if len(part) else np.nan for part in known]
    pairs = zip(parts, means, strict=True)
    return np.concatenate([np.linalg.norm(d - mean, axis=1) for d, mean in pairs])


def _verdicts(distances: np.ndarray, asked) -> dict:
    """What distances to (generated, target person, others) say, where it was asked."""
    to_person, to_target = distances[:, :2].T
    verified = (to_person < detect.SAME_PERSON) & (to_person < to_target)
    columns = {
        "identity_distance": to_person,
        "distance_target": to_target,
        "margin": to_target - to_person,
        "verified": np.where(asked, verified, np.nan),
    }
    if distances.shape[1] > 2:
        first = to_person < distances[:, 1:].min(1)
        columns["retrieved"] = np.where(asked, first, np.nan)
    return columns


def _geometry(clip, target, truth, size) -> dict:
    """Columns that landmarks give."""
    wanted = truth or target
    does, asked = (
        np.stack([metrics.expression(points) for points in one.landmarks])
        for one in (clip, wanted)
    )
    apart = does - asked
    both = np.isfinite(apart[:, 0])
    pose, error = np.full((len(both), 3), np.nan), np.full(len(both), np.nan)
    for i in np.flatnonzero(both):
        mine, theirs, place = clip.landmarks[i], wanted.landmarks[i], clip.places[i]
        pose[i] = geometry.pose(mine, size) - geometry.pose(theirs, size)
        if np.isfinite(place).all():
            error[i] = metrics.landmark_error(mine, place, theirs)
    columns = {}
    if truth:
        eye, mouth = np.abs(apart[:, :2]).T
        columns |= {"landmark_error": error, "eye_error": eye, "mouth_error": mouth}
    elif both.any():  # two people's heads differ, and with them the fit
        pose -= pose[both].mean(0)
    if both.any():
        apart -= apart[both].mean(0)
    columns["pose_error"] = np.abs(pose).mean(1)
    columns["expression_error"] = np.abs(apart).mean(1)
    return columns


def _pixels(clips: dict, workers: int | None) -> dict[str, tuple[dict]]:
    """Figures that need the pictures: all clips decoded once more, side by side."""

    def score(window):
        return [_score(name, clip, *window) for name, clip in clips.items()]

    frames = zip(*map(_frames, clips.values()), strict=True)
    frames = (dict(zip(clips, now, strict=True)) for now in frames)
    stream, scored = tracking.windows(frames, 1), []
    threads = max(1, how_many(workers))
    bar = tqdm(total=len(clips[TARGET].at), unit="frame", desc="measuring")
    with ThreadPoolExecutor(threads) as crew, bar:
        # A few frames at a time, so that a long clip does not fill the memory.
        while chunk := list(itertools.islice(stream, 8 * threads)):
            scored += crew.map(score, chunk)
            bar.update(len(chunk))
    return dict(zip(clips, zip(*scored, strict=True), strict=True))


def _frames(clip) -> Iterator[SimpleNamespace]:
    """A clip's partner of each frame of the target, at its size, its face aligned."""
    stream = enumerate(images.read_source(clip.source))
    number, frame = next(stream)
    for position, place in zip(clip.at, clip.places, strict=True):
        image = face = inside = None
        if position >= 0:
            while number < position:
                number, frame = next(stream)
            shrinks = frame.image.shape[1] > clip.size[0]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            image = cv2.resize(frame.image, clip.size, interpolation=how)
            if np.isfinite(place).all():
                face, inside = metrics.align(image, place)
        yield SimpleNamespace(image=image, place=place, face=face, inside=inside)


def _score(name, clip, before, now, after) -> dict:
    """What the pictures of one frame say of one clip."""
    mine, target, truth = now[name], now[TARGET], now.get(TRUTH)
    if mine.face is None:
        return {}
    wanted, figures = truth or target, {}
    if clip.is_swap:  # the ground truth has surroundings and landmarks of its own
        trio = mine.image, target.image, mine.place
        figures["background_ssim"] = metrics.background_ssim(*trio)
        figures["seam"] = metrics.seam(*trio)
        faces = [at[name].face if at else None for at in (before, now, after)]
        if all(face is not None for face in faces):
            figures["flicker"] = metrics.flicker(*faces, mine.inside)
    if wanted.face is not None:
        ours, theirs = (metrics.detail(x.face, x.inside) for x in (mine, wanted))
        figures["sharpness_ratio"] = ours / max(theirs, 1e-6)
        if truth:
            trio = mine.face, truth.face, truth.inside
            figures["ssim"] = metrics.ssim(*trio)
            figures["psnr"] = metrics.psnr(*trio)
            figures["colour_error"] = metrics.colour_error(*trio)
    return figures
