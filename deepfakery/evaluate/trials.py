"""Quick figures, while a network still trains or blend options are chosen."""

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np
from scipy.spatial.distance import cdist

import deepfakery
from deepfakery import batches
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
    """How well a swapper generates one person from faces of another.

    Args:
        swapper: A `FaceSwapper`, trained so far.
        targets: Faces of the other person, best such as it never trained on.
        people: Identity → faces, to know who is who.
        identity: Whose decoder generates.
        limit: Faces to use, spread evenly.

    Returns:
        `verified`: share of faces, laid over the target's by their masks, whose
        descriptor lies under 0.6 from the person's mean and nearest to it. `distance`:
        median distance to that person.
        `sharpness`: median variance of the Laplacian inside the face, as a share of
        what that person's own faces have at the same size.
    """
    limit = 4 if deepfakery.SMOKE else limit
    targets, own = targets.spread(limit), people[identity].spread(limit)
    before, real = (
        batches.prepare(faces.images(), swapper.size) for faces in (targets, own)
    )
    generated, masks = swapper.swap(before, identity)
    laid = masks * generated + (1 - masks) * before
    size, described = (geometry.FACE_SIZE, geometry.FACE_SIZE), []
    pairs = zip(batches.restore(laid), targets.landmarks(), strict=True)
    for face, points in pairs:
        large = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC)
        described.append(detect.descriptor(large, points))
    names = [identity, *(name for name in people if name != identity)]
    means = [people[name].descriptors().mean(0) for name in names]
    distances = cdist(described, means)
    nearest = distances[:, 1:].min(1, initial=detect.SAME_PERSON)
    return {
        "verified": float((distances[:, 0] < nearest).mean()),
        "distance": float(np.median(distances[:, 0])),
        "sharpness": _sharpness(generated, targets) / _sharpness(real, own),
    }


def reconstruction(swapper, targets: FaceSet, identity: str, limit: int = 40) -> float:
    """How well a person's own faces are reconstructed by their own decoder.

    Args:
        swapper, identity, limit: As for `score`.
        targets: Faces of that person, best such as it never trained on.

    Returns:
        PSNR inside the face in decibels, the mean over faces.
    """
    targets = targets.spread(4 if deepfakery.SMOKE else limit)
    real = batches.prepare(targets.images(), swapper.size)
    made, _ = swapper.swap(real, identity)
    trios = zip(255 * made, 255 * real, _inside(targets, swapper.size), strict=True)
    return float(np.mean([metrics.psnr(*trio) for trio in trios]))


def _inside(faces: FaceSet, size: int) -> list[np.ndarray]:
    """Which pixels of each aligned face lie inside its landmarks' hull."""
    return [geometry.hull_mask(p, size, 0) > 0.99 for p in faces.landmarks(size)]


def _sharpness(pictures, faces: FaceSet) -> float:
    inside = _inside(faces, pictures.shape[1])
    pairs = zip(batches.restore(pictures), inside, strict=True)
    return float(np.median([detect.sharpness(*pair) for pair in pairs]))


def compare(stream: Iterable[tuple]) -> dict:
    """Does a swap show? By the first face of each frame.

    Args:
        stream: (frame, generated image, layers), as `merge.paint_frames` gives.

    Returns:
        `frames`: how many were generated. `seam` of `metrics.MEASURES`, in ΔE; its
        `flicker`, as a multiple of the untouched footage's.
    """
    seams, flickers, last = [], [], deque(maxlen=3)
    for frame, image, layers in stream:
        if not layers:
            last.clear()
            continue
        points = layers[0].landmarks
        seams.append(metrics.seam(image, frame.image, points))
        own, inside = metrics.align(frame.image, points)
        last.append((metrics.align(image, points)[0], own, inside))
        if len(last) == 3:
            (*courses, insides) = zip(*last, strict=True)
            flickers.append([metrics.flicker(*c, insides[1]) for c in courses])
    if not seams:
        raise ValueError("No frame was generated; there is nothing to compare.")
    made, untouched = np.mean(flickers, 0) if flickers else (np.nan, np.nan)
    flicker = float(made / untouched)
    return {"seam": float(np.mean(seams)), "flicker": flicker, "frames": len(seams)}
