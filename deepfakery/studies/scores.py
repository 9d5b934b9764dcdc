"""How good generated faces are as a set, and enlarged photos one by one.

    figures = score(gan.imagine(noise), describe(photos))
    table = compare(WAYS | {"ours": by(upscaler)}, photos, factor=4)

A set is compared with a set of photos by dlib's 128 numbers of each picture, on which
nothing here is trained. It is not "FID", whose features are the Inception network's. An
enlarged photo is compared with the photo: PSNR and SSIM reward a blur wherever the
network cannot know; sharpness and the distance of descriptors do not.

Reference:
    Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a
    Local Nash Equilibrium" (the Fréchet distance); Bińkowski et al. 2018, "Demystifying
    MMD GANs" (the kernel distance); Wang et al. 2004, "Image Quality Assessment: From
    Error Visibility to Structural Similarity" (with its Gaussian window). Luma and
    border as in the super-resolution literature since Yang et al. 2010.
"""

from functools import partial

import cv2
import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist, pdist
from skimage.metrics import structural_similarity

from deepfakery.batches import restore
from deepfakery.evaluate import metrics
from deepfakery.faces import detect
from deepfakery.studies import photos


def describe(pictures: np.ndarray) -> np.ndarray:
    """Descriptors of whole pictures, whether a face is found in them or not.

    Pictures (N, S, S, 3) float32 in [0, 1], faces in their middle → (N, 128) float32.
    """
    chips = _enlarged(pictures, 150)  # which dlib's descriptor reads
    parts = [chips[i : i + 32] for i in range(0, len(chips), 32)]
    return np.concatenate([detect.describe_chips(part) for part in parts])


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """The distance of two sets, (N, D) and (M, D), as if normally distributed; 0 up.

    It falls with the number of pictures, so only sets of one size compare.
    """
    a, b = _at_least_two(real, made)
    between = ((a.mean(0) - b.mean(0)) ** 2).sum()
    spreads = np.cov(a.T), np.cov(b.T)
    # The trace of the root of a product is the sum of its eigenvalues' roots.
    shared = np.sqrt(np.linalg.eigvals(spreads[0] @ spreads[1]).real.clip(0)).sum()
    return float(max(0.0, between + np.trace(sum(spreads)) - 2 * shared))


def kernel(real: np.ndarray, made: np.ndarray) -> float:
    """The squared distance of two sets' means in the space of all cubic features.

    Unlike the Fréchet distance it does not depend on how many pictures there are; of
    the same distribution it is about 0, now and then a little below.
    """
    a, b = _at_least_two(real, made)
    within, across = [], (a @ b.T / a.shape[1] + 1) ** 3
    for x in (a, b):
        alike = (x @ x.T / x.shape[1] + 1) ** 3
        within.append((alike.sum() - np.trace(alike)) / (len(x) * (len(x) - 1)))
    return float(sum(within) - 2 * across.mean())


def _at_least_two(*sets) -> list[np.ndarray]:
    if min(map(len, sets)) < 2:
        raise ValueError("A distribution needs at least 2 pictures.")
    return [np.float64(one) for one in sets]


def spread(described: np.ndarray) -> float:
    """Mean distance of two pictures of (N, D): 0 where a generator has collapsed."""
    return float(pdist(described).mean())


def nearest(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Which of (M, D) real pictures each of (N, D) made ones is most like: (N,)."""
    return cdist(made, real).argmin(1)


def found(pictures: np.ndarray) -> float:
    """Share of pictures, as for `describe`, in which dlib finds a face."""
    return float(np.mean([bool(detect.detect(p)) for p in _enlarged(pictures, 256)]))


def score(made: np.ndarray, real: np.ndarray) -> dict:
    """All figures of a set of generated faces.

    Args:
        made: (N, S, S, 3) float32 in [0, 1].
        real: (N, 128) descriptors of as many photos of the same size and crop.

    Returns:
        `frechet`; `kernel`; `found`, the share of the first 200 that dlib finds;
        `spread`, as a share of the real one.
    """
    described = describe(made)
    return {
        "frechet": frechet(real, described),
        "kernel": kernel(real, described),
        "found": found(made[:200]),
        "spread": spread(described) / spread(real),
    }


def _enlarged(pictures, side):
    """Pictures of any size as dlib wants them, (side, side, 3) uint8."""
    size, cubic = (side, side), cv2.INTER_CUBIC
    large = (cv2.resize(picture, size, interpolation=cubic) for picture in pictures)
    return [restore(picture) for picture in large]


def _resized(small, factor, kind):
    size = small.shape[2] * factor, small.shape[1] * factor
    return np.stack([np.asarray(Image.fromarray(p).resize(size, kind)) for p in small])


#: Enlarging without a network: name → a function of (N, H, W, 3) uint8 and a factor.
WAYS = {
    "bicubic": partial(_resized, kind=Image.Resampling.BICUBIC),
    "Lanczos": partial(_resized, kind=Image.Resampling.LANCZOS),
}


def by(upscaler):
    """A network's way, for `compare`."""
    return lambda small, k: restore(upscaler.enlarge(np.float32(small) / 255, k))


def compare(ways: dict, pictures: np.ndarray, factor: int) -> dict:
    """Make photos small, enlarge them in several ways, and measure.

    Args:
        ways: Name → a function of small pictures and a factor, as in `WAYS`.
        pictures: (N, H, W, 3) uint8, sides multiples of the factor.
        factor: How much smaller.

    Returns:
        Name → means: `psnr_y` in dB and `ssim`, both of the luma, without a border of
        `factor` pixels; `sharpness`, the variance of the Laplacian as a share of the
        photo's own; `distance` of the descriptors of enlarged faces and the photos' own
        (under 0.6 is one person); `faces`, on how many of the first 200 that rests.
    """
    small = np.stack([photos.shrink(picture, factor) for picture in pictures])
    seen = [detect.detect(picture) for picture in pictures[:200]]
    places = [(i, faces[0].landmarks) for i, faces in enumerate(seen) if faces]
    own = [detect.descriptor(pictures[i], points) for i, points in places]
    table = {}
    for name, enlarge in ways.items():
        large = enlarge(small, factor)
        theirs = [detect.descriptor(large[i], points) for i, points in places]
        pairs = list(zip(large, pictures, strict=True))
        lumas = [[_luma(picture, factor) for picture in pair] for pair in pairs]
        sharp = [[max(detect.sharpness(p), 1e-6) for p in pair] for pair in pairs]
        apart = np.linalg.norm(np.array(theirs) - np.array(own), axis=-1)
        table[name] = {
            "psnr_y": float(np.mean([metrics.psnr(*pair) for pair in lumas])),
            "ssim": float(np.mean([_ssim(*pair) for pair in lumas])),
            "sharpness": float(np.mean([a / b for a, b in sharp])),
            "distance": float(apart.mean()) if places else float("nan"),
            "faces": len(places),
        }
    return table


def _luma(picture, border) -> np.ndarray:
    """(H, W, 3) uint8 without a border → float64, 16 to 235, as ITU-R BT.601 has it."""
    inner = picture[border:-border, border:-border]
    return 16 + inner @ np.array([65.481, 128.553, 24.966]) / 255


def _ssim(large, true) -> float:
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(large, true, data_range=255, **window)
