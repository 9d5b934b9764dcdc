"""How good is a swap? Whose face it shows, and how near it comes to the true swap.

The identity descriptor is dlib's. No network of ours is ever trained on it, so that
it can judge.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity
from tqdm import tqdm

from deepfakery import faces, images


def identity(
    source: str | os.PathLike,
    painted: np.ndarray,
    target: np.ndarray,
    *,
    among: set[int] | None = None,
    workers: int | None = None,
) -> dict:
    """Whom a finished clip or folder of frames shows.

    Args:
        source: The clip, folder or photo to judge.
        painted: (N, 128) descriptors of the person who was painted.
        target: (M, 128) descriptors of the person who was there before.
        among: Indices of the frames that were painted; all frames by default.
        workers: Processes; one a core by default.

    Returns:
        `frames`: how many were judged. `found_fraction`: share in which dlib finds a
        face. `verified_fraction`: share whose descriptor lies under 0.6 from the
        painted person's mean and nearer to it than to the target person's; a frame
        without a face counts against. `nearer_fraction`: the second condition alone.
        `distance_painted`, `distance_target`: median distances to the two means.
        `distances`: (frames, 2) array of both, nan where no face was found.
    """
    means = np.stack([painted.mean(0), target.mean(0)])
    frames = images.read_source(source)
    if among is not None:
        frames = (f for f in frames if f.index in among)
    distances = []
    total = images.count_frames(source) if among is None else len(among)
    with tqdm(total=total, unit="frame", desc="whose face is it") as bar:
        for _, found in faces.detect_each(frames, True, workers):
            row = [np.nan, np.nan]
            if found:
                row = np.linalg.norm(means - found[0].descriptor, axis=1)
            distances.append(row)
            bar.update()
    distances = np.reshape(distances, (-1, 2))
    seen = np.isfinite(distances[:, 0])
    nearer = distances[:, 0] < distances[:, 1]
    verified = nearer & (distances[:, 0] < faces.SAME_PERSON)
    median = np.median(distances[seen], axis=0) if seen.any() else [np.nan, np.nan]
    return {
        "frames": len(distances),
        "found_fraction": float(seen.mean()),
        "verified_fraction": float(verified.mean()),
        "nearer_fraction": float(nearer.mean()),
        "distance_painted": float(median[0]),
        "distance_target": float(median[1]),
        "distances": distances,
    }


def against_truth(
    source: str | os.PathLike,
    truth: str | os.PathLike,
    *,
    every: int = 5,
    size: int = 128,
    workers: int | None = None,
) -> dict:
    """How near a swap comes to the true swap, inside the face.

    Both faces are aligned by their own landmarks, so that the two people's different
    head shapes do not count, and compared inside the true face's outline.

    Args:
        source: The swapped clip.
        truth: The same motion played by the painted person.
        every: Judge every n-th frame.
        size: Side of the aligned faces in pixels.
        workers: Processes; one a core by default.

    Returns:
        `ssim`: mean structural similarity, 1 at best. `psnr`: mean in dB.

    Raises:
        ValueError: No frame shows a face in both.
    """

    def look(path: Path):
        frames = (f for f in images.read_source(path) if f.index % every == 0)
        for frame, found in faces.detect_each(frames, workers=workers):
            if found:
                points = found[0].landmarks
                transform = faces.alignment(points, size)
                aligned = faces.crop(frame.image, transform, size)
                yield frame.index, (aligned, faces.transform_points(points, transform))

    true_faces = dict(look(truth))
    ssim, psnr = [], []
    for index, (made, _) in look(source):
        if index not in true_faces:
            continue
        true, points = true_faces[index]
        inside = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(inside, faces.hull(points, 0).round().astype(np.int32), 1)
        inside = inside.astype(bool)
        _, local = structural_similarity(made, true, channel_axis=2, full=True)
        ssim.append(local[inside].mean())
        error = (made[inside].astype(np.float64) - true[inside]) ** 2
        psnr.append(10 * np.log10(255**2 / max(error.mean(), 1e-6)))
    if not ssim:
        raise ValueError(f"{source} and {truth} show no face in the same frame.")
    return {"ssim": float(np.mean(ssim)), "psnr": float(np.mean(psnr))}
