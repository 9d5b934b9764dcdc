"""Large pictures made small and bad, so that a network learns the way back.

    feed = pairs(files, factors=(2, 4))
    small, large = next(feed)     # {2: (B, 48, 48, 3), 4: …}, {2: (B, 96, 96, 3), 4: …}

Most pairs are only made smaller, as `shrink` does: what a benchmark asks. A share of
them is also blurred, noisy or saved as JPEG, as pictures in the world are. And what
our own networks paint can be given beside them (`remake`, `reimagine`): it has faults
of its own, which no blur or noise resembles.

Reference:
    Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with
    Pure Synthetic Data" (blur, then noise, then JPEG, each at random).
"""

from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from deepfakery import batches
from deepfakery.faces import detect, geometry
from deepfakery.media import images
from deepfakery.media.video import MediaError
from deepfakery.studies import dcgan, photos


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Make a picture smaller, bicubically and without aliasing.

    Args:
        picture: (H, W, 3) uint8.
        factor: A divisor of both sides.

    Returns:
        (H / factor, W / factor, 3) uint8.
    """
    height, width = picture.shape[:2]
    small = (width // factor, height // factor)
    return np.asarray(Image.fromarray(picture).resize(small, Image.Resampling.BICUBIC))


def degrade(
    picture: np.ndarray, factor: int, random: np.random.Generator
) -> np.ndarray:
    """Make a picture smaller and worse: each of blur, noise and JPEG now and then.

    Args:
        picture: (H, W, 3) uint8.
        factor: As for `shrink`.
        random: Chooses what, and how much.

    Returns:
        (H / factor, W / factor, 3) uint8.
    """
    if random.random() < 0.5:
        sigma = random.uniform(0.2, 0.8) * factor
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    small = shrink(picture, factor)
    if random.random() < 0.5:
        noise = random.normal(0, random.uniform(1, 10), small.shape)
        small = (small + noise).round().clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(40, 95))]
        _, code = cv2.imencode(".jpg", small[..., ::-1], quality)
        small = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]
    return small


def pairs(
    files: list,
    factors=(2, 4),
    patch: int = 96,
    batch: int = 16,
    *,
    seed: int = 0,
    start: int = 0,
    degraded: float = 0.5,
    made: dict | None = None,
    share: float = 0.15,
) -> Iterator[tuple[dict, dict]]:
    """Endless batches of pairs; the n-th is the same whenever it is asked for.

    A pair is a patch out of a photo at the photo's own resolution, mirrored or not, and
    the same patch made smaller. Every photo comes once before any comes again.

    Args:
        files: Paths of photos, each side at least `patch`.
        factors: How much smaller.
        patch: Side of the large ones in pixels, a multiple of every factor.
        batch: Pairs of each factor.
        seed: The only source of randomness.
        start: Number of the first batch, to go on where a run stopped.
        degraded: Share of pairs that are also made worse.
        made: Factor → (small, large) uint8 pictures, as from `remake` or `reimagine`.
        share: Of the pairs of such a factor that come from there.

    Yields:
        ({factor: (batch, patch / factor, patch / factor, 3)},
        {factor: (batch, patch, patch, 3)}), float32 in [0, 1].

    Raises:
        ValueError: `patch` is no multiple of a factor.
    """
    for factor in factors:
        if patch % factor:
            raise ValueError(f"patch={patch} is no multiple of the factor {factor}.")

    def one(picture, random):
        height, width = picture.shape[:2]
        if min(height, width) < patch:
            raise MediaError(f"{width} × {height} is smaller than patches of {patch}.")
        top, left = (
            random.integers(height - patch + 1),
            random.integers(width - patch + 1),
        )
        large = picture[top : top + patch, left : left + patch]
        large = np.ascontiguousarray(large[:, ::-1] if random.random() < 0.5 else large)
        small = {}
        for k in factors:
            bad = random.random() < degraded
            small[k] = degrade(large, k, random) if bad else shrink(large, k)
        return small, large

    for step, chosen in photos.stream(files, one, batch, seed=seed, start=start):
        x = {k: np.stack([small[k] for small, _ in chosen]) for k in factors}
        y = {k: np.stack([large for _, large in chosen]) for k in factors}
        for k in made or ():
            if k in x:
                random = np.random.default_rng((seed, 4, step, k))
                for i in np.flatnonzero(random.random(batch) < share):
                    x[k][i], y[k][i] = _piece(*made[k], k, patch, random)
        yield tuple(
            {k: v.astype(np.float32) / 255 for k, v in part.items()} for part in (x, y)
        )


def remake(swapper, identity: str, files: list, factor: int = 2) -> dict:
    """What a face swapper's autoencoder makes of faces, beside the faces themselves.

    Args:
        swapper: A trained `FaceSwapper`.
        identity: Whose decoder paints.
        files: Paths of photos of that person, or of many where the decoder paints
            many; the largest face of each is aligned.
        factor: How much larger the true faces are than the painted ones.

    Returns:
        {factor: (small, large)} for `pairs`, uint8.

    Raises:
        video.MediaError: No photo shows a face.
    """
    size = swapper.size * factor
    large = []
    for picture in images.read_each(files):
        for face in detect.detect(picture)[:1]:
            transform = geometry.alignment(face.landmarks, size)
            large.append(geometry.crop(picture, transform, size))
    if not large:
        raise MediaError(
            f"None of {len(files)} photos shows a face; give some that do."
        )
    painted, _ = swapper.swap(batches.prepare(large, swapper.size), identity)
    return {factor: (_bytes(painted), np.stack(large))}


def reimagine(gan, files: list, factor: int = 4, steps: int = 300) -> dict:
    """The nearest that a DCGAN comes to photos, beside the photos themselves.

    Args:
        gan: A trained `DCGAN`.
        files: Paths of photos; `photos.crop` is made of each.
        factor: How much larger the photos are than what it makes.
        steps: Of looking, as for `dcgan.invert`.

    Returns:
        {factor: (small, large)} for `pairs`, uint8.
    """
    size = gan.size * factor
    large = photos.read(files, size)
    wanted = np.stack([photos.crop(photo, gan.size) for photo in large])
    noise = dcgan.invert(gan, np.float32(wanted) / 255, steps)
    return {factor: (_bytes(gan.imagine(noise)), large)}


def _piece(small, large, factor, patch, random):
    """The same random piece of a small picture and of its large one."""
    i, side = random.integers(len(small)), patch // factor
    top, left = random.integers(small.shape[1] - side + 1, size=2)
    return (
        small[i, top : top + side, left : left + side],
        large[i, top * factor :, left * factor :][:patch, :patch],
    )


def _bytes(pictures):
    return (np.asarray(pictures).clip(0, 1) * 255).round().astype(np.uint8)
