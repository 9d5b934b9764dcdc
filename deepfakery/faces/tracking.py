"""Faces over time: which is the same one, whose it is, and where it is.

Each function takes a stream and gives one, so that only a few frames are in memory:

    found = detect.detect_each(video.read_frames(clip))     # (frame, list of Face)
    linked = link(found)                                   # (frame, {track: Face})
    chosen = largest(linked, "hopper")                     # (frame, {track: Chosen})
    steadied = steady(chosen)                              # the same, trembling less
"""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from deepfakery.faces import detect, geometry, people, search

#: A landmark that moves on by more, as a share of the face, is another face's.
STEP = 0.25

#: A face missed for so many frames may still be the same when it is found again.
GAP = 3

#: Correlation of an aligned face's looks from frame to frame: less is somebody else's.
ALIKE = 0.75

#: Frames after which a face is described again, and that are held back for it.
REACH = 24

#: A face whose looks correlate less with all that were described is described at once.
STRANGE = 0.7

#: Two descriptors of one track further apart than this are two people's.
UNLIKE = 0.5

#: Where no rival is known a face must be nearer than `detect.SAME_PERSON`; where one
#: is, nearer by so much than the rival.
ALONE, MARGIN = 0.55, 0.1


class Chosen(NamedTuple):
    """A face to be painted: as whom, and its (68, 2) landmarks in the frame."""

    identity: str
    landmarks: np.ndarray


def link(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Follow each face from frame to frame.

    Args:
        stream: (frame, list of `detect.Face`), as `detect.detect_each` gives.

    Yields:
        (frame, {track: face}). A track is a number that a face keeps until it leaves,
        jumps, looks like another, or the shot ends.
    """
    numbers, tracks, cut = itertools.count(), {}, search.Cuts()
    for frame, found in stream:
        if cut(frame.image):
            tracks = {}
        looks = [search.looks(frame.image, face.landmarks) for face in found]
        steps = sorted(
            (np.linalg.norm(face.landmarks - last, axis=1).max() / face.size, track, i)
            for track, (last, _, _) in tracks.items()
            for i, face in enumerate(found)
        )
        taken = {}
        for step, track, i in steps:
            if step < STEP and track not in taken and i not in taken.values():
                if search.alike(tracks[track][1], looks[i]) > ALIKE:
                    taken[track] = i
        new = [i for i in range(len(found)) if i not in taken.values()]
        taken |= {next(numbers): i for i in new}
        missed = {
            track: (*last, gap + 1)
            for track, (*last, gap) in tracks.items()
            if track not in taken and gap < GAP
        }
        now = {track: found[i] for track, i in taken.items()}
        seen = {t: (found[i].landmarks, looks[i], 0) for t, i in taken.items()}
        tracks = missed | seen
        yield frame, now


def largest(stream: Iterable[tuple], identity: str) -> Iterator[tuple]:
    """Choose the largest face of each frame, to be painted as one person.

    Args:
        stream: (frame, {track: face}), as from `link`.
        identity: Who is painted.

    Yields:
        (frame, {track: `Chosen`}), with one face at most.
    """
    last = None
    for frame, found in stream:
        # Of two faces alike in size the one painted before stays.
        sizes = {t: f.size * (1.25 if t == last else 1) for t, f in found.items()}
        last = max(sizes, key=sizes.get, default=None)
        chosen = {last: Chosen(identity, found[last].landmarks)} if found else {}
        yield frame, chosen


def recognised(stream: Iterable[tuple], people: dict) -> Iterator[tuple]:
    """Choose faces by whose they are; nobody else is painted.

    Place and looks carry a face from frame to frame; whose it is its descriptors say,
    several at a time: one at the end of each `REACH` frames, and more where it has come
    to look like none that was described. Where two of them disagree, the frame in
    which the person changes is searched for.

    Args:
        stream: (frame, {track: face}), as from `link`. `REACH` frames are held back.
        people: Who is painted → (N, 128) or (128,) descriptors of the person in the
            footage to paint over. And None → (N, 128) descriptors of people who stay
            as they are, one each, where they are known: a face is painted only where
            these are farther.

    Yields:
        (frame, {track: `Chosen`}).

    Raises:
        ValueError: A person comes without descriptors.
    """
    for frame, found in judged(stream, people):
        yield (
            frame,
            {
                number: Chosen(one.identity, one.landmarks)
                for number, one in found.items()
                if one.identity is not None
            },
        )


class Judged(NamedTuple):
    """A face, and whose it is.

    Attributes:
        identity: As whom it is painted, or None.
        landmarks: (68, 2) in the frame.
        distance: Median distance of its descriptors from whom to paint over.
        rival: The same from the nearest other person known; inf without one.
        descriptor: (128,), the median.
    """

    identity: str | None
    landmarks: np.ndarray
    distance: float
    rival: float
    descriptor: np.ndarray


def judged(stream: Iterable[tuple], people: dict) -> Iterator[tuple]:
    """`recognised` with the reasons: (frame, {track: `Judged`}) of every face."""
    people = dict(people)
    rivals = np.reshape(people.pop(None, ()), (-1, 128))
    for name, who in people.items():
        if np.size(who) == 0 or np.shape(who)[-1] != 128:
            raise ValueError(
                f"To paint {name!r}, give (N, 128) descriptors of whom to paint over, "
                f"not an array of shape {np.shape(who)}."
            )
    means = np.stack([np.reshape(who, (-1, 128)).mean(0) for who in people.values()])
    # A rival so near is the same person under another name.
    near = np.linalg.norm(rivals[:, None] - means, axis=2).min(1, initial=np.inf)
    everyone = np.concatenate([means, rivals[near > UNLIKE]])
    numbers, known = itertools.count(), {}
    for _, group in itertools.groupby(stream, lambda item: item[0].index // REACH):
        part, now = list(group), {}
        out = [(frame, {}) for frame, _ in part]
        for track in dict.fromkeys(t for _, found in part for t in found):
            places = [i for i, (_, found) in enumerate(part) if track in found]
            shots = [(part[i][0].image, part[i][1][track]) for i in places]
            for start, stop, run in _runs(shots, known.get(track), numbers):
                verdict = _verdict(run, list(people), everyone)
                for i in places[start:stop]:
                    points = part[i][1][track].landmarks
                    out[i][1][run.number] = verdict._replace(landmarks=points)
                now[track] = run
        known = now
        for frame, found in out:
            yield frame, _once_each(found)


def survey(
    clip, asked: dict, pictures: int = 8, workers: int | None = None
) -> tuple[pd.DataFrame, dict]:
    """Tell who a clip shows, who of them is painted, and how sure that is.

    The clip is looked through once more, as when it is painted.

    Args:
        clip: The file.
        asked: `people` of `recognised`.
        pictures: Of each person, at most.
        workers: 0 looks in this process, else one beside it does.

    Returns:
        A row a person, by frames: `frames`, `painted` of them, median `distance` from
        whom to paint over (under `detect.SAME_PERSON` is the same person), and `rival`,
        the same from the nearest other person known. And {person: (N, 96, 96, 3) uint8
        faces}. Who is nobody's for sure is called "unsure".
    """
    seen = {}
    found = search.follow_clip(clip, workers=workers)
    for frame, faces_ in judged(link(found), asked):
        for track, one in faces_.items():
            mine = seen.setdefault(track, {"judged": [], "pictures": []})
            if len(mine["judged"]) % REACH == 0:
                crop = geometry.crop(
                    frame.image, geometry.alignment(one.landmarks, 96), 96
                )
                mine["pictures"].append(crop)
            mine["judged"].append(one._replace(landmarks=None))
    tracks = list(seen.values())
    last = np.float32([t["judged"][-1].descriptor for t in tracks]).reshape(-1, 128)
    groups, rows, shown = people.group(last), [], {}
    for number in sorted(set(groups.tolist())):
        mine = [t for t, n in zip(tracks, groups, strict=True) if n == number]
        judged_ = [one for track in mine for one in track["judged"]]
        name = f"person_{number}" if number else "unsure"
        crops = np.stack([crop for track in mine for crop in track["pictures"]])
        few = np.linspace(0, len(crops) - 1, min(pictures, len(crops))).astype(int)
        shown[name] = crops[few]
        rows.append(
            {
                "person": name,
                "frames": len(judged_),
                "painted": sum(one.identity is not None for one in judged_),
                "distance": np.median([one.distance for one in judged_]),
                "rival": np.median([one.rival for one in judged_]),
            }
        )
    table = pd.DataFrame(
        rows, columns=["person", "frames", "painted", "distance", "rival"]
    )
    return table.sort_values("frames", ascending=False, ignore_index=True), shown


class _Run:
    """Frames of a track that show one person, as far as they were described."""

    def __init__(self, number, descriptors, looks):
        self.number, self.descriptors, self.looks = number, descriptors, looks


def _runs(shots, before, numbers) -> list[tuple]:
    """Find where in a track the person changes.

    Args:
        shots: (image, face) of the frames that show the track, `REACH` at most.
        before: The track's last run in the frames before, or None.
        numbers: Gives each new run its own.

    Returns:
        [(start, stop, `_Run`)].
    """
    looks = np.stack([search.looks(image, face.landmarks) for image, face in shots])
    described = {-1: before.descriptors[-1]} if before else {}

    def describe(i):
        if i not in described:
            image, face = shots[i]
            described[i] = face.descriptor
            if face.descriptor is None:
                described[i] = detect.descriptor(image, face.landmarks)
        return described[i]

    starts, last = set(), len(shots) - 1
    pending = [(-1 if before else 0, last)]
    while pending:
        i, j = pending.pop()
        first, then = describe(i), describe(j)
        if _apart(first, then) > UNLIKE:
            low, high = i, j
            while high - low > 1:
                middle = (low + high) // 2
                now = describe(middle)
                if _apart(now, first) < _apart(now, then):
                    low = middle
                else:
                    high = middle
            starts.add(high)
            pending += [(i, low), (high, j)]
            continue
        # Both ends agree. What looks like neither in between may be somebody else.
        alike = [k for k, d in described.items() if _apart(d, first) <= UNLIKE]
        gallery = [looks[k] for k in alike if k >= 0]
        gallery += before.looks if before and -1 in alike else []
        between = looks[i + 1 : j]
        nearest = np.max(between @ np.transpose(gallery), axis=1, initial=-1)
        nearest[~between.any(1)] = 1
        if len(nearest) and nearest.min() < STRANGE:
            strange = i + 1 + int(nearest.argmin())
            describe(strange)
            pending += [(i, strange), (strange, j)]
    runs, ends = [], [*sorted(starts | {0}), len(shots)]
    for start, stop in itertools.pairwise(ends):
        goes_on = before and not runs and 0 not in starts
        if not goes_on:  # one look does not decide
            describe((start + stop - 1) // 2)
        own = [k for k in sorted(described) if start <= k < stop]
        seen = [described[k] for k in own]
        shown = [looks[k] for k in own]
        if goes_on:
            run = _Run(
                before.number,
                [*before.descriptors[-4:], *seen],
                [*before.looks[-32:], *shown],
            )
        else:
            run = _Run(next(numbers), seen, shown)
        runs.append((start, stop, run))
    return runs


def _apart(a, b) -> float:
    return float(np.linalg.norm(a - b))


def _verdict(run, names, everyone) -> Judged:
    """Whose face it is; `everyone`: means of who is asked for, then of the others."""
    seen = np.stack(run.descriptors)
    distances = np.linalg.norm(seen[:, None] - everyone, axis=2)
    distances = np.median(distances, axis=0)
    mine = int(distances[: len(names)].argmin())
    distance, rival = distances[mine], np.delete(distances, mine).min(initial=np.inf)
    limit = detect.SAME_PERSON if np.isfinite(rival) else ALONE
    same = distance < min(limit, rival - MARGIN)
    return Judged(
        names[mine] if same else None,
        None,
        float(distance),
        float(rival),
        np.median(seen, axis=0),
    )


def _once_each(found: dict) -> dict:
    """Of two faces taken for one person, leave the one that is clearly nearer."""
    least = {}
    for one in found.values():
        least[one.identity] = min(least.get(one.identity, np.inf), one.distance)
    return {
        number: one
        if one.distance <= least[one.identity] + MARGIN
        else one._replace(identity=None)
        for number, one in found.items()
    }


def windows(stream: Iterable, reach: int) -> Iterator[tuple]:
    """Each item with `reach` items before and after it; None beyond the ends."""
    padding = [None] * reach
    window = collections.deque(padding, maxlen=2 * reach + 1)
    for item in itertools.chain(stream, padding):
        window.append(item)
        if len(window) == 2 * reach + 1:
            yield tuple(window)


def steady(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Smooth landmarks over time: the detector's tremble goes, motion stays.

    Each frame takes the middle of the parabola that fits seven frames best, so that
    steady and accelerating motion pass without lag. Where a face appears or leaves it
    is left as it was found; where it is missed for a moment, it is filled in.

    Args:
        stream: (frame, {track: `Chosen`}).

    Yields:
        The same, with the landmarks smoothed.

    Reference:
        Savitzky & Golay 1964, "Smoothing and Differentiation of Data by Simplified
        Least Squares Procedures", Table I.
    """
    weights = np.float32([-2, 3, 6, 7, 6, 3, -2]) / 21
    for window in windows(stream, 3):
        frame, chosen = window[3]
        tracks = [dict(item[1]) if item else {} for item in window]
        for track in {*tracks[0], *tracks[1], *tracks[2]}:
            if track not in chosen:
                _fill(tracks, track)
        out = {}
        for track, (identity, landmarks) in tracks[3].items():
            course = [t[track].landmarks for t in tracks if track in t]
            if len(course) == len(window):
                landmarks = np.tensordot(weights, np.stack(course), 1)
            out[track] = Chosen(identity, landmarks)
        yield frame, out


def _fill(tracks, track):
    """Set a face missed in the middle between where it was and where it will be."""
    before = next(i for i in (2, 1, 0) if track in tracks[i])
    after = next((i for i in (4, 5, 6) if track in tracks[i]), None)
    if after is not None and after - before <= GAP + 1:
        last, later = tracks[before][track], tracks[after][track]
        share = (3 - before) / (after - before)
        between = (1 - share) * last.landmarks + share * later.landmarks
        tracks[3][track] = Chosen(last.identity, between)
