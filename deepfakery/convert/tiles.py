"""Pictures of any size through the upscaler, a tile at a time, to any size.

A tile is enlarged with so much around it that its own pixels see all that they would
see in the whole picture: there are no seams.
"""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from deepfakery import networks
from deepfakery.batches import restore

#: Side of an enlarged tile in pixels, its neighbourhood included, at most.
SIDE = 1200

#: Grey levels, of 255, that a clip's noise is thought to have.
NOISE = 6.0
#: What to do with a picture of another shape than the wanted one.
FITS = ("pad", "crop", "stretch")


def reach(upscaler, factor: int) -> int:
    """How far a pixel enlarged by one of the `factors` sees, in small pixels."""
    blocks = upscaler.preset["pyramid"]["blocks"][: factor.bit_length() - 1]
    # Two convolutions a block, one upwards or to the residual; and bicubic, twice.
    stages = [(2 * count + 3) / 2**stage for stage, count in enumerate(blocks)]
    return int(np.ceil(1 + sum(stages)))  # 1: the very first convolution


def enlarge(picture: np.ndarray, upscaler, factor: int, side=None) -> np.ndarray:
    """Enlarge a picture of any size, a tile at a time.

    Args:
        picture: (H, W, 3) uint8.
        upscaler: An `Upscaler`.
        factor: One of its `factors`; others are a ValueError.
        side: Of a tile in small pixels, at most; by default as `SIDE` allows. One too
            small for its neighbourhood is a ValueError.

    Returns:
        (factor·H, factor·W, 3) uint8.
    """
    if factor not in upscaler.factors:
        raise ValueError(f"factor must be one of {upscaler.factors}, not {factor}.")
    rim = reach(upscaler, factor)
    side = side or max(SIDE // factor, 2 * rim + 32)
    if side <= 2 * rim:
        raise ValueError(f"A tile at ×{factor} needs a side above {2 * rim}.")
    high, wide = picture.shape[:2]
    out = np.empty((high * factor, wide * factor, 3), np.uint8)
    spans = (_spans(length, side, rim, factor) for length in (high, wide))
    for (rows, own_y, to_y), (columns, own_x, to_x) in itertools.product(*spans):
        tile = np.float32(picture[None, rows, columns]) / 255
        [large] = networks.predict(upscaler.pyramid[factor], tile)
        out[to_y, to_x] = restore(large[own_y, own_x])
    return out


def resize(picture: np.ndarray, upscaler, size, fit: str = "pad") -> np.ndarray:
    """Enlarge a picture by the smallest factor that suffices, then to exactly a size.

    Args:
        picture: (H, W, 3) uint8.
        upscaler: An `Upscaler`; None interpolates alone.
        size: (width, height) in pixels.
        fit: What to do with another shape: "pad" it with black, "crop" what is too
            much, or "stretch" it.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: `fit` is unknown or the size is none.
    """
    if fit not in FITS:
        raise ValueError(f"fit must be one of {FITS}, not {fit!r}.")
    (high, wide), (width, height) = picture.shape[:2], size
    if min(size) < 1:
        raise ValueError(f"A picture cannot be {width} × {height} pixels.")
    inner = width, height
    if fit != "stretch":
        scale = (min if fit == "pad" else max)(width / wide, height / high)
        inner = max(1, round(wide * scale)), max(1, round(high * scale))
    needed = max(inner[0] / wide, inner[1] / high)
    if upscaler is not None and needed > 1:
        factors = upscaler.factors
        factor = next((k for k in factors if k >= needed), factors[-1])
        picture = enlarge(picture, upscaler, factor)
    if picture.shape[1::-1] != inner:
        smaller = inner[0] <= picture.shape[1] and inner[1] <= picture.shape[0]
        kind = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        picture = cv2.resize(picture, inner, interpolation=kind)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    if fit == "crop":
        return picture[-top : height - top, -left : width - left]
    below, right = height - inner[1] - top, width - inner[0] - left
    return cv2.copyMakeBorder(picture, top, below, left, right, cv2.BORDER_CONSTANT)


def steady(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Small frames without the noise that would shimmer once they are enlarged.

    Where they change by less than about `NOISE` grey levels, they are averaged over
    time; where they change by more, something moved, and they are left alone.

    Args:
        frames: (H, W, 3) uint8, one after another; as many are yielded.
    """
    before = None
    for frame in frames:
        now = frame.astype(np.float32)
        if before is not None and before.shape == now.shape:
            # Compared as blurred: one pixel's noise is not motion.
            change = np.abs(cv2.blur(now - before, (5, 5))).max(-1, keepdims=True)
            keep = 0.75 * np.exp(-((2 * change / NOISE) ** 2))
            now += keep * (before - now)
        before = now
        yield now.round().astype(np.uint8)


def _spans(length, side, rim, factor):
    """Tiles along an axis: what each sees; its own part of that, and of the whole."""
    # At the picture's own edge nothing is missing. All tiles are of one size.
    count = 1 if length <= side else -(-length // (side - 2 * rim))
    inner = -(-length // count)
    for first in range(0, length, inner):
        start = max(0, min(first - rim, length - inner - 2 * rim))
        own = np.array([first, min(first + inner, length)]) * factor
        seen = slice(start, start + inner + 2 * rim)
        yield seen, slice(*own - start * factor), slice(*own)
