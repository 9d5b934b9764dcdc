"""Faces over time: which is the same one, whose it is, and where it is.

Each function takes a stream and gives one, so that only a few frames are in memory:

    found = faces.detect_each(video.read_frames(clip))     # (frame, list of Face)
    linked = link(found)                                   # (frame, {track: Face})
    chosen = largest(linked, "hopper")                     # (frame, {track: Chosen})
    steadied = steady(chosen)                              # the same, trembling less
"""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from deepfakery import faces

#: A landmark that moves on by more, as a share of the face, is another face's.
STEP = 0.25

#: A face missed for so many frames may still be the same when it is found again.
GAP = 3

#: Mean change of grey level, of 255, between two frames: more is another shot.
CUT = 40


class Chosen(NamedTuple):
    """A face to be painted: as whom, and its (68, 2) landmarks in the frame."""

    identity: str
    landmarks: np.ndarray


def link(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Follow each face from frame to frame.

    Args:
        stream: (frame, list of `faces.Face`), as `faces.detect_each` gives.

    Yields:
        (frame, {track: face}). A track is a number that a face keeps until it leaves,
        jumps, or the shot ends.
    """
    numbers, tracks, seen = itertools.count(), {}, None  # track: (landmarks, missed)
    for frame, found in stream:
        few = frame.image[::8, ::8]
        thumbnail = cv2.resize(few, (16, 16), interpolation=cv2.INTER_AREA)
        if seen is not None and cv2.absdiff(thumbnail, seen).mean() > CUT:
            tracks = {}
        seen = thumbnail
        steps = sorted(
            (np.linalg.norm(face.landmarks - last, axis=1).max() / face.size, track, i)
            for track, (last, _) in tracks.items()
            for i, face in enumerate(found)
        )
        taken = {}
        for step, track, i in steps:
            if step < STEP and track not in taken and i not in taken.values():
                taken[track] = i
        new = [i for i in range(len(found)) if i not in taken.values()]
        taken |= {next(numbers): i for i in new}
        missed = {
            track: (last, gap + 1)
            for track, (last, gap) in tracks.items()
            if track not in taken and gap < GAP
        }
        now = {track: found[i] for track, i in taken.items()}
        tracks = missed | {track: (f.landmarks, 0) for track, f in now.items()}
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

    A face is described when it appears and again from time to time, at least once in
    25 frames, and at once where it comes near another.

    Args:
        stream: (frame, {track: face}), as from `link`.
        people: Who is painted → (N, 128) or (128,) descriptors of the person in the
            footage to paint over.

    Yields:
        (frame, {track: `Chosen`}).

    Raises:
        ValueError: A person comes without descriptors.
    """
    names = list(people)
    for name in names:
        if np.size(people[name]) == 0 or np.shape(people[name])[-1] != 128:
            raise ValueError(
                f"To paint {name!r}, give (N, 128) descriptors of whom to paint over, "
                f"not an array of shape {np.shape(people[name])}."
            )
    means = np.stack([np.reshape(people[n], (-1, 128)).mean(0) for n in names])
    known = {}  # track: (its last descriptors, frame of the next look, its first)
    for count, (frame, found) in enumerate(stream):
        now = {}
        for track, face in found.items():
            seen, due, first = known.get(track, ([], count, count))
            others = [f for t, f in found.items() if t != track]
            middle = face.landmarks.mean(0)
            crowded = any(
                np.linalg.norm(f.landmarks.mean(0) - middle) < max(f.size, face.size)
                for f in others
            )
            if count >= due or crowded:
                described = face.descriptor
                if described is None:
                    described = faces.descriptor(frame.image, face.landmarks)
                # The middle of three looks forgives one at a bad moment.
                seen = [*seen, described][-3:]
                due = count + min(25, 1 + count - first)
            now[track] = seen, due, first
        # A face that is missed for a moment has not become somebody else.
        recent = {t: k for t, k in known.items() if count - k[1] < GAP}
        known = recent | now
        chosen = {}
        for track, (seen, _, _) in now.items():
            distances = np.linalg.norm(means - np.median(seen, axis=0), axis=1)
            if distances.min() < faces.SAME_PERSON:
                name = names[int(distances.argmin())]
                chosen[track] = Chosen(name, found[track].landmarks)
        yield frame, chosen


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
