"""Where a painted face shows: the landmarks' outline, the network's mask, or both."""

import cv2
import numpy as np

from deepfakery.faces import geometry

#: Whose word counts. The network's mask knows hair, hands and glasses only as far as
#: the masks that it was trained on did.
REGIONS = ("hull", "network", "both")

#: Side in pixels of the mask; fine enough for its edge to look smooth on large faces.
SIZE = 256


def soft_mask(
    landmarks: np.ndarray,
    mask: np.ndarray,
    region: str = "both",
    erode: float = 0.04,
    feather: float = 0.08,
    forehead: float = 0.3,
) -> np.ndarray:
    """Where the painted face shows, and how much.

    Args:
        landmarks: (68, 2) pixels of the network's crop.
        mask: (S, S, 1) float32 in [0, 1], the network's own mask.
        region: One of `REGIONS`.
        erode: How far it is drawn in, as a share of the crop's side; below 0 it grows.
        feather: Share of the side over which it fades, half of it either way.
        forehead: How far the outline reaches above the brows, as in `geometry.hull`.

    Returns:
        (SIZE, SIZE) float32 in [0, 1], 0 at the crop's edge.

    Raises:
        ValueError: There is no such region.
    """
    if region not in REGIONS:
        raise ValueError(f"region must be one of {REGIONS}, not {region!r}.")
    scale = SIZE / mask.shape[0]
    filled = np.ones((SIZE, SIZE), np.float32)
    if region != "network":
        points = geometry.resize_points(landmarks, scale)
        filled = geometry.hull_mask(points, SIZE, forehead)
    if region != "hull":
        own = cv2.resize(mask[..., 0], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        # It is soft: beside the outline it decides only where it is sure of
        # background; alone, its edge is where it is undecided.
        own = own * 2 if region == "both" else own * 4 - 1.5
        filled = np.minimum(filled, own.clip(0, 1))
    filled = _grow(filled, -round(erode * SIZE))
    # Beyond the crop nothing was painted, so the mask must have faded before.
    edge = 1 + round(0.8 * feather * SIZE)
    filled[:edge], filled[-edge:], filled[:, :edge], filled[:, -edge:] = 0, 0, 0, 0
    sigma = max(feather * SIZE / 4, 0.5)
    soft = cv2.GaussianBlur(filled, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.minimum(soft, 1)


def _grow(mask, pixels):
    """Dilate, or erode where `pixels` is negative; nothing lies beyond the edge."""
    if not pixels:
        return mask
    reach = abs(pixels)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    change = cv2.dilate if pixels > 0 else cv2.erode
    out = change(
        (mask * 255).astype(np.uint8),
        kernel,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return out.astype(np.float32) / 255
