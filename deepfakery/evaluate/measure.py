"""How good is a swap? Any swap: ours, or another tool's clip or folder of frames.

    frames = measure("swap.mp4", "target.mp4", "data/faces/hopper", truth="true.mp4")
    tables.side_by_side(tables.summarise(frames))

What is measured is defined in `metrics.MEASURES`. The target as it was, the true swap
and real footage of the painted person are measured likewise, to compare with.
"""

import itertools
import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
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
    counts = {source: images.count_frames(source) or 0 for source in sources}
    bar, seen = tqdm(total=sum(counts.values()), unit="frame", desc="looking"), {}
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
    chosen, times, files, descriptors, sizes = [], [], [], [], set()
    for (_, faces), (frame, found) in pairs:
        known = [found[track].descriptor for track in faces]
        known = known[0] if known and known[0] is not None else np.full(128, np.nan)
        descriptors.append(known)
        times.append(frame.time)
        files.append(frame.file)
        sizes.add(frame.image.shape[1::-1])
        chosen.append((None, faces))
        bar.update()
    landmarks = np.full((len(times), 68, 2), np.nan, np.float32)
    for place, (_, faces) in zip(landmarks, tracking.steady(chosen), strict=True):
        for face in faces.values():
            place[:] = face.landmarks
    return SimpleNamespace(
        source=Path(source),
        times=np.array(times) - times[0],  # seconds; all 0 for pictures
        files=files,
        sizes=sizes,  # every (width, height) that occurs
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
    match: str = "index",
    gallery: np.ndarray | None = None,
    described: int | None = 60,
    workers: int | None = None,
) -> pd.DataFrame:
    """Score swaps of one target, frame by frame.

    Args:
        swaps: A clip or a folder of frames that any tool made from the target; or
            {name: such}, to compare several.
        target: The clip, or folder of frames, as it was before.
        face: The painted person: a face folder, footage, or (N, 128) descriptors.
        truth: The same motion played by the painted person, where that exists.
        match: Which frames are partners. "index": the n-th and the n-th. "time": what
            is shown at the same time, counted from each clip's first frame.
        gallery: (N, 128) descriptors of other people, from `gallery`.
        described: Frames of a clip, evenly spread, whose identity is read (a tenth of
            a second each); None for all.
        workers: Processes; one a core by default, 0 for none.

    Returns:
        A row a clip and frame: `clip` (a swap's name, `TARGET`, `TRUTH` or `PERSON`),
        `frame`, `time` in seconds, and a column for each of `metrics.MEASURES`; nan
        where there is nothing to say.

    Raises:
        ValueError: Frames do not match in size, number or time; or nobody is shown.
    """
    swaps = dict(swaps) if isinstance(swaps, dict) else {"swap": swaps}
    if taken := {TARGET, TRUTH, PERSON} & swaps.keys():
        raise ValueError(f"Call the swap something else than {taken.pop()!r}.")
    sources = swaps | {TARGET: target} | ({TRUTH: truth} if truth else {})
    known = face if isinstance(face, np.ndarray) else None
    if known is None and (Path(face) / "faces.jsonl").exists():
        known = FaceSet.load(face).descriptors()
    looked = dict.fromkeys([*sources.values(), *([face] if known is None else [])])
    seen = _look(looked, described, workers)
    painted = _known(seen[face].descriptors if known is None else known)
    before = _known(seen[target].descriptors)
    for descriptors, source in ((painted, face), (before, target)):
        if not len(descriptors):
            raise ValueError(f"{source} shows no face to compare with.")
    people = [painted.mean(0), before.mean(0), *([] if gallery is None else gallery)]

    clips, here = {}, seen[target]
    for name, source in sources.items():
        own = seen[source]
        at = _match(own, here, match)
        clips[name] = SimpleNamespace(
            source=source,
            at=at,
            found=own.found[at],
            landmarks=own.landmarks[at],
            asked=own.asked[at],
            distances=cdist(own.descriptors[at], people),
        )
        if own is here:
            clips[name].distances[:, 1] = _from_other_half(own.descriptors)
    # A swap's faces belong where the target's are; those of the true swap, which is
    # other footage, where its own are.
    anchors = [clips[name] for name in (TARGET, TRUTH) if name in clips]
    for clip in clips.values():
        away = [_away(clip.landmarks, anchor.landmarks) for anchor in anchors]
        clip.is_swap = np.argmin(away) == 0
        clip.places = anchors[np.argmin(away)].landmarks

    size, pixels, parts = next(iter(here.sizes)), _pixels(clips, workers), []
    for name, clip in clips.items():
        rows = {"clip": name, "frame": np.arange(len(here.times)), "time": here.times}
        rows |= _verdicts(clip.distances, clip.asked) | {"found": clip.found}
        rows |= _geometry(clip, clips[TARGET], clips.get(TRUTH), size)
        parts.append(pd.DataFrame(rows).join(pd.DataFrame(pixels[name])))
    distances = cdist(painted, people)
    distances[:, 0] = _from_other_half(painted)
    rows = {"clip": PERSON, "frame": np.arange(len(painted))}
    parts.append(pd.DataFrame(rows | _verdicts(distances, True)))
    columns = ["clip", "frame", "time", *MEASURES]
    numbers = dict.fromkeys(columns[2:], float)
    parts = [part.reindex(columns=columns).astype(numbers) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _match(clip, target, by: str) -> np.ndarray:
    """Which frame of a clip belongs to each frame of the target, as for `measure`."""
    if by not in ("index", "time"):
        raise ValueError(f"Frames are matched by 'index' or 'time', not {by!r}.")
    times, wanted = clip.times, target.times
    if clip.sizes != target.sizes or len(clip.sizes) > 1:
        mine, theirs = (
            " and ".join(f"{w} × {h}" for w, h in sorted(one.sizes))
            for one in (clip, target)
        )
        raise ValueError(
            f"{clip.source} has frames of {mine}, {target.source} of {theirs}; all "
            "must have the target's size."
        )
    if by == "index":
        if len(times) != len(wanted):
            raise ValueError(
                f"{clip.source} holds {len(times)} frames, {target.source} "
                f"{len(wanted)}{_missing(clip)}; export every frame, or match by time "
                "where both are clips."
            )
        return np.arange(len(wanted))
    for one in (clip, target):
        if len(one.times) > 1 and one.times[-1] <= 0:
            raise ValueError(
                f"{one.source} holds pictures, which have no time; match by index."
            )
    nearest = np.searchsorted((times[1:] + times[:-1]) / 2, wanted)
    away = np.abs(times[nearest] - wanted)
    step = np.median(np.diff(wanted)) if len(wanted) > 1 else 0
    worst = int(away.argmax())
    if away[worst] > step / 2 + 1e-3:
        raise ValueError(
            f"{clip.source} shows nothing at {wanted[worst]:.2f} s, where "
            f"{target.source} has frame {worst}; is it the whole clip?"
        )
    return nearest


def _missing(clip) -> str:
    """Which numbers are missing among numbered pictures, for a message."""
    numbers = [re.findall(r"\d+", file.stem)[-1:] for file in clip.files]
    if clip.source.is_file() or not all(numbers):
        return ""
    there = {int(number) for (number,) in numbers}
    missing = sorted(set(range(min(there), max(there))) - there)
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
    return f" (between its first and its last there is no {shown})" if missing else ""


def _away(mine: np.ndarray, other: np.ndarray) -> float:
    """How far the boxes of two clips' aligned faces lie apart, in pixels."""
    corners = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5
    steps = []
    for pair in zip(mine, other, strict=True):
        if np.isfinite(pair).all():
            back = [cv2.invertAffineTransform(geometry.alignment(p, 1)) for p in pair]
            a, b = (geometry.transform_points(corners, transform) for transform in back)
            steps.append(np.linalg.norm(a - b, axis=1).mean())
    return float(np.median(steps)) if steps else math.inf


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
    """The frames of a clip that count, each with its aligned face, if it has one."""
    partners = iter(zip(clip.at, clip.places, strict=True))
    position, place = next(partners)
    for number, frame in enumerate(images.read_source(clip.source)):
        while number == position:  # several times, where the target has more frames
            face, inside = None, None
            if np.isfinite(place).all():
                face, inside = metrics.align(frame.image, place)
            image = frame.image
            yield SimpleNamespace(image=image, place=place, face=face, inside=inside)
            position, place = next(partners, (None, None))


def _score(name, clip, before, now, after) -> dict:
    """What the pictures of one frame say of one clip."""
    mine, target, truth = now[name], now[TARGET], now.get(TRUTH)
    if mine.face is None:
        return {}
    wanted, figures = truth or target, {}
    if clip.is_swap:  # the true swap has surroundings of its own
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
    seen, figures = _look(dict.fromkeys([source, truth]), 1, workers), []
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
