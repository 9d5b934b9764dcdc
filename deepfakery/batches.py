"""Training batches: every step the same faces look a little different.

The encoder is fed a warped face and the decoder must generate the unwarped one, so the
encoder learns to read whose expression it is whatever the shape of the face: later
it is fed another person and treats them as a distorted version of the one it knows.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from scipy.optimize import brentq
from scipy.spatial import cKDTree
from scipy.special import softmax

from deepfakery.faces import geometry
from deepfakery.faces.faceset import FaceSet

#: Highest power of a rarity. Where all faces look alike, noise is not to decide.
MOST_POWER = 8


def batches(
    facesets: dict[str, FaceSet],
    size: int,
    batch: int = 8,
    *,
    seed: int = 0,
    start: int = 0,
    warp: float = 0.07,
    flip: float = 0.0,
    colour: float = 0.05,
    relight: float = 0.3,
    effective: float = 0.4,
) -> Iterator[tuple[dict, dict]]:
    """Endless batches; the n-th is the same whenever and wherever it is asked for.

    The target is the aligned face as it is, but for a mirror and for light (turned or
    shifted at random, it would only teach the decoder to blur), and its skin goes on
    beyond its mask: where the face that it is laid over is wider, skin must show.

    Args:
        facesets: Identity → faces.
        size: Side of the network's faces in pixels.
        batch: Faces of each identity.
        seed: The only source of randomness.
        start: Number of the first batch, to go on where a run stopped.
        warp: Largest standard deviation of the warp, as a share of the side; each face
            has its own, from 0 to this. 0 turns it off.
        flip: Share of faces mirrored. It doubles the poses of scarce footage, at the
            price of a parting or a mole that appears on both sides.
        colour: Largest change of brightness, and again of each channel, as a share.
        relight: Standard deviation, as a power of e, of a further change of brightness
            that the encoder alone sees; each channel's own is half of it. Whose colours
            a face has must not enter the latent.
        effective: Effective share of the faces, as for `draw_shares`; 1: all are drawn
            alike. A blink is three frames in a hundred, and a decoder that has hardly
            seen one keeps the eyes open.

    Yields:
        ({identity: warped (batch, size, size, 3)},
        {identity: target (batch, size, size, 5)}), float32 in [0, 1]; the target's
        fourth channel is the face mask, the fifth one covers eyes and mouth.
    """
    # Read half as large again as the network's faces: warping a small picture blurs it.
    large = min(size * 3 // 2, geometry.FACE_SIZE) if warp else size
    pictures = {n: f.images(large) for n, f in facesets.items()}
    targets = {n: _targets(f, size) for n, f in facesets.items()}
    shares = dict.fromkeys(facesets)  # None: all alike
    if effective < 1:
        shares = {n: draw_shares(rarity(f), effective) for n, f in facesets.items()}
    middles = np.mgrid[:size, :size][::-1].transpose(1, 2, 0) + np.float32(0.5)
    middles = middles.astype(np.float32)  # (size, size, 2), x and y of each pixel
    step = start
    while True:
        random = np.random.default_rng((seed, step))
        x, y = {}, {}
        for name in facesets:
            chosen = random.choice(len(targets[name]), size=batch, p=shares[name])
            mirrored = random.random((batch, 1, 1, 1)) < flip
            gain = 1 + random.uniform(-colour, colour, (batch, 1, 1, 3))
            gain = gain + random.uniform(-colour, colour, (batch, 1, 1, 1))
            fed, target = pictures[name][chosen], targets[name][chosen]
            if warp:
                offsets = random.normal(0, warp * size, (batch, 5, 5, 2))
                offsets *= random.uniform(0, 1, (batch, 1, 1, 1))
                warped = zip(fed, offsets, strict=True)
                fed = np.stack([_warp(picture, by, middles) for picture, by in warped])
            light = random.normal(0, relight, (batch, 1, 1, 1))
            light = light + random.normal(0, relight / 2, (batch, 1, 1, 3))
            x[name] = _scale(fed, gain / 255 * np.exp(light))
            masks = np.broadcast_to(np.float64(1 / 255), (batch, 1, 1, 2))
            y[name] = _scale(target, np.concatenate([gain / 255, masks], -1))
            if flip:
                x[name] = np.where(mirrored, x[name][:, :, ::-1], x[name])
                y[name] = np.where(mirrored, y[name][:, :, ::-1], y[name])
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


def restore(faces) -> np.ndarray:
    """Pictures of what a network gives, the way back of `prepare`: [0, 1] → uint8."""
    return (np.asarray(faces).clip(0, 1) * 255).round().astype(np.uint8)


def skin_beyond(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A face whose skin goes on beyond its mask, in place of hair and background.

    Args:
        image: (S, S, 3) uint8.
        mask: (S, S) in [0, 1]: how much each pixel is face.

    Returns:
        (S, S, 3) uint8: beyond the mask the colours of its nearest pixels, blurred.
    """
    size = len(image)
    depth = cv2.distanceTransform(np.uint8(mask > 0.5), cv2.DIST_L2, 5)
    inside = depth > 0.02 * size  # the edge itself is dark with hair and shadow
    if not inside.any():
        return image
    # Each pixel outside takes the colour of the nearest one inside.
    _, nearest = cv2.distanceTransformWithLabels(
        np.uint8(~inside), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, 3), np.float32)
    colours[nearest[inside]] = image[inside]
    skin = cv2.GaussianBlur(colours[nearest], (0, 0), 0.04 * size)
    alpha = (depth / (0.02 * size) - 0.5).clip(0, 1)[..., None]
    return (alpha * image + (1 - alpha) * skin).round().astype(np.uint8)


def rarity(faceset: FaceSet) -> np.ndarray:
    """How far each face's eyes and mouth look from those of the others.

    Returns:
        (N,), 1 on average: how far the eighth nearest look is, of eyes and of mouth.
    """
    side = 96
    places = geometry.mean_landmarks(side)[19:]
    greys = [cv2.cvtColor(im, cv2.COLOR_RGB2GRAY) for im in faceset.images(side)]
    total = np.zeros(len(greys))
    for points in (places[:12], places[12:]):
        (left, top), (right, bottom) = np.int32([points.min(0) - 5, points.max(0) + 6])
        parts = [grey[top:bottom, left:right] for grey in greys]
        looks = [cv2.resize(p, (24, 10), interpolation=cv2.INTER_AREA) for p in parts]
        looks = np.float32(looks).reshape(len(greys), -1)
        # Whatever the light; and as their eight largest variations, without noise.
        looks -= looks.mean(1, keepdims=True)
        looks /= looks.std(1, keepdims=True) + 1e-3
        looks -= looks.mean(0)
        _, _, axes = np.linalg.svd(looks, full_matrices=False)
        looks = looks @ axes[:8].T
        eighth = min(9, len(looks))  # a look is itself the first
        far = cKDTree(looks).query(looks, [eighth])[0][:, 0] + 1e-3
        total += far / far.mean()
    return total / 2


def draw_shares(rarities: np.ndarray, effective: float) -> np.ndarray:
    """How often each face is drawn: by a power of its rarity.

    The power is chosen for each face set: behind glasses a blink changes less of a
    picture than it does of bare eyes.

    Args:
        rarities: (N,), above 0, as of `rarity`. The highest two per cent count alike:
            one of them may be a mistake.
        effective: Kish's effective sample size, 1 / Σ share², that the draw is to have,
            as a share of N, 0 to 1.

    Returns:
        (N,), 1 in all.

    Reference:
        Kish 1965, "Survey Sampling".
    """
    logs = np.log(np.minimum(rarities, np.quantile(rarities, 0.98)))

    def excess(power):
        return 1 / np.square(softmax(power * logs)).sum() / len(logs) - effective

    reached = excess(MOST_POWER) < 0
    return softmax(logs * (brentq(excess, 0, MOST_POWER) if reached else MOST_POWER))


def _targets(faceset: FaceSet, size: int) -> np.ndarray:
    # (N, size, size, 5) uint8: RGB, the face, its eyes and mouth
    images, masks = faceset.images(size), faceset.masks(size)
    out = np.zeros((*images.shape[:3], 5), np.uint8)
    out[..., 3] = (masks * 255).round()
    parts = zip(out, images, masks, faceset.landmarks(size), strict=True)
    for target, image, mask, points in parts:
        target[..., :3] = skin_beyond(image, mask)
        target[..., 4] = _eyes_and_mouth(points, size)
    return out


def _eyes_and_mouth(points: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    for part in (points[36:42], points[42:48], points[48:60]):
        outline = (cv2.convexHull(part) * 16).round().astype(np.int32)
        cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_AA, shift=4)
    # With the lids and lips around them.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size // 32 * 2 + 1,) * 2)
    return cv2.dilate(mask, kernel)


def _warp(picture, offsets, middles):
    # A 5 × 5 grid of displacements, interpolated to every pixel.
    size = len(middles)
    offsets = offsets.astype(np.float32)
    offsets = cv2.resize(offsets, (size, size), interpolation=cv2.INTER_CUBIC)
    at = (middles + offsets) * (picture.shape[0] / size) - 0.5
    return cv2.remap(
        picture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _scale(pictures, factors):
    # (N, H, W, C) by (N, 1, 1, C), at most 1. NumPy goes through a row of pixels much
    # faster than through the channels of one.
    n, h, w, c = pictures.shape
    rows = np.tile(factors.astype(np.float32), (1, 1, w, 1)).reshape(n, 1, w * c)
    out = pictures.reshape(n, h, w * c) * rows
    return np.minimum(out, 1, out=out).reshape(n, h, w, c)
