"""How good is a swap? Any swap: ours, or another tool's clip or folder of frames.

    frames = measure("swap.mp4", "target.mp4", "data/faces/hopper", truth="true.mp4")
    tables.side_by_side(tables.summarise(frames))

What is measured is defined in `metrics.MEASURES`. The target as it was, the true swap
and real footage of the painted person are measured likewise, to compare with.
"""

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from tqdm import tqdm

from deepfakery.evaluate import metrics
from deepfakery.evaluate.metrics import MEASURES, PERSON, TARGET, TRUTH
from deepfakery.faces import detect, geometry, tracking
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images
from deepfakery.media.workers import FED, how_many, in_order, pool


def _look(sources, described: int | None, workers: int | None) -> dict:
    """What dlib sees in each of some clips or folders; each is looked at once."""
    workers = min(how_many(None), FED) if workers is None else workers
    with pool(workers) as crew:
        hand_out = partial(in_order, crew, workers)
        return {s: _course(s, described, hand_out) for s in dict.fromkeys(sources)}


def _course(source, described, hand_out) -> SimpleNamespace:
    """What dlib sees in a clip, of the largest face of each frame."""
    count = images.count_frames(source) or 0
    step = max(1, math.ceil(count / described)) if described else 1
    jobs = (
        (frame, detect.detect, frame.image, number % step == 0)
        for number, frame in enumerate(images.read_source(source))
    )
    seen = tqdm(hand_out(jobs), f"looking at {Path(source).name}", count, unit="frame")
    # The face that the merge paints, smoothed as there, so that both align it alike.
    linked, kept = itertools.tee(tracking.link(seen))
    pairs = zip(tracking.largest(linked, ""), kept, strict=True)
    chosen, times, descriptors, sizes = [], [], [], set()
    for (_, faces), (frame, found) in pairs:
        known = [found[track].descriptor for track in faces]
        known = known[0] if known and known[0] is not None else np.full(128, np.nan)
        descriptors.append(known)
        times.append(frame.time)
        sizes.add(frame.image.shape[1::-1])
        chosen.append((None, faces))
    landmarks = np.full((len(times), 68, 2), np.nan, np.float32)
    for place, (_, faces) in zip(landmarks, tracking.steady(chosen), strict=True):
        for face in faces.values():
            place[:] = face.landmarks
    shown = " and ".join(f"{w} × {h}" for w, h in sorted(sizes))
    return SimpleNamespace(
        source=source,
        times=np.array(times) - times[0],  # seconds; all 0 for pictures
        sizes=sizes,  # every (width, height) that occurs
        holds=f"{len(times)} frames of {shown}",
        found=np.array([bool(faces) for _, faces in chosen]),
        landmarks=landmarks,  # nan where there is no face for longer than a moment
        asked=np.arange(len(times)) % step == 0,  # whether the identity was read
        descriptors=np.array(descriptors, float),  # nan where it was not, or nobody is
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
    """Score swaps of one target, frame by frame; the n-th belongs to the n-th.

    Args:
        swaps: A clip or a folder of frames that any tool made from the target; or
            {name: such}, to compare several.
        target: The clip, or folder of frames, as it was before.
        face: The painted person: a face folder, footage, or (N, 128) descriptors.
        truth: The same motion played by the painted person, where that exists.
        gallery: (N, 128) descriptors of other people, from `gallery`.
        described: Frames of a clip, evenly spread, whose identity is read (a tenth of
            a second each); None for all.
        workers: Processes; one a core by default, 0 for none.

    Returns:
        A row a clip and frame: `clip` (a swap's name, `TARGET`, `TRUTH` or `PERSON`),
        `frame`, `time` in seconds, and a column for each of `metrics.MEASURES`; nan
        where there is nothing to say.

    Raises:
        ValueError: Frames do not match in size or number; or nobody is shown.
    """
    swaps = dict(swaps) if isinstance(swaps, dict) else {"swap": swaps}
    if taken := {TARGET, TRUTH, PERSON} & swaps.keys():
        raise ValueError(f"Call the swap something else than {taken.pop()!r}.")
    sources = swaps | {TARGET: target} | ({TRUTH: truth} if truth else {})
    known = face if isinstance(face, np.ndarray) else None
    if known is None and (Path(face) / "faces.jsonl").exists():
        known = FaceSet.load(face).descriptors()
    looked = [*sources.values(), *([face] if known is None else [])]
    seen = _look(looked, described, workers)
    painted = _known(seen[face].descriptors if known is None else known)
    here = seen[target]
    before = _known(here.descriptors)
    for descriptors, source in ((painted, face), (before, target)):
        if not len(descriptors):
            raise ValueError(f"{source} shows no face to compare with.")
    people = [painted.mean(0), before.mean(0), *([] if gallery is None else gallery)]

    clips, parts = {name: seen[source] for name, source in sources.items()}, []
    for clip in clips.values():
        if clip.holds != here.holds or len(clip.sizes) > 1:
            raise ValueError(
                f"{clip.source} holds {clip.holds}, {target} {here.holds}; export all "
                "frames, at the target's size and frame rate."
            )
    pixels = _pixels(clips, workers)
    for name, clip in clips.items():
        distances = cdist(clip.descriptors, people)
        if clip is here:
            distances[:, 1] = _from_other_half(clip.descriptors)
        rows = {"clip": name, "frame": np.arange(len(here.times)), "time": here.times}
        rows |= _verdicts(distances, clip.asked) | {"found": clip.found}
        rows |= _geometry(name, clips)
        parts.append(pd.DataFrame(rows).join(pd.DataFrame(pixels[name])))
    distances = cdist(painted, people)
    distances[:, 0] = _from_other_half(painted)
    rows = {"clip": PERSON, "frame": np.arange(len(painted))}
    parts.append(pd.DataFrame(rows | _verdicts(distances, True)))
    columns = ["clip", "frame", "time", *MEASURES]
    numbers = dict.fromkeys(columns[2:], float)
    parts = [part.reindex(columns=columns).astype(numbers) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _places(name: str, clips: dict) -> np.ndarray:
    """Where faces belong: where the target's are, but for those of the true swap."""
    return clips[TRUTH if name == TRUTH else TARGET].landmarks


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
    """What distances to (painted, target person, others) say, where it was asked."""
    to_painted, to_target = distances[:, :2].T
    verified = (to_painted < detect.SAME_PERSON) & (to_painted < to_target)
    columns = {
        "distance_painted": to_painted,
        "distance_target": to_target,
        "margin": to_target - to_painted,
        "verified": np.where(asked, verified, np.nan),
    }
    if distances.shape[1] > 2:
        first = to_painted < distances[:, 1:].min(1)
        columns["retrieved"] = np.where(asked, first, np.nan)
    return columns


def _geometry(name: str, clips: dict) -> dict:
    """Columns that landmarks give."""
    clip, truth = clips[name], clips.get(TRUTH)
    wanted, [size] = truth or clips[TARGET], clip.sizes
    does, asked = (
        np.stack([metrics.expression(points) for points in one.landmarks])
        for one in (clip, wanted)
    )
    apart = does - asked
    both = np.isfinite(apart[:, 0])
    pose, error = np.full((len(both), 3), np.nan), np.full(len(both), np.nan)
    places = _places(name, clips)
    for i in np.flatnonzero(both):
        mine, theirs = clip.landmarks[i], wanted.landmarks[i]
        pose[i] = geometry.pose(mine, size) - geometry.pose(theirs, size)
        if np.isfinite(places[i]).all():
            error[i] = metrics.landmark_error(mine, places[i], theirs)
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
        return [_score(name, *window) for name in clips]

    frames = zip(*(_frames(name, clips) for name in clips), strict=True)
    frames = (dict(zip(clips, now, strict=True)) for now in frames)
    stream, scored = tracking.windows(frames, 1), []
    threads = max(1, how_many(workers))
    bar = tqdm(total=len(clips[TARGET].times), unit="frame", desc="measuring")
    with ThreadPoolExecutor(threads) as crew, bar:
        # A few frames at a time, so that a long clip does not fill the memory.
        while chunk := list(itertools.islice(stream, 8 * threads)):
            scored += crew.map(score, chunk)
            bar.update(len(chunk))
    return dict(zip(clips, zip(*scored, strict=True), strict=True))


def _frames(name: str, clips: dict) -> Iterator[SimpleNamespace]:
    """The frames of a clip, each with its aligned face, if it has one."""
    stream = images.read_source(clips[name].source)
    for frame, place in zip(stream, _places(name, clips), strict=True):
        face, inside = None, None
        if np.isfinite(place).all():
            face, inside = metrics.align(frame.image, place)
        yield SimpleNamespace(image=frame.image, place=place, face=face, inside=inside)


def _score(name, before, now, after) -> dict:
    """What the pictures of one frame say of one clip."""
    mine, target, truth = now[name], now[TARGET], now.get(TRUTH)
    if mine.face is None:
        return {}
    wanted, figures = truth or target, {}
    if name != TRUTH:  # which has surroundings of its own
        trio = mine.image, target.image, mine.place
        figures["background_ssim"] = metrics.background_ssim(*trio)
        figures["seam"] = metrics.seam(*trio)
    if wanted.face is not None:
        ours, theirs = (metrics.detail(x.face, x.inside) for x in (mine, wanted))
        figures["sharpness_ratio"] = ours / max(theirs, 1e-6)
        if truth:
            trio = mine.face, truth.face, truth.inside
            figures["ssim"] = metrics.ssim(*trio)
            figures["psnr"] = metrics.psnr(*trio)
            figures["colour_error"] = metrics.colour_error(*trio)
    faces = [at[name].face if at else None for at in (before, now, after)]
    if all(face is not None for face in faces):
        figures["flicker"] = metrics.flicker(*faces, mine.inside)
    return figures


def identity(
    source: str | os.PathLike,
    painted: np.ndarray,
    target: np.ndarray,
    *,
    among: set[int] | None = None,
    workers: int | None = None,
) -> dict:
    """Whom a finished clip or folder of frames shows.

    Args:
        source: The clip, folder or photo.
        painted, target: (N, 128) descriptors of the person who was painted, and of the
            one who was there before.
        among: Indices of the frames that were painted; all frames by default.
        workers: Processes; one a core by default.

    Returns:
        `frames`: how many. `found_fraction`, `verified_fraction`: `found`
        and `verified` of `metrics.MEASURES`. `nearer_fraction`: share nearer to the
        painted person. `distance_painted`, `distance_target`: median distances.
        `distances`: (frames, 2) array of both, nan where no face was found.
    """
    seen = _look([source], None, workers)[source]
    chosen = ... if among is None else np.array(sorted(among), int)
    distances = cdist(seen.descriptors[chosen], [painted.mean(0), target.mean(0)])
    known = _known(distances)
    median = np.median(known, axis=0) if len(known) else [np.nan, np.nan]
    return {
        "frames": len(distances),
        "found_fraction": float(seen.found[chosen].mean()),
        "verified_fraction": float(_verdicts(distances, True)["verified"].mean()),
        "nearer_fraction": float((distances[:, 0] < distances[:, 1]).mean()),
        "distance_painted": float(median[0]),
        "distance_target": float(median[1]),
        "distances": distances,
    }


def against_truth(
    source: str | os.PathLike, truth: str | os.PathLike, *, workers: int | None = None
) -> dict:
    """How near a swap comes to the true swap, each aligned by its own landmarks.

    Args:
        source: The swapped clip.
        truth: The same motion played by the painted person.
        workers: Processes; one a core by default.

    Returns:
        Means inside the face over every fifth frame: `ssim`, and `psnr` in dB.
        ValueError where no frame shows a face in both.
    """
    seen, figures = _look([source, truth], 1, workers), []
    streams = (
        zip(images.read_source(s), seen[s].landmarks, strict=True)
        for s in (source, truth)
    )
    for pair in itertools.islice(zip(*streams, strict=False), 0, None, 5):
        if all(np.isfinite(points).all() for _, points in pair):
            (made, _), true = (metrics.align(frame.image, p) for frame, p in pair)
            figures.append((metrics.ssim(made, *true), metrics.psnr(made, *true)))
    if not figures:
        raise ValueError(f"{source} and {truth} show no face in the same frame.")
    return dict(zip(("ssim", "psnr"), np.mean(figures, axis=0).tolist(), strict=True))
