"""How like a set of real faces a set of imagined ones is, as a whole.

One imagined face has no true picture to be compared with; a thousand of them have a
distribution. Each picture is described by dlib's 128 numbers, which know faces and
which nothing here is trained on. None of this is "FID": that name belongs to features
of the Inception network and to a protocol of its own.

Reference:
    Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a
    Local Nash Equilibrium" (the Fréchet distance); Bińkowski et al. 2018, "Demystifying
    MMD GANs" (the kernel distance).
"""

import cv2
import numpy as np

from deepfakery.faces import detect

#: Sides in pixels of what dlib's descriptor reads, and of where its detector looks.
CHIP, LOOK = 150, 256


def describe(pictures: np.ndarray, batch: int = 32) -> np.ndarray:
    """Descriptors of whole pictures, whether a face is found in them or not.

    Args:
        pictures: (N, S, S, 3) float32 in [0, 1], faces in their middle.
        batch: Pictures at a time.

    Returns:
        (N, 128) float32.
    """
    chips = _enlarged(pictures, CHIP)
    parts = [chips[i : i + batch] for i in range(0, len(chips), batch)]
    return np.concatenate([detect.describe_chips(part) for part in parts])


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """The distance between two sets as if both were normally distributed.

    It falls with the number of pictures, so only sets of one size compare.

    Args:
        real, made: (N, D) and (M, D).

    Returns:
        0 for the same mean and covariance; it has no upper end.

    Raises:
        ValueError: A set has fewer than two.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError("A distribution needs at least 2 pictures.")
    a, b = np.float64(real), np.float64(made)
    between = ((a.mean(0) - b.mean(0)) ** 2).sum()
    covariances = np.cov(a.T), np.cov(b.T)
    # The trace of the root of a product is that of a symmetric matrix like it.
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)
    total = sum(np.trace(c) for c in covariances) - 2 * np.sqrt(shared).sum()
    return float(max(0.0, between + total))


def kernel(real: np.ndarray, made: np.ndarray) -> float:
    """The squared distance of two sets' means in the space of all cubic features.

    Unlike the Fréchet distance it does not depend on how many pictures there are.

    Args:
        real, made: (N, D) and (M, D).

    Returns:
        About 0 for the same distribution, now and then a little below.

    Raises:
        ValueError: A set has fewer than two.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError("A distribution needs at least 2 pictures.")
    a, b = np.float64(real), np.float64(made)

    def similarity(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x):
        all_ = similarity(x, x)
        return (all_.sum() - np.trace(all_)) / (len(x) * (len(x) - 1))

    return float(among(a) + among(b) - 2 * similarity(a, b).mean())


def spread(described: np.ndarray) -> float:
    """Mean distance of two different pictures: a generator that collapsed has none.

    Args:
        described: (N, D), at least two.
    """
    x = np.float64(described)
    squares = (x**2).sum(1)
    away = squares[:, None] + squares - 2 * x @ x.T
    return float(np.sqrt(away.clip(0)).sum() / (len(x) * (len(x) - 1)))


def nearest(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Which real picture each made one is most like: copying would show.

    Args:
        made, real: (N, D) and (M, D).

    Returns:
        (N,) indices into `real`.
    """
    apart = (real**2).sum(1) - 2 * made @ real.T
    return apart.argmin(1)


def found(pictures: np.ndarray) -> float:
    """Share of pictures in which dlib finds a face.

    Args:
        pictures: (N, S, S, 3) float32 in [0, 1].
    """
    return float(np.mean([bool(detect.detect(p)) for p in _enlarged(pictures, LOOK)]))


def score(made: np.ndarray, real: np.ndarray, look: int = 200) -> dict:
    """All of this module's figures.

    Args:
        made: (N, S, S, 3) float32 in [0, 1].
        real: (M, 128) descriptors of real photos of the same size and crop; with M = N
            the Fréchet distance compares with that of real photos to real photos.
        look: In how many of them to look for a face.

    Returns:
        `frechet`; `kernel`; `found`, a share; `spread`, as a share of the real one.
    """
    described = describe(made)
    return {
        "frechet": frechet(real, described),
        "kernel": kernel(real, described),
        "found": found(made[:look]),
        "spread": spread(described) / spread(real),
    }


def _enlarged(pictures, side):
    """Pictures of any size as dlib wants them, (side, side, 3) uint8."""
    large = (
        cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        for picture in pictures
    )
    return [(picture.clip(0, 1) * 255).round().astype(np.uint8) for picture in large]
