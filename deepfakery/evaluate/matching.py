"""Which frame of a swap, whatever tool exported it, belongs to which of its target.

They are paired by the numbers of pictures, in order or by time, shifted by whole
frames: as agrees best with the target around its face, which no tool changes.
"""

import re
from collections.abc import Iterator

import cv2
import numpy as np

#: Side of the thumbnails that are compared, and how many of a clip.
SIDE, SAMPLES = 32, 100
#: Agreement of a swap with its own target: above 0.99 for four tools. Another clip of
#: the same person before the same wall reaches 0.97, all others tried 0.95.
SAME = 0.95


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: a picture, small and grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def match(own, target, check: bool = True) -> tuple[np.ndarray, str]:
    """Pair the frames of a clip with those of its target.

    Args:
        own, target: As `measure` sees clips.
        check: Whether it must show what the target shows; else it begins with it.

    Returns:
        (target's frames,) index of the partner, -1 for none; and a line that says so.
    """
    few = np.unique(np.linspace(0, len(own.times) - 1, SAMPLES).astype(int))
    outside, best = _outside(target), (-2,)
    for way, mine, theirs in _ways(own, target):
        low, high = sorted((theirs[0] - mine[0], theirs[-1] - mine[-1]))
        for shift in sorted(np.arange(low, high + 0.5), key=abs):
            places = mine + shift
            near = np.searchsorted((theirs[1:] + theirs[:-1]) / 2, places)
            away = np.abs(theirs[near] - places)
            fits, beyond = away < 0.51, np.clip(places, *theirs[[0, -1]]) != places
            alike = _agreement(own.thumbnails[few], target, near[few], outside)
            # What falls into a gap of the target's counts neither for nor against.
            score = alike[fits[few]].sum() / max(1, (fits | beyond)[few].sum())
            if score > best[0] and (check or len(best) == 1):
                best = score, way, near, away, alike[fits[few]]
    _, way, near, away, alike = best
    nearest_last = np.argsort(-away)[np.sum(away >= 0.51) :]
    at = np.full(len(target.times), -1)
    at[near[nearest_last]] = nearest_last
    if not len(alike) or check and np.percentile(alike, 75) < SAME:
        raise ValueError(
            f"{own.source} was not made from {target.source}: around the face it shows "
            "something else. Give the clip that it was made from; a swap must not be "
            "cropped, padded or turned."
        )
    there, (mine, theirs) = np.flatnonzero(at >= 0), (*own.sizes, *target.sizes)
    part = f", {there[0]} to {there[-1]}," if len(there) < len(at) else ""
    scaled = "" if mine == theirs else ", scaled from {} × {}".format(*mine)
    said = f"frames of {target.source.name}{part} matched {way}{scaled}"
    return at, f"{len(there)} of {len(at)} {said}"


def _ways(own, target) -> Iterator[tuple]:
    """(in words, places of its frames, places of the target's), likeliest first."""
    order = "in order", *(np.arange(len(one.times)) for one in (own, target))
    mine, theirs = (
        np.array([int("0" + re.search(r"(\d{0,15})\D*$", f.stem)[1]) for f in files])
        for files in (own.files, target.files)
    )
    theirs = theirs if (np.diff(theirs) > 0).all() else order[2]
    if (np.diff(mine) > 0).all() and np.ptp(mine) <= np.ptp(theirs):
        yield "by number", mine, theirs
    is_whole = len(own.times) == len(target.times)
    if is_whole:
        yield order
    if all(len(t) > 1 and (np.diff(t) > 0).all() for t in (own.times, target.times)):
        step = np.median(np.diff(target.times))
        yield "by time", own.times / step, target.times / step
    if not is_whole:
        yield order


def _outside(target) -> np.ndarray:
    """(frames, SIDE, SIDE) bool: which pixels of its thumbnails no swap changes."""
    places = target.landmarks / (*target.sizes,)
    low, high = places.min(1), places.max(1)
    wide, line = high - low, (np.arange(SIDE) + 0.5) / SIDE
    low, high = low - wide * (0.25, 0.6), high + wide * 0.25  # forehead and hair
    x, y = ((line > low[:, [i]]) & (line < high[:, [i]]) for i in (0, 1))
    outside = ~(y[:, :, None] & x[:, None])
    outside[:, [0, -1]] = outside[:, :, [0, -1]] = True  # something is always left
    return outside


def _agreement(mine, target, near, outside) -> np.ndarray:
    """(N,) up to 1: SSIM's contrast and structure, its window all that is outside."""
    weights = outside[near] / outside[near].sum((1, 2), keepdims=True)
    a, b = np.float64(mine), np.float64(target.thumbnails[near])
    sums = ((weights * x).sum((1, 2)) for x in (a, b, a * a, b * b, a * b))
    (a, b, aa, bb, ab), c2 = sums, (0.03 * 255) ** 2
    return (2 * (ab - a * b) + c2) / (aa - a * a + bb - b * b + c2)
