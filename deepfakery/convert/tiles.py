"""Pictures of any size through the upscaler, a tile at a time, to any size.

    large = resize(picture, upscaler, (1920, 1080))

A tile is enlarged with so much of its neighbourhood around it that its own pixels see
all that they would see in the whole picture: so there are no seams to hide.
"""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from deepfakery import networks

#: Side of an enlarged tile in pixels, its neighbourhood included, at most. Larger ones
#: waste less on neighbourhoods, and take more memory.
SIDE = 1200

#: What to do with a picture of another shape than the wanted one.
FITS = ("pad", "crop", "stretch")


def reach(upscaler, factor: int) -> int:
    """How far an enlarged pixel sees, in small pixels.

    Args:
        upscaler: An `Upscaler`.
        factor: One of its `factors`.
    """
    blocks = upscaler.preset["pyramid"]["blocks"]
    far = 1.0  # the very first convolution
    for stage in range(factor.bit_length() - 1):
        # Two convolutions a block, one upwards or to the residual; and bicubic, twice.
        far += (2 * blocks[stage] + 3) / 2**stage
    return int(np.ceil(far))


def enlarge(
    picture: np.ndarray, upscaler, factor: int, side: int | None = None
) -> np.ndarray:
    """Enlarge a picture of any size, a tile at a time.

    Args:
        picture: (H, W, 3) uint8.
        upscaler: An `Upscaler`.
        factor: One of its `factors`.
        side: Of a tile in small pixels, its neighbourhood included, at most; by
            default as `SIDE` allows.

    Returns:
        (factor·H, factor·W, 3) uint8.

    Raises:
        ValueError: The tile is too small to hold a neighbourhood, or the factor is
            none of the upscaler's.
    """
    if factor not in upscaler.factors:
        raise ValueError(f"factor must be one of {upscaler.factors}, not {factor}.")
    height, width = picture.shape[:2]
    rim = reach(upscaler, factor)
    side = side or max(SIDE // factor, 2 * rim + 32)
    if side <= 2 * rim:
        raise ValueError(f"A tile at ×{factor} needs a side above {2 * rim}.")
    out = np.empty((height * factor, width * factor, 3), np.uint8)
    rows, columns = (_spans(length, side, rim) for length in (height, width))
    for (top, bottom, y0, y1), (left, right, x0, x1) in itertools.product(
        rows, columns
    ):
        tile = np.float32(picture[None, top:bottom, left:right]) / 255
        [large] = networks.predict(upscaler.pyramid[factor], tile)
        part = np.s_[
            (y0 - top) * factor : (y1 - top) * factor,
            (x0 - left) * factor : (x1 - left) * factor,
        ]
        out[y0 * factor : y1 * factor, x0 * factor : x1 * factor] = (
            (large[part].clip(0, 1) * 255).round().astype(np.uint8)
        )
    return out


def resize(
    picture: np.ndarray, upscaler, size: tuple[int, int], fit: str = "pad"
) -> np.ndarray:
    """Bring a picture to exactly a size.

    It is enlarged by the smallest factor that suffices, then made smaller to fit. What
    the largest factor does not reach is left to interpolation; a picture that is large
    enough is only made smaller.

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
    width, height = size
    if min(size) < 1:
        raise ValueError(f"A picture cannot be {width} × {height} pixels.")
    high, wide = picture.shape[:2]
    scales = [width / wide, height / high]
    if fit == "stretch":
        inner = width, height
    else:
        scale = min(scales) if fit == "pad" else max(scales)
        inner = max(1, round(wide * scale)), max(1, round(high * scale))
    needed = max(inner[0] / wide, inner[1] / high)
    if upscaler is not None and needed > 1:
        enough = [k for k in upscaler.factors if k >= needed]
        factor = enough[0] if enough else upscaler.factors[-1]
        picture = enlarge(picture, upscaler, factor)
    picture = _to(picture, inner)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    if fit == "crop":
        return picture[-top : height - top, -left : width - left]
    if (top, left) == (0, 0) and inner == (width, height):
        return picture
    out = np.zeros((height, width, 3), np.uint8)
    out[top : top + inner[1], left : left + inner[0]] = picture
    return out


def steady(frames: Iterable[np.ndarray], noise: float = 6.0) -> Iterator[np.ndarray]:
    """Small frames without the noise that would shimmer once they are enlarged.

    Where the picture changes by less than about `noise` from one frame to the next, it
    is averaged over time; where it changes by more, something moved, and it is left
    alone. The upscaler makes the same of the same pixels: what stands still before it
    stands still after it.

    Args:
        frames: (H, W, 3) uint8, one after another.
        noise: Grey levels, of 255.

    Yields:
        As many frames, (H, W, 3) uint8.
    """
    before = None
    for frame in frames:
        now = frame.astype(np.float32)
        if before is not None and before.shape == now.shape:
            # Compared as blurred: one pixel's noise is not motion.
            change = np.abs(cv2.blur(now - before, (5, 5))).max(-1, keepdims=True)
            keep = 0.75 * np.exp(-((2 * change / noise) ** 2))
            now += keep * (before - now)
        before = now
        yield now.round().astype(np.uint8)


def _spans(length, side, rim):
    """Tiles of one size along one axis: where each begins and ends, and the first and
    past the last pixel that it answers for."""
    # At the picture's own edge nothing is missing: there a tile sees what the whole
    # picture would.
    count = max(1, -(-(length - 2 * rim) // (side - 2 * rim)))
    inner = max(1, -(-(length - 2 * rim) // count))
    out, first = [], 0
    for i in range(count):
        at = max(0, min(i * inner, length - inner - 2 * rim))
        past = length if i == count - 1 else at + inner + rim
        out.append((at, min(length, at + inner + 2 * rim), first, past))
        first = past
    return out


def _to(picture, size):
    wide, high = picture.shape[1], picture.shape[0]
    if (wide, high) == size:
        return picture
    smaller = size[0] <= wide and size[1] <= high
    kind = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=kind)
