"""Quick figures, while a network still trains or a look is chosen.

A finished clip says how good a swap is (`measure`); bare painted faces say it a hundred
times as fast, for ablations and benchmarks.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from scipy.spatial.distance import cdist

import deepfakery
from deepfakery import batches
from deepfakery.convert import merge
from deepfakery.evaluate import metrics
from deepfakery.faces import detect, geometry
from deepfakery.faces.faceset import FaceSet


def score(
    swapper,
    targets: FaceSet,
    people: dict[str, FaceSet],
    identity: str,
    limit: int = 40,
) -> dict:
    """How well a swapper paints one person over faces of another.

    Args:
        swapper: A `FaceSwapper`, trained so far.
        targets: Faces to paint over, best such as it never trained on.
        people: Identity → faces, to know who is who.
        identity: Whose decoder paints.
        limit: Faces to paint, spread evenly.

    Returns:
        `verified`: share of faces whose descriptor lies under 0.6 from the painted
        person's mean and nearest to it. `distance`: median distance to that person.
        `sharpness`: median variance of the Laplacian inside the face, as a share of
        what that person's own faces have at the same size; 1 is as sharp as real.
    """
    limit = 4 if deepfakery.SMOKE else limit
    targets, own = targets.spread(limit), people[identity].spread(limit)
    before, real = (
        batches.prepare(faces.images(), swapper.size) for faces in (targets, own)
    )
    painted, _ = swapper.swap(before, identity)
    size, described = (geometry.FACE_SIZE, geometry.FACE_SIZE), []
    for face, points in zip(batches.restore(painted), targets.landmarks(), strict=True):
        large = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC)
        described.append(detect.descriptor(large, points))
    names = [identity, *(name for name in people if name != identity)]
    means = [people[name].descriptors().mean(0) for name in names]
    distances = cdist(described, means)
    nearest = distances[:, 1:].min(1, initial=detect.SAME_PERSON)
    return {
        "verified": float((distances[:, 0] < nearest).mean()),
        "distance": float(np.median(distances[:, 0])),
        "sharpness": _sharpness(painted, targets) / _sharpness(real, own),
    }


def rebuilt(swapper, targets: FaceSet, identity: str, limit: int = 40) -> float:
    """How well a person's own faces are painted by their own decoder.

    Args:
        swapper, identity, limit: As for `score`.
        targets: Faces of that person, best such as it never trained on.

    Returns:
        PSNR inside the face in decibels, the mean over faces.
    """
    targets = targets.spread(4 if deepfakery.SMOKE else limit)
    real = batches.prepare(targets.images(), swapper.size)
    painted, _ = swapper.swap(real, identity)
    trios = zip(255 * painted, 255 * real, _inside(targets, swapper.size), strict=True)
    return float(np.mean([metrics.psnr(*trio) for trio in trios]))


def _inside(faces: FaceSet, size: int) -> list[np.ndarray]:
    """Which pixels of each aligned face lie inside its landmarks' hull."""
    return [geometry.hull_mask(p, size, 0) > 0.99 for p in faces.landmarks(size)]


def _sharpness(pictures, faces: FaceSet) -> float:
    pairs = zip(
        batches.restore(pictures), _inside(faces, pictures.shape[1]), strict=True
    )
    return float(np.median([detect.sharpness(*pair) for pair in pairs]))


def compare(stream: Iterable[tuple]) -> dict:
    """Does a swap show? Its edge and its flicker against the footage's own.

    Args:
        stream: (frame, painted image, layers), as `merge.paint_frames` gives.

    Returns:
        `frames`: how many were painted. And two ratios, 1 being what the untouched
        footage has at the same place. `seam`: mean gradient across the mask's edge.
        `flicker`: mean change from frame to frame within the mask, aligned to the face.
    """
    edges, changes, before, side = [], [], None, metrics.SIZE
    for frame, image, layers in stream:
        now = None
        if layers:
            both, alpha = (image, frame.image), merge.shown(frame.image, layers)
            edges.append([_edge(picture, alpha) for picture in both])
            factor = side / len(layers[0].rgb)
            transform = geometry.resize_transform(layers[0].transform, target=factor)
            weight = cv2.warpAffine(alpha, transform, (side, side))
            now = np.int16([geometry.crop(p, transform, side) for p in both])
            if before is not None:
                change = np.abs(now - before).mean(-1) * weight  # (2, side, side)
                changes.append(change.sum((1, 2)) / max(weight.sum(), 1e-6))
        before = now
    if not edges:
        raise ValueError("No frame was painted; there is nothing to compare.")
    ratios = []
    for figures in (edges, changes):
        made, own = np.mean(figures, 0) if figures else (0, 0)
        ratios.append(float(made / max(own, 1e-6)))
    return {"seam": ratios[0], "flicker": ratios[1], "frames": len(edges)}


def _edge(image, alpha) -> float:
    """Mean gradient across a mask's edge: what runs along it, as a jaw, is no seam."""
    grey = np.float32(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    image_x, image_y, alpha_x, alpha_y = (
        cv2.Sobel(picture, cv2.CV_32F, *axis, scale=1 / 8)
        for picture in (grey, alpha)
        for axis in ((1, 0), (0, 1))
    )
    across = np.abs(image_x * alpha_x + image_y * alpha_y).sum()
    return float(across / max(np.hypot(alpha_x, alpha_y).sum(), 1e-6))
