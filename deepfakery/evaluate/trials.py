"""Try a network out on faces alone: quick figures for ablations and benchmarks.

A finished clip says how good a swap is (`evaluate`); while a network still trains,
bare painted faces say it a hundred times as fast.
"""

import cv2
import numpy as np

import deepfakery
from deepfakery import batches
from deepfakery.evaluate import metrics
from deepfakery.faces import detect, geometry
from deepfakery.faces.faceset import FaceSet
from deepfakery.swapper import FaceSwapper


def score(
    swapper: FaceSwapper,
    targets: FaceSet,
    people: dict[str, FaceSet],
    identity: str,
    limit: int = 40,
) -> dict:
    """How well a swapper paints one person over faces of another.

    Args:
        swapper: Trained so far.
        targets: Faces to paint over, best such as it never trained on.
        people: Identity → faces, to know who is who.
        identity: Whose decoder paints.
        limit: Faces to paint, spread evenly.

    Returns:
        `verified`: share of painted faces whose descriptor lies under 0.6 from the
        painted person's mean and nearer to it than to anybody else's. `distance`:
        median distance to the painted person. `sharpness`: median variance of the
        Laplacian inside the face, as a share of what that person's own faces have at
        the same size; 1 is as sharp as real.
    """
    size = swapper.size
    limit = 4 if deepfakery.SMOKE else limit
    targets, own = targets.spread(limit), people[identity].spread(limit)
    painted, _ = swapper.swap(batches.prepare(targets.images(), size), identity)
    points = targets.landmarks()
    means = {name: f.descriptors().mean(0) for name, f in people.items()}
    away = {name: [] for name in people}
    for face, landmarks in zip(painted, points, strict=True):
        large = cv2.resize(
            _uint8(face), (geometry.FACE_SIZE,) * 2, interpolation=cv2.INTER_CUBIC
        )
        found = detect.descriptor(large, landmarks)
        for name, mean in means.items():
            away[name].append(np.linalg.norm(found - mean))
    distance = np.array(away.pop(identity))
    nearest = np.min(list(away.values()), axis=0) if away else np.inf
    real = batches.prepare(own.images(), size)
    return {
        "verified": float(
            ((distance < detect.SAME_PERSON) & (distance < nearest)).mean()
        ),
        "distance": float(np.median(distance)),
        "sharpness": detail(painted, points) / detail(real, own.landmarks()),
    }


def rebuilt(
    swapper: FaceSwapper, targets: FaceSet, identity: str, limit: int = 40
) -> float:
    """How well a person's own faces are painted by their own decoder.

    Args:
        swapper: Trained so far.
        targets: Faces of that person, best such as it never trained on.
        identity: Whose they are.
        limit: Faces to paint, spread evenly.

    Returns:
        PSNR inside the face in decibels, the mean over faces.
    """
    targets = targets.spread(4 if deepfakery.SMOKE else limit)
    real = batches.prepare(targets.images(), swapper.size)
    painted, _ = swapper.swap(real, identity)
    found = [
        metrics.psnr(255 * made, 255 * wanted, _inside(points, swapper.size))
        for made, wanted, points in zip(painted, real, targets.landmarks(), strict=True)
    ]
    return float(np.mean(found))


def detail(pictures: np.ndarray, landmarks: np.ndarray) -> float:
    """Median variance of the Laplacian inside faces.

    Args:
        pictures: (N, S, S, 3) float32 in [0, 1], aligned.
        landmarks: (N, 68, 2) pixels of aligned faces of `geometry.FACE_SIZE`.
    """
    size = pictures.shape[1]
    found = []
    for picture, points in zip(pictures, landmarks, strict=True):
        grey = cv2.cvtColor(_uint8(picture), cv2.COLOR_RGB2GRAY)
        found.append(cv2.Laplacian(grey, cv2.CV_64F)[_inside(points, size)].var())
    return float(np.median(found))


def _inside(landmarks, size):
    """Which pixels of an aligned face of that size lie inside its landmarks' hull."""
    points = geometry.resize_points(landmarks, size / geometry.FACE_SIZE)
    return geometry.hull_mask(points, size, 0) > 0.99


def _uint8(picture):
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
