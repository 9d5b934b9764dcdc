"""How near an enlarged picture comes to the one that was made small.

    table = compare(WAYS | {"ours": by(upscaler)}, photos, factor=4)

Two of the figures ask whether pixels are right, one whether the picture is as sharp,
and one whether it is still the same person. The first two reward a blur wherever the
network cannot know; the last two do not.

Reference:
    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity" (with its Gaussian window); the luma and the border left out are those
    of the super-resolution literature since Yang et al. 2010.
"""

import cv2
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from deepfakery.faces import detect
from deepfakery.studies import degrade

#: Enlarging without a network: name → a function of (N, H, W, 3) uint8 and a factor.
WAYS = {
    name: lambda small, factor, kind=kind: np.stack(
        [
            np.asarray(
                Image.fromarray(p).resize(
                    (p.shape[1] * factor, p.shape[0] * factor), kind
                )
            )
            for p in small
        ]
    )
    for name, kind in (
        ("bicubic", Image.Resampling.BICUBIC),
        ("Lanczos", Image.Resampling.LANCZOS),
    )
}


def luma(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (H, W) float64, 16 to 235, as ITU-R BT.601 has it."""
    return 16 + picture @ np.array([65.481, 128.553, 24.966]) / 255


def psnr_y(large: np.ndarray, true: np.ndarray, border: int) -> float:
    """Peak signal-to-noise ratio of the luma in dB, without a border.

    Args:
        large, true: (H, W, 3) uint8.
        border: Pixels left out at each edge.
    """
    inner = np.s_[border:-border, border:-border]
    error = np.mean((luma(large)[inner] - luma(true)[inner]) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def ssim_y(large: np.ndarray, true: np.ndarray, border: int) -> float:
    """Structural similarity of the luma, without a border; as `psnr_y`."""
    inner = np.s_[border:-border, border:-border]
    return float(
        structural_similarity(
            luma(large)[inner],
            luma(true)[inner],
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def compare(ways: dict, photos: np.ndarray, factor: int, look: int = 200) -> dict:
    """Make photos small, enlarge them in several ways, and measure.

    Args:
        ways: Name → a function of (N, H, W, 3) uint8 small pictures and a factor, to
            large ones; such as those of `WAYS`.
        photos: (N, H, W, 3) uint8, sides multiples of the factor.
        factor: How much smaller.
        look: In how many of them to look for a face, whose descriptor is compared.

    Returns:
        Name → means: `psnr_y` in dB; `ssim`; `sharpness`, the variance of the
        Laplacian as a share of the photo's own; `distance`, of dlib's descriptors of
        the enlarged face and of the photo's (0.6 and less is taken for one person);
        and `faces`, on how many that rests.
    """
    small = np.stack([degrade.shrink(photo, factor) for photo in photos])
    found = [detect.detect(photo) for photo in photos[:look]]
    places = [(i, f[0].landmarks) for i, f in enumerate(found) if f]
    own = [detect.descriptor(photos[i], points) for i, points in places]
    table = {}
    for name, enlarge in ways.items():
        large = enlarge(small, factor)
        pairs = list(zip(large, photos, strict=True))
        theirs = [detect.descriptor(large[i], points) for i, points in places]
        sharp = [_detail(a) / max(_detail(b), 1e-6) for a, b in pairs]
        apart = np.linalg.norm(np.array(theirs) - np.array(own), axis=-1)
        table[name] = {
            "psnr_y": float(np.mean([psnr_y(a, b, factor) for a, b in pairs])),
            "ssim": float(np.mean([ssim_y(a, b, factor) for a, b in pairs])),
            "sharpness": float(np.mean(sharp)),
            "distance": float(apart.mean()) if places else float("nan"),
            "faces": len(places),
        }
    return table


def by(upscaler, batch: int = 16):
    """A network's way, for `compare`."""

    def enlarge(small, factor):
        large = upscaler.enlarge(np.float32(small) / 255, factor, batch)
        return (large * 255).round().astype(np.uint8)

    return enlarge


def _detail(picture):
    return cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
