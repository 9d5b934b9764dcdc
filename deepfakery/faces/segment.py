"""Which pixels of a face are face: skin, brows, glasses; not hair, not background.

Seeded from the landmarks and from the colour of the cheeks, by OpenCV's GrabCut.

Reference:
    Rother et al. 2004, "GrabCut: Interactive Foreground Extraction using Iterated Graph
    Cuts".
"""

import cv2
import numpy as np

from deepfakery.faces import geometry

#: Side in pixels at which a face is segmented: 128 takes twice the time, and differs
#: by less than the network can paint.
SIZE = 96

#: How far a face may reach beyond its landmarks, as of `geometry.hull`.
REACH = 0.6, 0.02

#: Distance from the colour of the skin, in its own spreads squared, from which a pixel
#: starts as background, and from which it stays so above the brows.
UNLIKE, OTHER = 5, 14


def segment(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The outline of what belongs to an aligned face.

    Args:
        image: (S, S, 3) uint8 RGB, aligned as `geometry.alignment` does.
        landmarks: (68, 2) pixels of it.

    Returns:
        (N, 2) float32 polygon in pixels of the image. The chin and the sides are the
        landmarks' own; the forehead ends where hair begins.
    """
    scale = SIZE / image.shape[0]
    small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    points = geometry.resize_points(landmarks, scale)
    brow = int(points[17:27, 1].mean())
    face = _filled(points)
    limit = np.uint8(geometry.hull_mask(points, SIZE, *REACH) > 0.5)
    features = np.zeros_like(face)
    for part in (points[17:27], points[27:36], points[36:42], points[42:48]):
        features |= _filled(part)
    features |= _filled(points[48:60])

    # What skin is, from cheeks, nose and chin.
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    skin = (_grow(face, -5) > _grow(features, 2)) & (np.arange(SIZE)[:, None] > brow)
    middle = np.median(lab[skin], axis=0)
    spread = 1.48 * np.median(np.abs(lab[skin] - middle), axis=0) + (8, 3, 3)
    unlike = (((lab - middle) / spread) ** 2).sum(-1)

    near = _grow(limit, 10) > 0
    seeds = np.where(near, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    seeds[near & (unlike > UNLIKE)] = cv2.GC_PR_BGD
    seeds[:brow][(unlike > OTHER)[:brow]] = cv2.GC_BGD
    # Hair that hangs over temples and cheeks does not look like skin; glasses do not
    # either, but they reach up to the eyes.
    rim = (_grow(face, -4) > _grow(face, -14)) & (unlike > OTHER)
    # Of a turned head's far cheek the landmarks tell little: they stand beside it.
    sure = _grow(face, -4) & _grow(_filled(points[17:]), 2)
    sure *= ~rim | (_grow(features, 6) > 0)
    sure[:brow] = 0
    seeds[(sure | (_grow(features, 2) & _grow(face, -1))) > 0] = cv2.GC_FGD
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    cv2.setRNGSeed(0)  # it begins with clusters drawn at random
    cv2.grabCut(bgr, seeds, None, None, None, 4, cv2.GC_INIT_WITH_MASK)

    found = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found &= limit
    found = _grow(_grow(found, -1), 3)
    found = _grow(found, -2) & limit
    outlines, _ = cv2.findContours(
        cv2.resize(found * 255, None, fx=4, fy=4) // 128,
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_SIMPLE,
    )
    largest = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 1.5, closed=True)
    return geometry.resize_points(largest[:, 0], 1 / (4 * scale)).astype(np.float32)


def mask(outline, size: int) -> np.ndarray:
    """An outline, in pixels of a face of `geometry.FACE_SIZE`, filled at a size.

    (size, size) float32 in [0, 1].
    """
    factor = size / geometry.FACE_SIZE
    return geometry.fill(geometry.resize_points(np.float32(outline), factor), size)


def _filled(points):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.float32)).astype(int), 1)
    return mask


def _grow(mask, pixels):
    """Dilate, or erode where `pixels` is negative."""
    reach = abs(pixels)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return (cv2.dilate if pixels > 0 else cv2.erode)(mask, kernel)
