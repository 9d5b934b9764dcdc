"""A discriminator as a detector of generated faces; scores are higher for real.

    seen = pairs("clip.mp4", {"swap": (swapper, "hopper", {})})
    detector = build_detector()
    run = training.Run("data/output/detector", detector, {"seed": 0}, steps=200)
    run.fit(partial(batches, seen.real, seen.generated["swap"]))
    metrics.auc(judge(detector, seen.real), judge(detector, seen.generated["swap"]))

Reference:
    Rössler et al. 2019, "FaceForensics++: Learning to Detect Manipulated Facial Images"
    (a detector on aligned faces, and how compression wears it down); Durall et al.
    2019, "Unmasking DeepFakes with simple Features" (`build_spectral`); Zeiler & Fergus
    2014, "Visualizing and Understanding Convolutional Networks", section 4.2
    (`occlusion`).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from keras import layers
from scipy import ndimage

from deepfakery import networks
from deepfakery.adversarial import Adam
from deepfakery.convert import merge
from deepfakery.evaluate import metrics, tables
from deepfakery.faces import detect, geometry, tracking
from deepfakery.media import images
from deepfakery.media.video import Frame
from deepfakery.studies import photos

#: Side in pixels of the faces that a detector reads.
SIZE = 128


@dataclass(frozen=True)
class Pairs:
    """The same faces untouched and generated: nothing else differs."""

    real: np.ndarray  # (N, SIZE, SIZE, 3) uint8 RGB
    generated: dict[str, np.ndarray]  # swapper → the same faces by it, likewise
    frames: np.ndarray  # (N,) the frames' indices
    landmarks: np.ndarray  # (N, 68, 2) pixels of the faces as they are here


def pairs(
    source: str | os.PathLike, swappers: dict, size: int = SIZE, limit: int = 300
) -> Pairs:
    """Cut out the largest face of each frame, as it was and as swappers swap it.

    Both come from one decoded frame: what is exported is encoded once more than its
    target, and a detector would learn that.

    Args:
        source: A clip, or a folder of photos.
        swappers: Name → (swapper, identity, what is to differ from `merge.LOOK`).
        size: Side of the faces in pixels.
        limit: Frames: the first of a clip, or photos spread evenly over a folder.

    Raises:
        ValueError: No face was found.
    """
    is_clip = not Path(source).is_dir()
    if is_clip:
        stream = tracking.follow_clip(source)
    else:
        files = images.list_files(source)
        pictures = enumerate(images.read_each(files[:: max(1, len(files) // limit)]))
        stream = detect.detect_each(Frame(i, 0.0, 0, im, None) for i, im in pictures)
    found = [(frame, seen) for frame, seen in islice(stream, limit) if seen]
    if not found:
        raise ValueError(f"{source} shows no face; give footage that does.")
    points = [seen[0].landmarks for _, seen in found]
    places = [geometry.alignment(marks, size) for marks in points]

    def cut(pictures):
        crops = zip(pictures, places, strict=True)
        return np.stack([geometry.crop(image, place, size) for image, place in crops])

    generated = {}
    for name, (swapper, identity, look) in swappers.items():
        made = merge.paint_stream(found, swapper, identity, steady=is_clip, **look)
        generated[name] = cut(image for _, image, _ in made)
    return Pairs(
        cut(frame.image for frame, _ in found),
        generated,
        np.array([frame.index for frame, _ in found]),
        np.stack([*map(geometry.transform_points, points, places)]),
    )


def build_detector(size: int = SIZE, widths=(32, 64, 128, 128)) -> keras.Model:
    """The swapper's discriminator, a map deeper, compiled to be trained alone.

    `widths` as for `networks.build_discriminator`; (B, size, size, 3) in [0, 1] →
    (B, 1), the mean score of all patches.
    """
    with networks.precision():
        # No spectral normalization: no generator here learns from it.
        D = networks.build_discriminator(size, widths, spectral=False)
    score = layers.GlobalAveragePooling2D(**networks.LAST, dtype="float32")(D.output)
    detector = keras.Model(D.input, score, name="detector")
    detector.compile(
        Adam(1e-3),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
    )
    return detector


def batches(
    real: np.ndarray,
    generated: np.ndarray,
    batch: int = 16,
    *,
    seed: int = 0,
    start: int = 0,
    augmented: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches, half real and half generated; the n-th is always the same.

    Args:
        real, generated: (N, S, S, 3) and (M, S, S, 3) uint8.
        batch: Faces of each kind.
        seed: The only source of randomness.
        start: Number of the first batch.
        augmented: Degrade two of three faces by one of `DEGRADATIONS`, at random
            strength.

    Yields:
        (faces (2 · batch, S, S, 3) float32 in [0, 1], (2 · batch, 1): 1 for real).
    """
    labels, kinds = np.repeat(np.float32([[1], [0]]), batch, axis=0), (real, generated)
    while True:
        random = np.random.default_rng((seed, start))
        chosen = [kind[random.integers(len(kind), size=batch)] for kind in kinds]
        chosen = np.concatenate(chosen)
        if augmented:
            chosen = np.stack([_worn(face, random) for face in chosen])
        mirrored = random.random((2 * batch, 1, 1, 1)) < 0.5
        chosen = np.where(mirrored, chosen[:, :, ::-1], chosen)
        # Light and white balance differ from clip to clip.
        gain = 1 + random.uniform(-0.2, 0.2, (2 * batch, 1, 1, 1))
        gain = gain + random.uniform(-0.05, 0.05, (2 * batch, 1, 1, 3))
        yield np.minimum(chosen * np.float32(gain / 255), 1), labels
        start += 1


def shrink(face: np.ndarray, share: float = 0.5) -> np.ndarray:
    """A face made smaller, and large again as a detector needs it."""
    small = cv2.resize(face, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blur(face: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """A face out of focus; `sigma` in pixels."""
    return cv2.GaussianBlur(face, (0, 0), sigma)


#: Name → (function, whose defaults are a test, and the range of its strength that an
#: augmented detector is trained on).
DEGRADATIONS = {
    "JPEG 50": (photos.jpeg, (30, 95)),
    "half size": (shrink, (0.4, 1.0)),
    "blur": (blur, (0.3, 2.0)),
}


def _worn(face, random):
    change, ends = list(DEGRADATIONS.values())[random.integers(3)]
    strength = random.uniform(*ends)
    return face if random.random() < 1 / 3 else change(face, strength)


def judge(detector: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """A detector's scores of (N, S, S, 3) uint8 faces: (N,), higher for real."""
    return networks.predict(detector, np.float32(pictures) / 255)[:, 0]


def spectrum(pictures: np.ndarray) -> np.ndarray:
    """Log power by spatial frequency, averaged over directions.

    (N, S, S, 3) uint8 → (N, S / 2), coarsest to finest.
    """
    side = pictures.shape[1]
    window = np.hanning(side)[:, None] * np.hanning(side)  # no edges where it ends
    grey = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures])
    power = np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2
    at, rings = np.fft.fftfreq(side, 1 / side), np.arange(1, side // 2 + 1)
    radius = np.hypot(at[:, None], at).round()
    return np.stack([ndimage.mean(np.log(p + 1e-3), radius, rings) for p in power])


def build_spectral(real: np.ndarray, generated: np.ndarray) -> Callable:
    """A detector without a network: Fisher's linear discriminant on `spectrum`.

    Both kinds (N, S, S, 3) uint8 → a function: faces, likewise → scores (N,).
    """
    kinds = [spectrum(kind) for kind in (real, generated)]
    means = [kind.mean(0) for kind in kinds]
    within = sum(np.cov(kind.T) for kind in kinds)
    # Shrunk towards a sphere, for neighbouring rings are correlated.
    within += 0.01 * np.trace(within) / len(within) * np.eye(len(within))
    across = np.linalg.solve(within, means[0] - means[1])
    return lambda pictures: (spectrum(pictures) - sum(means) / 2) @ across


def measure(cases: dict, judges: dict, draws: int = 1000, seed: int = 0):
    """How well detectors tell real from generated, with intervals.

    Args:
        cases: Name → (real, generated, frames in a block of the bootstrap); the faces
            are the same in both, in order of time.
        judges: Detector → a function: faces → scores, higher for real.
        draws, seed: As for `tables.interval`.

    Returns:
        A table, a row a case and detector: `case`, `detector`, `auc`, `low` and `high`
        (95 %), `faces` of each kind, `block`.
    """
    rows = []
    for case, (real, generated, block) in cases.items():
        block = max(1, min(block, len(real) // 4))
        samples = tables.draw_blocks(len(real), block, draws, seed)
        for name, judging in judges.items():
            a, b = judging(real), judging(generated)
            drawn = [metrics.auc(a[chosen], b[chosen]) for chosen in samples]
            spread = np.percentile(drawn, (2.5, 97.5))
            rows.append((case, name, metrics.auc(a, b), *spread, len(real), block))
    names = ["case", "detector", "auc", "low", "high", "faces", "block"]
    return pd.DataFrame(rows, columns=names)


def occlusion(judging: Callable, pictures: np.ndarray, patch=24, step=8) -> np.ndarray:
    """Where a detector looks: how its score changes when a patch is hidden.

    Args:
        judging: Faces (N, S, S, 3) uint8 → scores (N,).
        pictures: (N, S, S, 3) uint8.
        patch, step: Side of the grey patch, and from one place to the next, in pixels.

    Returns:
        (N, S, S): by how much the score rises, on average, where the pixel is hidden:
        high where it spoke for generated.
    """
    count, side = pictures.shape[:2]
    before = judging(pictures)
    total, times = np.zeros((count, side, side), np.float32), np.zeros((side, side))
    for y, x in product(range(0, side - patch + 1, step), repeat=2):
        hidden, box = pictures.copy(), np.s_[y : y + patch, x : x + patch]
        hidden[:, *box] = pictures.mean((1, 2), keepdims=True).astype(np.uint8)
        total[:, *box] += (judging(hidden) - before)[:, None, None]
        times[box] += 1
    return total / np.maximum(times, 1)
