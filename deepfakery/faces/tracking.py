"""Faces over time: found near where they were, linked to tracks, steadied.

found = follow_clip("clip.mp4")            # (frame, list of Face)
linked = link(found)                       # (frame, {track: Face})
chosen = largest(linked, "hopper")         # (frame, {track: Chosen}); see `people`
steadied = steady(chosen)                  # the same, trembling less
"""

import collections
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from deepfakery.faces import detect, geometry
from deepfakery.faces.detect import Face
from deepfakery.media import video
from deepfakery.media.workers import pool

#: Frames between detections in a whole frame, which take as long as twenty near the
#: last face: though nobody is missing, and while nobody is seen. Every so many of the
#: latter makes an effort, the first all that can be.
EVERY, EMPTY, EFFORT = 24, 4, 4
#: `follow_clip` begins afresh every so many frames, so that it finds the same whichever
#: frame it starts from.
PART = 2 * EVERY
#: A face is detected at about this size (80 at least), in a patch of this side; pixels.
SIZE, PATCH = 96, 176
#: The detector's confidence that is enough where a face is expected, and the score of
#: a face that it does not see.
EXPECTED, UNSEEN = -0.5, -1.0
#: How alike (correlation) a face must look from frame to frame to be followed without
#: the detector, and for how many frames at most.
ALIKE, BLIND = 0.8, 15
#: Grey levels of 255 by which a picture changes at a cut, beyond four times the usual.
CUT = 5
#: Frames in which a head that hardly moves is taken to be where it was detected.
TRUSTED = 3
#: Degrees of tilt from which a head is put upright before it is detected.
TILTED = 12
#: A landmark that moves on by more of the face's size, or looks that correlate less,
#: are another face's; missed for so many frames it may still be the same.
STEP, LINKED, GAP = 0.25, 0.75, 3


class Chosen(NamedTuple):
    """A face to be replaced: by whom, and its (68, 2) landmarks in the frame."""

    identity: str
    landmarks: np.ndarray


def follow(frames: Iterable) -> Iterator[tuple]:
    """Find the faces of a clip's frames, in order.

    Args:
        frames: Objects with an `image` (H, W, 3) uint8 RGB, such as `video.Frame`.

    Yields:
        (frame, list of `Face`, largest first). Where the detector is not sure of a face
        that was there before, its score is negative; `UNSEEN` where it sees none. At
        most `EMPTY` frames are held back.
    """
    tracks, held, empty, cuts = [], [], 0, _Cuts()
    looked, alert, wait = 0, 0, EMPTY  # the last look at everything, and the next
    for number, frame in enumerate(frames):
        cut, before = cuts(frame.image), len(tracks)
        tracks = _distinct(track.next(frame.image) for track in tracks)
        if cut:  # what is only taken to be there is not
            tracks = [track for track in tracks if track.face.score > 0]
        if cut or len(tracks) < before or any(track.changed for track in tracks):
            looked, alert = -EVERY, number + EVERY
        moved = False
        if not tracks:
            due = cut or before or not empty % EMPTY
        else:
            moved = cuts.moved(_found(tracks)) and number - looked >= wait
            due = number - looked >= (EMPTY if number < alert else EVERY) or moved
        if due:
            tried = empty // EMPTY
            effort = (tried % EFFORT == 0) + (tried % EFFORT**2 == 0)
            seen = detect.detect(frame.image, effort=0 if tracks else effort)
            new = [_Track(face, looks(frame.image, face.landmarks)) for face in seen]
            # A second look from near by, as every later one will be.
            new = [track.next(frame.image) or track for track in new]
            new = _distinct([*tracks, *new])[len(tracks) :]
            tracks, looked, cuts.looked = [*tracks, *new], number, cuts.last
            # Who moves but does not come in makes no look worth its time.
            wait = EMPTY if new else min(2 * wait, EVERY) if moved else wait
            for i in reversed(range(0 if cut else len(held))):
                # Those found only now may have been there in the frames held back.
                back, then = held[i]
                new = [track.next(back.image) for track in new]
                new = _distinct([*then, *new])[len(then) :]
                held[i] = back, [*then, *new]
        held.append((frame, tracks))
        empty = 0 if tracks else empty + 1
        while len(held) >= EMPTY or cut and len(held) > 1:
            frame, then = held.pop(0)
            yield frame, _found(then)
    yield from ((frame, _found(then)) for frame, then in held)


def _found(tracks) -> list[Face]:
    return sorted((track.face for track in tracks), key=lambda face: -face.size)


def _distinct(tracks) -> list:
    """Leave out the lost, and all but the first of those that lie on each other."""
    kept = []
    for track in tracks:
        if track and not any(
            np.abs(track.face.middle - other.face.middle).max()
            <= 0.4 * min(track.face.size, other.face.size)
            for other in kept
        ):
            kept.append(track)
    return kept


class _Cuts:
    """Tells where a shot ends: by a change that stands out from those before it."""

    def __init__(self):
        self.last = self.looked = self.size = None
        self.changes = collections.deque(maxlen=8)

    def __call__(self, image: np.ndarray) -> bool:
        """Whether another shot begins with this frame."""
        small = cv2.resize(image[::8, ::8], (16, 16), interpolation=cv2.INTER_AREA)
        small, before = np.float32(small), self.last
        self.last, self.size = small, image.shape[1::-1]
        if before is None:
            return False
        change = np.abs(small - before).mean()
        usual = np.median(self.changes or [0])
        self.changes.append(change)
        return bool(change > CUT + 4 * usual)

    def moved(self, found: list[Face]) -> bool:
        """Whether more than the heads that are known has moved since `looked`."""
        away = np.abs(self.last - self.looked).max(2) > 24
        for face in found:
            low, high = (
                16 * (face.middle + s * face.size) / self.size for s in (-1, 1)
            )
            (x0, y0), (x1, y1) = np.int64(np.clip([low, high + 1], 0, 16))
            away[y0:y1, x0:x1] = False
        return away.mean() > 0.03


def follow_clip(
    clip: str | os.PathLike, start: int = 0, workers: int | None = None
) -> Iterator[tuple]:
    """`follow` over a clip, in a process of its own that runs ahead of the reader.

    Args:
        clip: The file.
        start: The first frame wanted.
        workers: 0 works in this process.

    Raises:
        video.MediaError: The clip cannot be read, or not to its end.
        OSError: The process died.
    """
    first = start // PART * PART
    frames = video.read_frames(clip, first)
    if workers == 0:
        for _, part in itertools.groupby(frames, lambda frame: frame.index // PART):
            yield from (item for item in follow(part) if item[0].index >= start)
        return
    with pool(1) as crew:
        ahead = [crew.submit(_look_on, clip, place) for place in (first, first + PART)]
        for frame in frames:
            if frame.index % PART == 0:
                found = iter(ahead.pop(0).result())
                ahead.append(crew.submit(_look_on, clip, frame.index + 2 * PART))
            faces_ = next(found, [])  # beyond damage nobody was looked for
            if frame.index >= start:
                yield frame, faces_


#: In the process beside: the clip and the frame it has come to → what follows.
_going = {}


def _look_on(clip, first) -> list[list[Face]]:
    """The faces of the `PART` frames from one on."""
    frames = _going.pop((clip, first), None)
    if frames is None:
        warnings.simplefilter("ignore")  # the reader says the same of the same clip
        frames = video.read_frames(clip, first, quick=True)
    found = []
    with suppress(video.MediaError):  # the reader comes upon it by itself
        for _, faces_ in follow(itertools.islice(frames, PART)):
            found.append(faces_)
    _going[clip, first + PART] = frames
    return found


@dataclass
class _Track:
    """A face as it was last seen."""

    face: Face
    looks: np.ndarray
    blind: int = 0  # frames since it was detected
    box: np.ndarray | None = None  # where that was
    trusted: int = 0  # frames in which it was taken to be there still
    changed: bool = False  # somebody else may be there now

    def next(self, image: np.ndarray) -> "_Track | None":
        """The same face in the next frame, looked for where it was."""
        last, size = self.face.landmarks, self.face.size
        centre = (last.min(0) + last.max(0)) / 2
        if size < 8 or not np.all((centre > 0) & (centre < image.shape[1::-1])):
            return None
        to_patch, tilted = _to_patch(last, centre, size)
        patch = _cut(image, to_patch, PATCH)

        def found(points, score, **more):
            seen = geometry.transform_points(points, to_patch)
            return _Track(Face(points, float(score)), looks(patch, seen), **more)

        if self.box is not None and self.trusted < TRUSTED and self.face.score > 0:
            points = detect.fit_landmarks(image, *self.box)
            step = np.linalg.norm(points.mean(0) - self.face.middle)
            if step < 0.02 * size:
                score, trusted = self.face.score, self.trusted + 1
                new = found(points, score, box=self.box, trusted=trusted)
                if _alike(self.looks, new.looks) > ALIKE:
                    return new
        (middle,) = geometry.transform_points(centre[None], to_patch)
        for box, score in detect.boxes(patch, EXPECTED):  # the surest one first
            if np.abs(box.mean(0) - middle).max() < 0.5 * SIZE:
                points, box = _fit(image, box, to_patch, tilted)
                new = found(points, score, box=box)
                new.changed = _alike(self.looks, new.looks) <= ALIKE
                if score > 0 or not new.changed:
                    return new
        if self.blind == BLIND:
            return None
        # Landmarks fit themselves to a face that has moved a little.
        box = np.float64([(-0.5, -0.59), (0.5, 0.41)]) * size
        box = box * np.hypot(*to_patch[:, 0]) + middle
        points, _ = _fit(image, box, to_patch, tilted)
        new = found(points, UNSEEN, blind=self.blind + 1)
        is_near = np.linalg.norm(points - last, axis=1).mean() < 0.2 * size
        return new if is_near and _alike(self.looks, new.looks) > ALIKE else None


def _to_patch(landmarks, centre, size) -> tuple[np.ndarray, bool]:
    """The (2, 3) transform of a head into the middle of the patch, and if it turns."""
    x, y = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    roll = np.arctan2(y, x)
    tilted = bool(abs(roll) >= np.radians(TILTED))
    # On the detector's own scales, each 5/6 of the last, and its own places, of which
    # 48 pixels are whole steps: it finds the same box as in the whole frame.
    scale = (5 / 6) ** round(np.log(SIZE / size) / np.log(5 / 6))
    a, b = (scale * np.cos(roll), scale * np.sin(roll)) if tilted else (scale, 0.0)
    turn = np.array([[a, b], [-b, a]])
    shift = PATCH / 2 - turn @ centre
    shift = shift if tilted else 48 * (shift / 48).round()
    return np.column_stack([turn, shift]), tilted


def _fit(image, box, to_patch, tilted) -> tuple[np.ndarray, np.ndarray | None]:
    """Landmarks of the face in a box of the patch; the box in the image if upright."""
    if not tilted:
        box = geometry.transform_points(box, cv2.invertAffineTransform(to_patch))
        return detect.fit_landmarks(image, *box), box
    to_large = 2 * to_patch  # landmarks profit from pixels
    points = detect.fit_landmarks(_cut(image, to_large, 2 * PATCH), *box * 2)
    return geometry.transform_points(points, cv2.invertAffineTransform(to_large)), None


def _cut(image: np.ndarray, transform: np.ndarray, side: int) -> np.ndarray:
    """The patch, without touching the rest of a large frame."""
    corners = np.float64([(0, 0), (side, 0), (side, side), (0, side)])
    corners = geometry.transform_points(corners, cv2.invertAffineTransform(transform))
    # Of a face beyond the edge the edge itself is left, some pixels of it.
    few = int(np.ceil(2 / np.hypot(*transform[:, 0]))) + 2
    low = np.floor(corners.min(0)).astype(int) - 2
    low = np.clip(low, 0, np.maximum(np.array(image.shape[1::-1]) - few, 0))
    high = np.maximum(np.ceil(corners.max(0)).astype(int) + 2, low + few)
    part = image[low[1] : high[1], low[0] : high[0]]
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ low
    return geometry.crop(part, moved, side)


def looks(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What an aligned face looks like, small and grey: (32 · 32,) of mean 0, norm 1."""
    small = _cut(image, geometry.alignment(landmarks, 32), 32)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).ravel()
    grey = grey - np.float32(grey.mean())
    return grey / max(float(np.linalg.norm(grey)), 1.0)


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two `looks`; 1 where neither shows anything."""
    return float(a @ b) if a.any() or b.any() else 1.0


def link(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Tell which face is the same from frame to frame.

    From (frame, list of `Face`) to (frame, {track: face}). A track is a number that a
    face keeps until it leaves, jumps, looks like another, or the shot ends.
    """
    numbers, tracks, cut = itertools.count(), {}, _Cuts()
    for frame, found in stream:
        if cut(frame.image):
            tracks = {}
        seen = [looks(frame.image, face.landmarks) for face in found]
        steps = sorted(
            (np.linalg.norm(face.landmarks - last, axis=1).max() / face.size, track, i)
            for track, (last, _, _) in tracks.items()
            for i, face in enumerate(found)
        )
        taken = {}
        for step, track, i in steps:
            if step < STEP and track not in taken and i not in taken.values():
                if _alike(tracks[track][1], seen[i]) > LINKED:
                    taken[track] = i
        new = [i for i in range(len(found)) if i not in taken.values()]
        taken |= {next(numbers): i for i in new}
        missed = ((t, last, gap) for t, (*last, gap) in tracks.items() if gap < GAP)
        tracks = {track: (*last, gap + 1) for track, last, gap in missed}
        tracks |= {t: (found[i].landmarks, seen[i], 0) for t, i in taken.items()}
        yield frame, {track: found[i] for track, i in taken.items()}


def largest(stream: Iterable[tuple], identity: str) -> Iterator[tuple]:
    """Choose the largest face of each frame, to be replaced by one person.

    From (frame, {track: face}) to (frame, {track: `Chosen`}), with one face at most.
    """
    last = None
    for frame, found in stream:
        # Of two faces alike in size the one chosen before stays.
        sizes = {t: f.size * (1.25 if t == last else 1) for t, f in found.items()}
        last = max(sizes, key=sizes.get, default=None)
        yield frame, {last: Chosen(identity, found[last].landmarks)} if found else {}


def windows(stream: Iterable, reach: int) -> Iterator[tuple]:
    """Each item with `reach` items before and after it; None beyond the ends."""
    padding = [None] * reach
    window = collections.deque(padding, maxlen=2 * reach + 1)
    for item in itertools.chain(stream, padding):
        window.append(item)
        if len(window) == 2 * reach + 1:
            yield tuple(window)


def steady(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Smooth the landmarks of (frame, {track: `Chosen`}) over time.

    Each frame takes the middle of the parabola that fits seven frames best, so that
    steady and accelerating motion pass without lag. Where a face appears or leaves it
    is left as it was found; where it is missed for a moment, it is filled in.

    Reference:
        Savitzky & Golay 1964, "Smoothing and Differentiation of Data by Simplified
        Least Squares Procedures", Table I.
    """
    weights = np.float32([-2, 3, 6, 7, 6, 3, -2]) / 21
    for window in windows(stream, 3):
        tracks = [dict(item[1]) if item else {} for item in window]
        for track in {*tracks[0], *tracks[1], *tracks[2]} - {*tracks[3]}:
            _fill(tracks, track)
        out = {}
        for track, (identity, landmarks) in tracks[3].items():
            course = [t[track].landmarks for t in tracks if track in t]
            if len(course) == len(window):
                landmarks = np.tensordot(weights, np.stack(course), 1)
            out[track] = Chosen(identity, landmarks)
        yield window[3][0], out


def _fill(tracks, track):
    """Set a face missed in the middle between where it was and where it will be."""
    before = next(i for i in (2, 1, 0) if track in tracks[i])
    after = next((i for i in (4, 5, 6) if track in tracks[i]), np.inf)
    if after - before > GAP + 1:
        return
    (identity, last), (_, later) = tracks[before][track], tracks[after][track]
    share = (3 - before) / (after - before)
    between = (1 - share) * last + share * later
    # Not where the same face was found again, as another track.
    apart = [between.mean(0) - face.landmarks.mean(0) for face in tracks[3].values()]
    if all(np.linalg.norm(way) > np.ptp(between[:, 0]) / 2 for way in apart):
        tracks[3][track] = Chosen(identity, between)
