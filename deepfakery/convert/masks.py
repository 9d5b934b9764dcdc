"""Where a painted face shows: the landmarks' outline, the network's mask, or both."""

import cv2
import numpy as np

from deepfakery.faces import geometry

#: Whose word counts. The network's mask knows what belongs to the painted face; the
#: outline of the target's face, widely drawn, keeps it off hair and background.
REGIONS = ("hull", "network", "both")

#: How far the target's face may be painted over beside the eyes, as of `geometry.hull`:
#: glasses are wider than a face. Below the eyes it ends where the target's does.
TEMPLES = 0.04

#: How far within the target's outline, as a share of the crop's side, the network's
#: mask is drawn in, and by how much.
DEEP, INSET = 0.08, 0.03

#: Side in pixels of the mask; fine enough for its edge to look smooth on large faces.
SIZE = 128


def soft_mask(
    landmarks, mask, region="both", erode=0.0, feather=0.06, forehead=0.6
) -> np.ndarray:
    """Where the painted face shows, and how much.

    Args:
        landmarks: (68, 2) pixels of the network's crop.
        mask: (S, S, 1) float32 in [0, 1], the network's own mask.
        region: One of `REGIONS`.
        erode, feather, forehead: As in `merge.LOOK`.

    Returns:
        (SIZE, SIZE) float32 in [0, 1], 0 at the crop's edge.

    Raises:
        ValueError: There is no such region.
    """
    if region not in REGIONS:
        raise ValueError(f"region must be one of {REGIONS}, not {region!r}.")
    points = geometry.resize_points(landmarks, SIZE / mask.shape[0])
    own = cv2.resize(mask[..., 0], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    own = (own * 4 - 1.5).clip(0, 1)  # it is soft: its edge is where it is undecided
    if region == "hull" or mask.min() > 0.99:  # a network without a mask
        filled, erode = geometry.hull_mask(points, SIZE, forehead / 2), erode + 0.05
    elif region == "network":
        filled = own
    else:
        filled = geometry.hull_mask(points, SIZE, forehead)
        row, brows, lids = np.arange(SIZE)[:, None], points[17:27], points[36:48]
        beside = (brows[:, 1].min() < row) & (row < lids[:, 1].max())
        wide = beside * geometry.hull_mask(points, SIZE, forehead, TEMPLES)
        filled = np.maximum(filled, wide)
        # A painted face that is narrower than the target's would show its edge on it.
        within = _grow(filled, -DEEP) > 0.5
        filled = np.minimum(filled, np.where(within, _grow(own, -INSET), own))
    filled = _grow(filled, -erode)
    # Beyond the crop nothing was painted, so the mask must have faded before.
    edge = 1 + round(0.8 * feather * SIZE)
    filled[:edge], filled[-edge:], filled[:, :edge], filled[:, -edge:] = 0, 0, 0, 0
    sigma, border = max(feather * SIZE / 4, 0.5), cv2.BORDER_CONSTANT
    return np.minimum(cv2.GaussianBlur(filled, (0, 0), sigma, borderType=border), 1)


def _grow(mask, share):
    """Dilate by a share of the side, or erode where it is below 0."""
    if share > 0:
        return 1 - _grow(1 - mask, -share)
    inside = np.pad(np.uint8(mask > 0.5), 1, mode="edge")
    inside = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return (inside + share * SIZE).clip(0, 1) if share else mask
