"""Faces from noise: a generator against a discriminator.

    gan = DCGAN.from_preset("small")
    gan.compile()
    run = training.Run("data/output/dcgan", gan, gan.config, steps=5000)
    run.fit(partial(photos.batches, files, gan.size))
    faces = gan.imagine(np.random.default_rng(0).normal(size=(64, gan.latent)))

Reference:
    Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks" (the networks and their settings); Zhao et al.
    2020, "Differentiable Augmentation for Data-Efficient GAN Training" (`augment`);
    Yazıcı et al. 2019, "The Unusual Effectiveness of Averaging in GAN Training" (the
    averaged generator); Shoemake 1985, "Animating Rotation with Quaternion Curves"
    (`walk`).
"""

import itertools

import keras
import numpy as np
from keras import layers, ops

from deepfakery import adversarial, checkpoints, losses, networks
from deepfakery.adversarial import Adam, for_each
from deepfakery.networks import LAST
from deepfakery.presets import look_up, name_of

#: Arguments of `build_generator` and `build_discriminator`, by name.
PRESETS = {
    # To the letter: 64 × 64, for a GPU.
    "radford": {
        "generator": {"widths": [1024, 512, 256, 128]},
        "discriminator": {"widths": [128, 256, 512, 1024]},
    },
    # A quarter of its width, for two CPU cores and an hour.
    "medium": {
        "generator": {"widths": [256, 128, 64, 32], "kernel": 4},
        "discriminator": {"widths": [32, 64, 128, 256], "kernel": 4},
    },
    # Half its side too, for minutes.
    "small": {
        "generator": {"widths": [256, 128, 64], "kernel": 4},
        "discriminator": {"widths": [32, 64, 128], "kernel": 4},
    },
}


def build_generator(
    latent: int = 100, widths=(1024, 512, 256, 128), kernel: int = 5, unit: bool = True
) -> keras.Model:
    """A model: noise (B, latent) → (B, S, S, 3), S = 4 · 2 ** len(widths).

    Args:
        latent: Numbers of noise.
        widths: Channels of the 4 × 4 map and after each doubling but the last.
        kernel: Side of the kernels.
        unit: Bring tanh's [-1, 1] to the [0, 1] of real pictures. Without it the two
            never share a range: a mistake that notebook 5 shows.
    """
    start = keras.initializers.RandomNormal(stddev=0.02)
    noise = keras.Input((latent,), dtype="float32", name="noise")
    x = layers.Dense(16 * widths[0], use_bias=False, kernel_initializer=start)(noise)
    x = layers.Reshape((4, 4, widths[0]))(x)
    for width in (*widths[1:], 3):
        x = layers.ReLU()(layers.BatchNormalization()(x))
        options = {"use_bias": width == 3, "kernel_initializer": start, **LAST}
        x = layers.Conv2DTranspose(width, kernel, 2, "same", **options)(x)
    x = layers.Activation("tanh", dtype="float32")(x)
    if unit:
        x = layers.Rescaling(0.5, 0.5, dtype="float32")(x)
    return keras.Model(noise, x, name="generator")


def build_discriminator(
    size: int = 64,
    widths=(128, 256, 512, 1024),
    kernel: int = 5,
    spectral: bool = False,
    activation: str = "linear",
) -> keras.Model:
    """A model: (B, size, size, 3) in [0, 1] → one score (B, 1), higher for real.

    Args:
        size: Side of the face in pixels.
        widths: Channels of each convolution of stride 2.
        kernel: Side of their kernels.
        spectral: Normalize kernels spectrally, instead of batches.
        activation: Of the score. Anything but "linear" is a mistake that notebook 5
            shows: the loss wants a number without bounds.
    """
    start = keras.initializers.RandomNormal(stddev=0.02)
    faces = keras.Input((size, size, 3), dtype="float32", name="face")
    x = layers.Rescaling(2.0, -1.0)(faces)
    for i, width in enumerate(widths):
        if spectral:
            x = networks.SpectralConv2D(width, kernel, 2)(x)
        else:
            options = {"kernel_initializer": start, **LAST}
            x = layers.Conv2D(width, kernel, 2, "same", **options)(x)
            x = layers.BatchNormalization()(x) if i else x  # the first keeps brightness
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Dense(1, kernel_initializer=start)(layers.Flatten(**LAST)(x))
    x = layers.Activation(activation, dtype="float32", name="score")(x)
    return keras.Model(faces, x, name="discriminator")


class DCGAN(keras.Model):
    """A generator and a discriminator that train against each other.

    `fit` takes (noise, photos) as `photos.batches` yields them.

    Args:
        preset: A name in `PRESETS`, or such a dict.
        latent: Numbers of noise.
    """

    def __init__(self, preset="small", latent: int = 100, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.preset = preset = look_up(preset, PRESETS)
        self.preset_name, self.latent = name_of(preset, PRESETS), latent
        with networks.precision():
            self.generator = build_generator(latent, **preset["generator"])
            size = self.size = self.generator.output_shape[1]
            self.discriminator = build_discriminator(size, **preset["discriminator"])
            self.averaged = keras.models.clone_model(self.generator)
        self.averaged.set_weights(self.generator.get_weights())
        self.averaged.trainable = False
        self.random = keras.random.SeedGenerator(0)
        self.adversarial = adversarial.metrics()
        self.built = True

    def compile(
        self,
        optimizer=None,
        *,
        kind: str = "cross_entropy",
        augment: bool = False,
        average: float = 0.999,
        **kwargs,
    ):
        """Choose how they train.

        Args:
            optimizer: A Keras optimizer; by default the paper's. `rates` makes others.
            kind: The adversarial loss, one of `losses.KINDS`.
            augment: Change what the discriminator sees at random, for few photos.
            average: How slowly the averaged generator follows, 0 to 1; 0: at once.
            **kwargs: Of `keras.Model.compile`.
        """
        if kind not in losses.KINDS:
            raise ValueError(f"{kind!r} is unknown; choose from {losses.KINDS}.")
        self.kind, self.augment, self.average = kind, augment, average
        super().compile(optimizer or Adam(2e-4, 0.5), **kwargs)

    @classmethod
    def from_preset(cls, name_or_folder) -> "DCGAN":
        """A new one from a named preset, or a trained one from its run folder."""
        if str(name_or_folder) in PRESETS:
            return cls(str(name_or_folder))
        return checkpoints.rebuild(
            name_or_folder, lambda config: cls(config["preset"], config["latent"])
        )

    def rates(self, generator: float, discriminator: float, momentum: float = 0.5):
        """An Adam with a learning rate for each network, for `compile`.

        Reference:
            Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge
            to a Local Nash Equilibrium"; Gidel et al. 2019, "Negative Momentum for
            Improved Game Dynamics" (why less momentum).
        """
        return for_each(
            (self.generator, Adam(generator, momentum)),
            (self.discriminator, Adam(discriminator, momentum)),
        )

    @property
    def config(self) -> dict:
        """What it takes to build this again, as plain JSON."""
        return {"preset": self.preset, "latent": self.latent}

    def sha256(self) -> str:
        """Fingerprint of the averaged generator, hexadecimal."""
        return checkpoints.sha256(self.averaged)

    def save_own_variables(self, store):
        store["random"] = ops.convert_to_numpy(self.random.state)

    def load_own_variables(self, store):
        self.random.state.assign(store["random"])

    def call(self, noise, training=False):
        """(B, latent) → (B, S, S, 3)."""
        return self.generator(noise, training=training)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        """Both networks' losses, in one backward pass."""
        real, fake = ops.convert_to_tensor(y), y_pred
        if self.augment and training:
            real, fake = self._augmented(real), self._augmented(fake)
        options = {"one_batch": False, "training": training}
        step = adversarial.step(self.discriminator, real, fake, self.kind, **options)
        step.record(self.adversarial)
        if training:
            pairs = zip(self.averaged.variables, self.generator.variables, strict=True)
            for slow, fast in pairs:
                if keras.backend.is_float_dtype(slow.dtype):
                    slow.assign(self.average * slow + (1 - self.average) * fast)
        return losses.per_replica(step.loss())

    def _augmented(self, images):
        """Brightness, contrast, place and a hole, each picture its own."""
        b, side = ops.shape(images)[0], self.size

        def uniform(shape, low, high):
            return keras.random.uniform(shape, low, high, seed=self.random)

        images = images + uniform((b, 1, 1, 1), -0.25, 0.25)
        mean = ops.mean(images, (1, 2, 3), keepdims=True)
        images = mean + (images - mean) * uniform((b, 1, 1, 1), 0.5, 1.5)
        at = ops.arange(side, dtype="float32")
        for axis, product in ((1, "bij,bjwc->biwc"), (2, "bij,bhjc->bhic")):
            # A shift as a product with a matrix of ones off its diagonal, grey behind.
            shift = ops.round(uniform((b, 1, 1), -side / 8, side / 8))
            moved = ops.abs(at[None, :, None] + shift - at[None, None]) < 0.5
            moved = ops.cast(moved, "float32")
            inside = ops.expand_dims(ops.sum(moved, -1), 3 - axis)[..., None]
            images = ops.einsum(product, moved, images) + 0.5 * (1 - inside)
        centres = uniform((b, 2), 0, side)
        away = [ops.abs(at[None] - centres[:, i : i + 1]) < side / 4 for i in (0, 1)]
        hole = ops.logical_and(away[0][:, :, None], away[1][:, None])
        hole = ops.cast(hole, "float32")[..., None]
        return images * (1 - hole) + 0.5 * hole

    def imagine(self, noise: np.ndarray) -> np.ndarray:
        """Noise (N, latent) → faces (N, S, S, 3) in [0, 1], by the averaged network."""
        noise = np.asarray(noise, np.float32)
        return networks.predict(self.averaged, noise).clip(0, 1)

    def discriminate(self, faces: np.ndarray) -> np.ndarray:
        """Faces (N, S, S, 3) in [0, 1] → (N,) scores, higher for real."""
        return networks.predict(self.discriminator, faces)[:, 0]


def invert(gan: DCGAN, photos: np.ndarray, steps: int = 300) -> np.ndarray:
    """The noise (N, latent) whose faces come nearest to some photos.

    Args:
        gan: A trained one.
        photos: (N, S, S, 3) float32 in [0, 1], cropped as those it was trained on.
        steps: Of gradient descent.

    Reference:
        Creswell & Bharath 2018, "Inverting the Generator of a Generative Adversarial
        Network".
    """
    photos = np.asarray(photos, np.float32)
    # From the nearest of some draws: noise of zeros may lie where no layer lets a
    # gradient through.
    draws = np.random.default_rng(0).standard_normal((256, gan.latent), np.float32)
    made = gan.imagine(draws)
    starts = [np.abs(made - photo).mean((1, 2, 3)).argmin() for photo in photos]
    # A layer whose weights are the noise, before a generator that stands still; noise
    # far from where it is drawn gives no face.
    n, options = len(photos), {"use_bias": False, "dtype": "float32"}
    near = keras.regularizers.L2(0.01 / (n * gan.latent))
    noise = layers.Dense(gan.latent, kernel_regularizer=near, **options)
    seeking = keras.Sequential([keras.Input((n,)), noise, gan.averaged])
    noise.set_weights([draws[starts]])
    seeking.compile(Adam(0.05), lambda y, x: losses.reconstruction_loss(y, x)[0])
    same = (pair for pair in itertools.repeat((np.eye(n, dtype="float32"), photos)))
    seeking.fit(same, steps_per_epoch=steps, shuffle=False, verbose=0)
    return noise.get_weights()[0]


def walk(stops: np.ndarray, frames: int = 30, loop: bool = True) -> np.ndarray:
    """Noise on the way from one face to the next, along arcs: (frames · N, latent).

    A straight line between two draws passes where noise is almost never drawn.

    Args:
        stops: (N, latent), at least two.
        frames: From each stop to the next.
        loop: Go back to the first at the end.
    """
    if len(stops) < 2:
        raise ValueError(f"A walk needs at least 2 stops, not {len(stops)}.")
    stops = np.asarray(stops, np.float64)
    stops = np.concatenate([stops, stops[:1]]) if loop else stops
    steps = np.linspace(0, 1, frames, endpoint=False)[:, None]
    out = []
    for a, b in itertools.pairwise(stops):
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        angle = np.arccos(np.clip(a @ b / max(np.prod(lengths), 1e-12), -1, 1))
        away, towards = np.sin((1 - steps) * angle), np.sin(steps * angle)
        if np.sin(angle) < 1e-6:  # the same way, or straight back: no arc is the one
            away, towards, angle = 1 - steps, steps, np.pi / 2
        out.append((away * a + towards * b) / np.sin(angle))
    return np.concatenate(out).astype(np.float32)
