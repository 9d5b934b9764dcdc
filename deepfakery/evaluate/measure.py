"""How good is a swap? Any swap: ours, or another tool's clip or folder of frames.

    frames = measure("swap.mp4", "target.mp4", "data/faces/hopper", truth="true.mp4")
    table = tables.summarise(frames)
    tables.side_by_side(table)

What is measured is defined in `metrics.MEASURES`. Beside the swap stands what it can
be compared with: the target as it was, which is where a swap begins, and the true swap
and real footage of the painted person, which is where it would end.
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

from deepfakery.convert import merge
from deepfakery.evaluate import looks, metrics
from deepfakery.evaluate.metrics import MEASURES, PERSON, TARGET, TRUTH
from deepfakery.faces import detect, geometry
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, provenance, video


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
        swaps: A clip or a folder of frames, made from the target's footage by any
            tool; or {name: such}, to compare several.
        target: The clip, or folder of frames, as it was before.
        face: The painted person: a face folder, footage, or (N, 128) descriptors.
        truth: The same motion played by the painted person, where that exists.
        match: How frames find their partners, "index" or "time"; see `looks.match`.
        gallery: (N, 128) descriptors of other people, from `looks.gallery`.
        described: Frames of a clip, evenly spread, whose identity is read, which is
            slow; None for all.
        workers: Processes; one a core by default, 0 for none.

    Returns:
        A row a clip and frame: `clip` (a swap's name, `TARGET`, `TRUTH` or `PERSON`),
        `frame`, `time` in seconds, and a column for each of `metrics.MEASURES`; nan
        where there is nothing to say.

    Raises:
        ValueError: Frames do not match in size, number or time, or there is no face
            to compare with.
    """
    swaps = dict(swaps) if isinstance(swaps, dict) else {"swap": swaps}
    if taken := {TARGET, TRUTH, PERSON} & swaps.keys():
        raise ValueError(f"Call the swap something else than {taken.pop()!r}.")
    sources = swaps | {TARGET: target} | ({TRUTH: truth} if truth else {})
    known = _descriptors(face)
    seen = looks.look(
        dict.fromkeys([*sources.values(), *([] if known is not None else [face])]),
        described,
        workers,
    )
    known = seen[face].descriptors if known is None else known
    painted, before = (
        d[np.isfinite(d[:, 0])] for d in (known, seen[target].descriptors)
    )
    for descriptors, source in ((painted, face), (before, target)):
        if not len(descriptors):
            raise ValueError(f"{source} shows no face to compare with.")
    people = np.stack(
        [painted.mean(0), before.mean(0), *([] if gallery is None else gallery)]
    )

    clips = {name: _Clip(seen[s], seen[target], match) for name, s in sources.items()}
    for clip in clips.values():
        clip.place(clips[TARGET], clips.get(TRUTH))
    pixels = _pixels(clips, workers)
    parts = []
    for name, clip in clips.items():
        rows = {"clip": name, "frame": np.arange(len(clip)), "time": seen[target].times}
        rows |= _identity(clip, people, clip.look is seen[target])
        rows |= _geometry(clip, clips[TARGET], clips.get(TRUTH))
        rows |= pixels[name]
        parts.append(rows)
    parts.append(_person(painted, people))
    columns = ["clip", "frame", "time", *MEASURES]
    numbers = dict.fromkeys(["time", *MEASURES], float)
    parts = [pd.DataFrame(rows, columns=columns).astype(numbers) for rows in parts]
    return pd.concat(parts, ignore_index=True)


def perfect(
    target: str | os.PathLike,
    truth: str | os.PathLike,
    path: str | os.PathLike,
    size: int,
    *,
    workers: int | None = None,
    **look,
) -> Path:
    """Write the swap of a network that makes no mistake: what is left is the method's.

    The true swap's faces, no larger than the network paints them, are put into the
    target as any other. No training gets further at this size and with this look.

    Args:
        target: The clip to paint into.
        truth: The same motion played by the painted person.
        path: The MP4 to write.
        size: Side of the network's faces in pixels.
        workers: Processes; one a core by default.
        **look: As for `merge.merge`.

    Returns:
        The path.
    """
    seen = looks.look([target, truth], 1, workers)
    pairs = zip(*(images.read_source(s) for s in (target, truth)), strict=True)
    points = zip(*(seen[s].landmarks for s in (target, truth)), strict=True)
    facts = {"kind": "animated", "preset": "no network", "target": target}
    facts["label"] = provenance.LABEL
    with (
        provenance.signing(path, facts) as aside,
        video.VideoWriter(aside, like=video.probe(target)) as writer,
    ):
        for (frame, true), (here, there) in zip(pairs, points, strict=True):
            image = frame.image
            if here is not None and there is not None:
                crop = geometry.crop(true.image, geometry.alignment(there, size), size)
                mask = np.ones((size, size, 1), np.float32)
                image = merge.merge(image, here, np.float32(crop) / 255, mask, **look)
                image = provenance.label(image)
            writer.write(image, frame.pts)
    return Path(path)


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
        source: The clip, folder or photo to judge.
        painted: (N, 128) descriptors of the person who was painted.
        target: (M, 128) descriptors of the person who was there before.
        among: Indices of the frames that were painted; all frames by default.
        workers: Processes; one a core by default.

    Returns:
        `frames`: how many were judged. `found_fraction`, `verified_fraction`: `found`
        and `verified` of `metrics.MEASURES`. `nearer_fraction`: share nearer to the
        painted person. `distance_painted`, `distance_target`: median distances.
        `distances`: (frames, 2) array of both, nan where no face was found.
    """
    look = looks.look([source], None, workers)[source]
    judged = np.arange(len(look)) if among is None else np.array(sorted(among), int)
    people = np.stack([painted.mean(0), target.mean(0)])
    distances = _distances(look.descriptors[judged], people)
    seen = look.found[judged]
    nearer = distances[:, 0] < distances[:, 1]
    verified = nearer & (distances[:, 0] < detect.SAME_PERSON)
    median = np.median(distances[seen], axis=0) if seen.any() else [np.nan, np.nan]
    return {
        "frames": len(distances),
        "found_fraction": float(seen.mean()),
        "verified_fraction": float(verified.mean()),
        "nearer_fraction": float(nearer.mean()),
        "distance_painted": float(median[0]),
        "distance_target": float(median[1]),
        "distances": distances,
    }


def against_truth(
    source: str | os.PathLike,
    truth: str | os.PathLike,
    *,
    every: int = 5,
    workers: int | None = None,
) -> dict:
    """How near a swap comes to the true swap, inside the face, both aligned by
    their own landmarks.

    Args:
        source: The swapped clip.
        truth: The same motion played by the painted person.
        every: Judge every n-th frame.
        workers: Processes; one a core by default.

    Returns:
        `ssim`: mean structural similarity, 1 at best. `psnr`: mean in dB.

    Raises:
        ValueError: No frame shows a face in both.
    """
    seen = looks.look(dict.fromkeys([source, truth]), 1, workers)
    points = [seen[path].landmarks for path in (source, truth)]
    streams = [images.read_source(path) for path in (source, truth)]
    figures = []
    for number, pair in enumerate(zip(*streams, strict=False)):
        marks = [p[number] for p in points]
        if number % every == 0 and all(m is not None for m in marks):
            (made, _), (true, inside) = (
                metrics.align(frame.image, mark)
                for frame, mark in zip(pair, marks, strict=True)
            )
            trio = made, true, inside
            figures.append((metrics.ssim(*trio), metrics.psnr(*trio)))
    if not figures:
        raise ValueError(f"{source} and {truth} show no face in the same frame.")
    ssim, psnr = np.mean(figures, axis=0)
    return {"ssim": float(ssim), "psnr": float(psnr)}


class _Clip:
    """A clip beside its target: which of its frames count, and where its faces lie."""

    def __init__(self, look: looks.Look, target: looks.Look, match: str):
        self.look, self.at = look, looks.match(look, target, match)
        self.landmarks = [look.landmarks[i] for i in self.at]

    def __len__(self):
        return len(self.at)

    def place(self, target: "_Clip", truth: "_Clip | None"):
        """Find out whose faces say where this clip's faces belong.

        A swap's belong where the target's are; those of the true swap, which is other
        footage, where its own are.
        """
        anchor = target
        if truth:
            away = [self._away(other) for other in (target, truth)]
            anchor = truth if away[1] < away[0] else target
        self.is_swap = anchor is target
        self.places = anchor.landmarks

    def _away(self, other: "_Clip") -> float:
        """How far the boxes of the aligned faces lie from another clip's."""
        corners = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5
        steps = []
        for pair in zip(self.landmarks, other.landmarks, strict=True):
            if all(points is not None for points in pair):
                boxes = [
                    geometry.transform_points(
                        corners,
                        cv2.invertAffineTransform(geometry.alignment(points, 1)),
                    )
                    for points in pair
                ]
                steps.append(np.linalg.norm(boxes[0] - boxes[1], axis=1).mean())
        return float(np.median(steps)) if steps else math.inf

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures that count, one for each of the target's."""
        wanted = iter(self.at)
        place = next(wanted)
        for position, frame in enumerate(images.read_source(self.look.source)):
            while position == place:
                yield frame.image
                place = next(wanted, None)


def _descriptors(face) -> np.ndarray | None:
    if isinstance(face, np.ndarray):
        return face
    if (Path(face) / "faces.jsonl").exists():
        return FaceSet.load(face).descriptors()
    return None


def _identity(clip: _Clip, people: np.ndarray, is_target: bool) -> dict:
    """Columns that the descriptor gives."""
    descriptors = clip.look.descriptors[clip.at]
    asked = clip.look.described[clip.at]
    seen = np.isfinite(descriptors[:, 0])
    distances = np.full((len(clip), len(people)), np.inf)
    distances[seen] = _distances(descriptors[seen], people)
    if is_target:
        halves = _against_other_half(clip.look.descriptors)
        distances[seen, 1] = halves[clip.at][seen]
    return _verdicts(distances, asked) | {"found": clip.look.found[clip.at]}


def _person(painted: np.ndarray, people: np.ndarray) -> dict:
    """Real footage of the painted person against other footage of the same person."""
    distances = _distances(painted, people)
    distances[:, 0] = _against_other_half(painted)
    rows = {"clip": PERSON, "frame": np.arange(len(painted)), "time": np.nan}
    return rows | _verdicts(distances, np.ones(len(painted), bool))


def _verdicts(distances: np.ndarray, asked: np.ndarray) -> dict:
    """What distances to (the painted person, the target person, others) say.

    inf where nobody was found; `asked`: where somebody was looked for.
    """
    known = np.where(np.isfinite(distances), distances, np.nan)
    to_painted, to_target = distances[:, :2].T
    verified = (to_painted < detect.SAME_PERSON) & (to_painted < to_target)
    columns = {
        "distance_painted": known[:, 0],
        "distance_target": known[:, 1],
        "margin": known[:, 1] - known[:, 0],
        "verified": np.where(asked, verified, np.nan),
    }
    if distances.shape[1] > 2:
        first = to_painted < distances[:, 1:].min(1)
        columns["retrieved"] = np.where(asked, first, np.nan)
    return columns


def _distances(descriptors: np.ndarray, people: np.ndarray) -> np.ndarray:
    return cdist(descriptors, people)  # no array of frames × people × 128


def _against_other_half(descriptors: np.ndarray) -> np.ndarray:
    """Distance of each to the mean of the other half: no frame judges itself."""
    half = len(descriptors) // 2
    out = np.full(len(descriptors), np.nan)
    for mine, other in (
        (slice(half), slice(half, None)),
        (slice(half, None), slice(half)),
    ):
        there = descriptors[other][np.isfinite(descriptors[other][:, 0])]
        if len(there):
            out[mine] = np.linalg.norm(descriptors[mine] - there.mean(0), axis=1)
    return out


def _geometry(clip: _Clip, target: _Clip, truth: _Clip | None) -> dict:
    """Columns that landmarks give."""
    wanted = truth or target
    size = next(iter(target.look.sizes))
    nothing = np.full(4, np.nan)
    does, asked = (
        np.stack([nothing if p is None else metrics.expression(p) for p in points])
        for points in (clip.landmarks, wanted.landmarks)
    )
    both = np.isfinite(does[:, 0]) & np.isfinite(asked[:, 0])
    apart = does - asked
    rest = apart[both].mean(0) if both.any() else 0
    pose, error = np.full((len(clip), 3), np.nan), np.full(len(clip), np.nan)
    for i in np.flatnonzero(both):
        mine, theirs, place = clip.landmarks[i], wanted.landmarks[i], clip.places[i]
        pose[i] = geometry.pose(mine, size) - geometry.pose(theirs, size)
        if truth and place is not None:
            error[i] = metrics.landmark_error(mine, place, theirs)
    if not truth and both.any():  # two people's heads differ, and with them the fit
        pose -= pose[both].mean(0)
    columns = {
        "pose_error": np.abs(pose).mean(1),
        "expression_error": np.abs(apart - rest).mean(1),
    }
    if truth:
        eye, mouth = np.abs(apart[:, :2]).T
        columns |= {"landmark_error": error, "eye_error": eye, "mouth_error": mouth}
    return columns


def _pixels(clips: dict[str, _Clip], workers: int | None) -> dict[str, dict]:
    """Columns that need the pictures: all clips decoded once more, side by side."""

    def aligned():
        streams = (clip.frames() for clip in clips.values())
        for number, pictures in enumerate(zip(*streams, strict=True)):
            now = {}
            for (name, clip), image in zip(clips.items(), pictures, strict=True):
                place = clip.places[number]
                face, inside = (
                    (None, None) if place is None else metrics.align(image, place)
                )
                now[name] = SimpleNamespace(image=image, face=face, inside=inside)
            yield now

    def windows():
        before, now = None, None
        for number, after in enumerate(itertools.chain(aligned(), [None]), -1):
            if now is not None:
                yield number, before, now, after
            before, now = now, after

    def judge(window):
        number, before, now, after = window
        return number, {
            name: _judge(name, clip, number, before, now, after)
            for name, clip in clips.items()
        }

    count = len(clips[TARGET])
    out = {name: {} for name in clips}
    threads = 1 if workers == 0 else workers or os.cpu_count() or 1
    stream = windows()
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=count, unit="frame", desc="measuring") as bar,
    ):
        # A few frames at a time, so that a long clip does not fill the memory.
        while chunk := list(itertools.islice(stream, 8 * threads)):
            for number, judged in pool.map(judge, chunk):
                for name, figures in judged.items():
                    for measure_, figure in figures.items():
                        nans = np.full(count, np.nan)
                        out[name].setdefault(measure_, nans)[number] = figure
                bar.update()
    return out


def _judge(name, clip, number, before, now, after) -> dict:
    """What the pictures of one frame say of one clip."""
    mine, target, truth = now[name], now[TARGET], now.get(TRUTH)
    figures = {}
    # The true swap has surroundings of its own: there is nothing to compare.
    if clip.is_swap and clip.places[number] is not None:
        trio = mine.image, target.image, clip.places[number]
        figures["background_ssim"] = metrics.background_ssim(*trio)
        figures["seam"] = metrics.seam(*trio)
    if mine.face is None:
        return figures
    wanted = truth or target
    if wanted.face is not None:
        ours, theirs = (metrics.detail(x.face, x.inside) for x in (mine, wanted))
        figures["sharpness_ratio"] = ours / max(theirs, 1e-6)
    if truth and truth.face is not None:
        trio = mine.face, truth.face, truth.inside
        figures["ssim"] = metrics.ssim(*trio)
        figures["psnr"] = metrics.psnr(*trio)
        figures["colour_error"] = metrics.colour_error(*trio)
    if before and after:
        trio = [at[name].face for at in (before, now, after)]
        if all(face is not None for face in trio):
            figures["flicker"] = metrics.flicker(*trio, mine.inside)
    return figures
