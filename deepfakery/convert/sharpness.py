"""Give a painted face the sharpness and the grain of the frame it goes into.

A small network paints softly; a large one paints a face sharper than an old clip ever
was. Either way it looks pasted on.
"""

import cv2
import numpy as np

#: Pixels by which colours are blurred: about what video leaves of them, at half size.
COLOUR = 1.0

#: Beyond doubling its detail a soft face is not sharper, only ringed.
MOST = 1.0


def fit(painted, own, weight, grains: bool = True) -> np.ndarray:
    """Compare a painted face with the frame's own, at the frame's resolution.

    Args:
        painted, own: (H, W, 3) float32 in [0, 1].
        weight: (H, W) float32, where to look.
        grains: Whether to look for grain.

    Returns:
        (2,) float32: what to do to sharpness (above 0, how much unsharp masking; below,
        a blur of that many pixels), and the grain's standard deviation, to be added.
    """
    inside = weight > 0.9
    if inside.sum() < 64:
        return np.zeros(2, np.float32)
    a, b = (
        cv2.cvtColor(np.ascontiguousarray(i), cv2.COLOR_RGB2GRAY)
        for i in (painted, own)
    )
    grain = 0.0
    if grains:
        grain = np.sqrt(max(_noise(b, inside) ** 2 - _noise(a, inside) ** 2, 0))
    # Grain is no detail: it is taken out before comparing.
    a, b = (_blur(grey, 0.7) for grey in (a, b))
    wanted = _crispness(b, inside)
    gain = wanted / max(_crispness(a, inside), 1e-3) - 1
    if gain >= 0:
        return np.float32([min(gain, MOST), grain])
    blurs = np.arange(0.25, 4, 0.25)
    left = [abs(_crispness(_blur(a, sigma), inside) - wanted) for sigma in blurs]
    return np.float32([-blurs[np.argmin(left)], grain])


def smooth_colour(painted: np.ndarray) -> np.ndarray:
    """Blur the colours of a face, (S, S, 3) float32 in [0, 1], not its brightness.

    A sub-pixel convolution gives neighbouring pixels colours of their own, which show
    as specks on skin and as fringes along rims.
    """
    parts = cv2.cvtColor(painted, cv2.COLOR_RGB2YCrCb)
    parts[..., 1:] = _blur(parts[..., 1:], COLOUR)
    return cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB).clip(0, 1)


def sharpen(painted: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Sharpen a face as it was painted, (S, S, 3) float32, by what `fit` found."""
    # Its pixels are the finest detail it has.
    amount = float(fitted[0])
    if amount <= 0:
        return painted
    return (painted + amount * (painted - _blur(painted, 1))).clip(0, 1)


def finish(face: np.ndarray, fitted: np.ndarray, seed: int) -> np.ndarray:
    """Soften a face in its frame, (H, W, 3) uint8, and give it that frame's grain."""
    amount, grain = (float(value) for value in fitted)
    if amount < -0.1:
        face = _blur(face, -amount)
    if grain > 1e-3:
        noise = np.random.default_rng(seed).standard_normal(face.shape[:2], np.float32)
        face = (face + 255 * grain * noise[..., None]).clip(0, 255).round()
    return face.astype(np.uint8)


def _blur(image, sigma):
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _crispness(grey, inside):
    # Fine detail over coarse: strong features alone, such as glasses, are not crisp.
    fine, coarse = _blur(grey, 1.4), _blur(grey, 5.6)
    return (grey - fine)[inside].std() / max((fine - coarse)[inside].std(), 1e-4)


def _noise(grey, inside):
    """Standard deviation of white noise, told from detail by its median.

    Reference:
        Immerkær 1996, "Fast Noise Variance Estimation".
    """
    kernel = np.float32([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    response = np.abs(cv2.filter2D(grey, -1, kernel)[inside])
    return np.median(response) / 0.6745 / 6
