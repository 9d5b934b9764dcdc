"""How fast faces are learned from noise: python -m tools.bench --only dcgan"""

import tempfile

import keras

from deepfakery import networks, samples
from deepfakery.studies import photos
from deepfakery.studies.dcgan import DCGAN
from tools.bench import train


def speed(preset: str = "small", batch: int = 64, steps: int = 8) -> dict:
    """Time the training step, and the loader that feeds it.

    Args:
        preset: A name in `dcgan.PRESETS`.
        batch: Photos at a time.
        steps: Steps timed.

    Returns:
        `dcgan.images_per_s`; `dcgan.peak_share`, the arithmetic of a step against what
        this machine's large convolutions of the same type reach; and
        `dcgan.loader_ratio`, how many times as many photos the loader reads alone as
        the step eats.
    """
    keras.utils.set_random_seed(0)
    gan = DCGAN(preset)
    gan.compile()
    with tempfile.TemporaryDirectory() as folder:
        files = samples.write_photos(folder, 8 * batch)
        feed = photos.batches(files, gan.size, batch)
        noise, real = next(feed)
        step = train._time(lambda: gan.train_on_batch(noise, real), steps)
        # What was read ahead while the step was timed is eaten first.
        for _ in range(photos.AHEAD):
            next(feed)
        # Together, for they come in bursts: several are made at once.
        many = 8 * photos.AHEAD
        read = train._time(lambda: [next(feed) for _ in range(many)], 3) / many
        feed.close()
    # Forwards once and backwards twice: the generator; the discriminator over real and
    # made faces; and over made ones once more, for the generator's sake (its own
    # weights' gradients are left out).
    work = 3 * train.products(gan.generator) + 8 * train.products(gan.discriminator)
    peak = train.convolution_peak(networks.best_precision().removeprefix("mixed_"))
    return {
        "dcgan.images_per_s": batch / step,
        "dcgan.peak_share": 2 * batch * work / step / peak,
        "dcgan.loader_ratio": step / read,
    }
