"""Does a swap show? Its edge, its flicker and its tremble against the target's own.

    seams.compare(merge.paint_frames(clip, swapper, "hopper"))

Each figure is a ratio: 1 is what the untouched footage has at the same place, and
more of it is seen.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from deepfakery.convert import merge
from deepfakery.faces import geometry

#: Side at which faces are aligned to compare one frame with the next.
SIDE = 128


def compare(stream: Iterable[tuple]) -> dict:
    """Measure painted frames against the frames that they were painted into.

    Args:
        stream: (frame, painted image, layers), as `merge.paint_frames` gives.

    Returns:
        `seam`: mean gradient across the mask's edge, swap over target. `flicker`: mean
        change from frame to frame within the mask, both frames aligned to the face,
        swap over target. `frames`: how many were painted.

    Raises:
        ValueError: No frame was painted.
    """
    edges, changes, before, count = [], [], None, 0
    for frame, image, layers in stream:
        if not layers:
            before = None
            continue
        count += 1
        alpha = merge.shown(frame.image, layers)
        edges.append([edge_strength(i, alpha) for i in (image, frame.image)])
        layer = layers[0]
        transform = geometry.resize_transform(
            layer.transform, target=SIDE / len(layer.rgb)
        )
        now = [geometry.crop(i, transform, SIDE) for i in (image, frame.image)]
        weight = cv2.warpAffine(alpha, transform, (SIDE, SIDE))
        if before:
            changes.append([change(*p, weight) for p in zip(before, now, strict=True)])
        before = now
    if not count:
        raise ValueError("No frame was painted; there is nothing to compare.")
    seam, own_seam = np.mean(edges, 0)
    flicker, own_flicker = np.mean(changes, 0) if changes else (0, 0)
    return {
        "seam": float(seam / max(own_seam, 1e-6)),
        "flicker": float(flicker / max(own_flicker, 1e-6)),
        "frames": count,
    }


def edge_strength(image: np.ndarray, alpha: np.ndarray) -> float:
    """Mean gradient of an image across the edge of a mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        Grey levels a pixel, of 255; 0 where the mask has no edge.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # Across the edge alone: what runs along it, such as a jaw, is no seam.
    image_x, image_y, alpha_x, alpha_y = (
        cv2.Sobel(picture, cv2.CV_32F, *axis, scale=1 / 8)
        for picture in (grey, alpha)
        for axis in ((1, 0), (0, 1))
    )
    steepness = np.hypot(alpha_x, alpha_y).sum()
    return float(
        np.abs(image_x * alpha_x + image_y * alpha_y).sum() / max(steepness, 1e-6)
    )


def change(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> float:
    """Mean absolute difference of two aligned faces, in grey levels of 255.

    Args:
        before, after: (S, S, 3) uint8 RGB.
        weight: (S, S) float32, where to look.
    """
    difference = cv2.absdiff(before, after).mean(-1)
    return float((difference * weight).sum() / max(weight.sum(), 1e-6))


def jitter(landmarks: np.ndarray) -> float:
    """How much landmarks tremble: their motion less what is smooth in it.

    Args:
        landmarks: (frames, 68, 2) pixels of one face, at least four frames.

    Returns:
        Mean length of the third difference, as a share of the face.
    """
    size = np.ptp(landmarks, axis=1).max(1).mean()
    return float(np.linalg.norm(np.diff(landmarks, 3, axis=0), axis=-1).mean() / size)
