"""Where to look for faces: near where they were, and everywhere now and then.

    for frame, found in follow(video.read_frames("clip.mp4")): ...

A look at a whole frame takes as long as twenty looks near the last face. It is worth
its time only where a face was lost, and once in a while for those who have come in.
"""

import collections
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import cv2
import numpy as np

from deepfakery.faces import detect, geometry
from deepfakery.faces.detect import Face
from deepfakery.media import video
from deepfakery.media.workers import cause, pool

#: A whole frame is looked at every so many frames though nobody is missing.
EVERY = 24
#: While nobody is seen, every so many; one found late is followed back in time.
EMPTY = 4
#: Every so many of those looks makes an effort, the first and a few all that can be.
EFFORT = 4
#: `follow_clip` begins afresh every so many frames: whichever frame it is asked for
#: first, it finds what it would have found from the beginning.
PART = 2 * EVERY
#: The process beside looks through so many frames at a time, and so many times ahead.
STRETCH, AHEAD = PART // 12, 12
#: A face is looked for at about this size (the detector needs 80), in a square patch
#: of this side; pixels.
SIZE, PATCH = 96, 176
#: The detector's confidence that is enough where a face is expected.
EXPECTED = -0.5
#: How alike (correlation) a face must look from frame to frame to be followed without
#: the detector, and for how many frames at most.
ALIKE, BLIND = 0.8, 15
#: Grey levels of 255 by which a whole picture changes at a cut, and no more than four
#: times the usual change is motion.
CUT = 5
#: Frames in which a head that hardly moves is taken to be where it was detected.
TRUSTED = 3
#: Score of a face that the detector does not see.
UNSEEN = -1.0
#: Degrees of tilt from which a head is put upright before it is looked at.
TILTED = 12


def follow(frames: Iterable) -> Iterator[tuple]:
    """Find the faces of a clip's frames, in order.

    Args:
        frames: Objects with an `image` (H, W, 3) uint8 RGB, such as `video.Frame`.

    Yields:
        (frame, list of `Face`, largest first). A face that was followed where the
        detector is not sure of one has a negative score, `UNSEEN` where it sees none.
        At most `EMPTY` frames are held back.
    """
    tracks, held, empty, cuts = [], [], 0, Cuts()
    looked, alert, wait = 0, 0, EMPTY  # the last look at everything, and the next
    for number, frame in enumerate(frames):
        cut = cuts(frame.image)
        following = [track.next(frame.image) for track in tracks]
        tracks, before = _distinct(following), len(tracks)
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
            effort = 0 if tracks else _effort(empty // EMPTY)
            seen = detect.detect(frame.image, effort=effort)
            new = [_Track(face, frame.image) for face in seen]
            # A second look from near by, as every later one will be.
            new = [track.next(frame.image) or track for track in new]
            new = [track for track in _distinct([*tracks, *new]) if track not in tracks]
            tracks, looked, cuts.looked = [*tracks, *new], number, cuts.last
            # Who moves but does not come in makes no look worth its time.
            wait = EMPTY if new else min(2 * wait, EVERY) if moved else wait
            if not cut:
                _back(new, held)
        held.append((frame, tracks))
        empty = 0 if tracks else empty + 1
        if cut:
            yield from ((frame, _found(then)) for frame, then in held[:-1])
            del held[:-1]
        elif len(held) == EMPTY:
            frame, then = held.pop(0)
            yield frame, _found(then)
    for frame, then in held:
        yield frame, _found(then)


class Cuts:
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
        usual = np.median(self.changes) if self.changes else 0
        self.changes.append(change)
        return bool(change > CUT + 4 * usual)

    def moved(self, found: list[Face]) -> bool:
        """Whether more than the heads that are known has moved since `looked`."""
        away = np.abs(self.last - self.looked).max(2) > 24
        for face in found:
            middle, reach = face.landmarks.mean(0), face.size
            low, high = (16 * (middle + s * reach) / self.size for s in (-1, 1))
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
        workers: 0 looks in this process.

    Yields:
        (`video.Frame`, list of `Face`, largest first), from `start` on.

    Raises:
        video.MediaError: The clip cannot be read, or not to its end.
        OSError: The process died.
    """
    first = start // PART * PART
    if workers == 0:
        stream = _afresh(video.read_frames(clip, first))
        yield from (item for item in stream if item[0].index >= start)
        return
    with pool(1) as crew:
        places = itertools.count(first, STRETCH)
        ahead = collections.deque(
            crew.submit(_look_on, clip, next(places)) for _ in range(AHEAD)
        )
        for frame in video.read_frames(clip, first):
            if (frame.index - first) % STRETCH == 0:
                try:
                    found = iter(ahead.popleft().result())
                    ahead.append(crew.submit(_look_on, clip, next(places)))
                except BrokenProcessPool as error:
                    raise OSError(
                        f"The process that looked for faces in {clip} was ended at "
                        f"frame {frame.index}: {cause(error)}. Run the same again."
                    ) from error
            faces_ = next(found, [])  # beyond damage nobody was looked for
            if frame.index >= start:
                yield frame, faces_


#: In the process beside: the clip → the frame it has come to, and what follows.
_going = {}


def _look_on(clip, index) -> list[list[Face]]:
    """The faces of the next few frames, from one that begins a stretch."""
    at, stream = _going.pop(clip, (None, None))
    if at != index:  # this process is new
        warnings.simplefilter("ignore")  # the reader says the same of the same clip
        first = index // PART * PART
        stream = _afresh(video.read_frames(clip, first, quick=True))
    found = []
    with suppress(video.MediaError):  # the reader comes upon it by itself
        for _ in range(0 if at == index else index - first):
            next(stream, None)
        for _, seen in itertools.islice(stream, STRETCH):
            found.append(seen)
    _going[clip] = index + STRETCH, stream
    return found


def _afresh(frames) -> Iterator[tuple]:
    for _, part in itertools.groupby(frames, key=lambda frame: frame.index // PART):
        yield from follow(part)


def _effort(looks: int) -> int:
    return (looks % EFFORT == 0) + (looks % EFFORT**2 == 0)


def _back(new, held) -> None:
    # Those found only now may have been there in the frames held back.
    for i in reversed(range(len(held))):
        frame, then = held[i]
        both = _distinct([*then, *(track.next(frame.image) for track in new)])
        new = [track for track in both if track not in then]
        held[i] = frame, [*then, *new]


def _found(tracks) -> list[Face]:
    return sorted((track.face for track in tracks), key=lambda face: -face.size)


def _distinct(tracks) -> list:
    """Leave out the lost, and all but the first of those that lie on each other."""
    kept = []
    for track in tracks:
        if track is None:
            continue
        middle = track.face.landmarks.mean(0)
        apart = (
            np.abs(middle - other.face.landmarks.mean(0)).max()
            > 0.4 * min(track.face.size, other.face.size)
            for other in kept
        )
        if all(apart):
            kept.append(track)
    return kept


class _Track:
    """A face as it was last seen."""

    def __init__(self, face: Face, picture, to_picture=None, blind=0, box=None):
        self.face, self.blind = face, blind
        self.box, self.trusted = box, 0  # where the detector saw it, and since when
        points = face.landmarks
        if to_picture is not None:
            points = geometry.transform_points(points, to_picture)
        self.looks, self.changed = looks(picture, points), False

    def next(self, image: np.ndarray) -> "_Track | None":
        """The same face in the next frame, looked for where it was."""
        last, size = self.face.landmarks, self.face.size
        centre = (last.min(0) + last.max(0)) / 2
        if size < 8 or not np.all((centre > 0) & (centre < image.shape[1::-1])):
            return None
        to_patch, roll = _to_patch(last, centre, size)
        patch = _cut(image, to_patch, PATCH)
        if self.box is not None and self.trusted < TRUSTED and self.face.score > 0:
            # A head that hardly moves is where the detector last saw it.
            face = Face(detect.fit_landmarks(image, *self.box), self.face.score)
            found = _Track(face, patch, to_patch, box=self.box)
            found.trusted = self.trusted + 1
            step = np.linalg.norm(face.landmarks.mean(0) - last.mean(0))
            if step < 0.02 * size and self._alike(found):
                return found
        (middle,) = geometry.transform_points(centre[None], to_patch)
        boxes, scores, _ = detect._dlib("detector").run(patch, 0, EXPECTED)
        for box, score in zip(boxes, scores, strict=True):  # the surest one first
            box = np.float64([(box.left(), box.top()), (box.right(), box.bottom())])
            if np.abs(box.mean(0) - middle).max() < 0.5 * SIZE:
                face = self._fit(image, box, to_patch, roll, score)
                seen = geometry.transform_points(
                    box, cv2.invertAffineTransform(to_patch)
                )
                found = _Track(face, patch, to_patch, box=None if roll else seen)
                same = self._alike(found)
                found.changed = not same  # somebody else may be there now
                if score > 0 or same:
                    return found
        if self.blind == BLIND:
            return None
        # Landmarks fit themselves to a face that has moved a little.
        box = np.float64([(-0.5, -0.59), (0.5, 0.41)]) * size
        box = box * np.hypot(*to_patch[:, 0]) + middle
        face = self._fit(image, box, to_patch, roll, UNSEEN)
        found = _Track(face, patch, to_patch, self.blind + 1)
        step = np.linalg.norm(found.face.landmarks - last, axis=1).mean()
        return found if step < 0.2 * size and self._alike(found) else None

    def _fit(self, image, box, to_patch, roll, score) -> Face:
        """Landmarks of the face that the patch shows in a box."""
        if not roll:
            box = geometry.transform_points(box, cv2.invertAffineTransform(to_patch))
            return Face(detect.fit_landmarks(image, *box), float(score))
        # Larger than where it was detected: landmarks profit from pixels.
        side, zoom = 2 * PATCH, 2
        to_large = to_patch * zoom
        points = detect.fit_landmarks(_cut(image, to_large, side), *box * zoom)
        back = cv2.invertAffineTransform(to_large)
        return Face(geometry.transform_points(points, back), float(score))

    def _alike(self, other: "_Track") -> bool:
        return alike(self.looks, other.looks) > ALIKE


def looks(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What an aligned face looks like, small and grey: (32 · 32,) of mean 0, norm 1."""
    crop = _cut(image, geometry.alignment(landmarks, 32), 32)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).ravel()
    grey = grey - np.float32(grey.mean())
    return grey / max(float(np.linalg.norm(grey)), 1.0)


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two `looks`; 1 where neither shows anything."""
    return float(a @ b) if a.any() or b.any() else 1.0


def _to_patch(landmarks, centre, size) -> tuple[np.ndarray, float]:
    """The transform that puts a head upright into the middle of the patch."""
    x, y = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    roll = np.arctan2(y, x)
    if abs(roll) < np.radians(TILTED):
        roll = 0.0
    # On the scales and places where the detector would look in the whole frame, so
    # that it finds the same box: each scale is 5/6 of the last, a place 8 pixels of
    # its scale, and 48 pixels are whole steps of this scale and of the next.
    scale = (5 / 6) ** round(np.log(SIZE / size) / np.log(5 / 6))
    a, b = scale * np.cos(roll), scale * np.sin(roll)
    turn = np.array([[a, b], [-b, a]])
    shift = PATCH / 2 - turn @ centre
    return np.column_stack([turn, shift if roll else 48 * (shift / 48).round()]), roll


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
