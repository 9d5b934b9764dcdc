"""Training batches: every step the same faces look a little different.

The encoder is fed a warped face and the decoder must paint the unwarped one, so the
encoder learns to read whose expression it is whatever the shape of the face: later
it is fed another person and treats them as a distorted version of the one it knows.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from deepfakery import faces
from deepfakery.faceset import FaceSet


def batches(
    facesets: dict[str, FaceSet],
    size: int,
    batch: int = 8,
    *,
    seed: int = 0,
    start: int = 0,
    warp: float = 0.03,
    rotate: float = 5.0,
    zoom: float = 0.05,
    shift: float = 0.02,
    flip: float = 0.0,
    colour: float = 0.05,
) -> Iterator[tuple[dict, dict]]:
    """Endless batches; the n-th is the same whenever and wherever it is asked for.

    Args:
        facesets: Identity → faces.
        size: Side of the network's faces in pixels.
        batch: Faces of each identity.
        seed: The only source of randomness.
        start: Number of the first batch, to go on where a run stopped.
        warp: Standard deviation of the warp, as a share of the side; 0 turns it off.
        rotate: Largest rotation in degrees, either way.
        zoom: Largest change of scale.
        shift: Largest shift, as a share of the side.
        flip: Share of faces mirrored. It doubles the poses of scarce footage, at the
            price of a parting or a mole that appears on both sides.
        colour: Largest change of each channel's gain.

    Yields:
        ({identity: warped (batch, size, size, 3)},
        {identity: target (batch, size, size, 4)}), float32 in [0, 1]; the target's
        fourth channel is the face mask.
    """
    # Half as large again as the network's faces, so that warping loses nothing.
    pictures = {n: _with_masks(f, size * 3 // 2) for n, f in facesets.items()}
    step = start
    while True:
        random = np.random.default_rng((seed, step))
        x, y = {}, {}
        for name, images in pictures.items():
            chosen = images[random.integers(len(images), size=batch)]
            pairs = [
                _vary(im, random, size, warp, rotate, zoom, shift, flip, colour)
                for im in chosen
            ]
            x[name] = np.stack([warped[..., :3] for warped, _ in pairs])
            y[name] = np.stack([target for _, target in pairs])
        yield x, y
        step += 1


def prepare(images: np.ndarray, size: int) -> np.ndarray:
    """Faces as the network reads them.

    Args:
        images: (N, H, H, 3) uint8.
        size: Side in pixels.

    Returns:
        (N, size, size, 3) float32 in [0, 1].
    """
    area = cv2.INTER_AREA
    small = [cv2.resize(im, (size, size), interpolation=area) for im in images]
    return np.stack(small).astype(np.float32) / 255


def _with_masks(faceset: FaceSet, side: int) -> np.ndarray:
    # (N, side, side, 4) uint8
    images = faceset.images(side)
    out = np.zeros((*images.shape[:3], 4), np.uint8)
    out[..., :3] = images
    for picture, points in zip(out, faceset.landmarks(side), strict=True):
        mask = np.zeros((side, side), np.uint8)
        outline = (faces.hull(points) * 16).round().astype(np.int32)
        cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_AA, shift=4)
        picture[..., 3] = mask
    return out


def _vary(picture, random, size, warp, rotate, zoom, shift, flip, colour):
    # Network pixels → picture pixels; both faces are read from the picture in one go.
    side = picture.shape[0]
    angle = np.radians(random.uniform(-rotate, rotate))
    scale = side / size * (1 + random.uniform(-zoom, zoom))
    a, b = float(scale * np.cos(angle)), float(scale * np.sin(angle))
    mirror = -1 if random.random() < flip else 1
    move = (0.5 + random.uniform(-shift, shift, 2)) * side - 0.5
    move = move.astype(np.float32)
    gain = 1 + random.uniform(-colour, colour, 3) + random.uniform(-colour, colour)

    def read(xs, ys):
        map_x = mirror * (a * xs - b * ys) + move[0]
        map_y = b * xs + a * ys + move[1]
        out = cv2.remap(
            picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        out *= np.float32([*gain / 255, 1 / 255])
        return np.minimum(out, 1, out=out)

    line = np.arange(size, dtype=np.float32) - (size - 1) / 2
    xs, ys = np.meshgrid(line, line)
    target = read(xs, ys)
    if not warp:
        return target, target
    # A 5 × 5 grid of displacements, interpolated to every pixel.
    offsets = random.normal(0, warp * size, (5, 5, 2)).astype(np.float32)
    offsets = cv2.resize(offsets, (size, size), interpolation=cv2.INTER_CUBIC)
    return read(xs + offsets[..., 0], ys + offsets[..., 1]), target
