"""Faces from noise: a generator that imagines them, a discriminator that doubts them.

    gan = DCGAN.from_preset("small")
    gan.compile()
    run = training.Run("data/output/dcgan", gan, gan.config, steps=5000)
    run.fit(partial(photos.batches, files, gan.size, latent=gan.latent))
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

#: Arguments of `build_generator` and `build_discriminator`, by name. What the paper
#: left out, and we add, is in how they are compiled.
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
    """Noise → face.

    Args:
        latent: Numbers of noise.
        widths: Channels of the 4 × 4 map and after each doubling but the last.
        kernel: Side of the kernels.
        unit: Bring tanh's [-1, 1] to the [0, 1] of all our pictures. Without it, real
            pictures and made ones never share a range: a mistake worth seeing once.

    Returns:
        A model (B, latent) → (B, S, S, 3), S = 4 · 2 ** len(widths).
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
    """Face → one score.

    Args:
        size: Side of the face in pixels.
        widths: Channels of each convolution of stride 2.
        kernel: Side of their kernels.
        spectral: Normalise kernels spectrally, instead of batches.
        activation: Of the score. Anything but "linear" is a mistake: the loss wants a
            number that may be as large as the discriminator is sure.

    Returns:
        A model (B, size, size, 3) in [0, 1] → (B, 1), higher for real.
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
            # Not on what comes in, which would take away its brightness.
            x = layers.BatchNormalization()(x) if i else x
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
        precision: A Keras dtype policy; the best one of this machine by default.
    """

    def __init__(self, preset="small", latent: int = 100, precision=None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.preset = preset = look_up(preset, PRESETS)
        self.preset_name, self.latent = name_of(preset, PRESETS), latent
        with networks.precision(precision):
            self.generator = build_generator(latent, **preset["generator"])
            self.size = self.generator.output_shape[1]
            self.discriminator = build_discriminator(
                self.size, **preset["discriminator"]
            )
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
            augment: Show the discriminator real and made pictures changed at random,
                in ways that gradients pass: worth it where photos are few.
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
        # Whoever trained it may have noted more about the run.
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

    def sha256(self) -> str:
        """Fingerprint of what imagines, hexadecimal."""
        return checkpoints.sha256(self.averaged)

    @property
    def config(self) -> dict:
        """What it takes to build this again, as plain JSON."""
        return {"preset": self.preset, "latent": self.latent}

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
            for slow, fast in zip(
                self.averaged.variables, self.generator.variables, strict=True
            ):
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
            # A shift as a product with a matrix of ones off its diagonal; what is
            # shifted in is grey.
            shift = ops.round(uniform((b, 1, 1), -side / 8, side / 8))
            moved = ops.cast(
                ops.abs(at[None, :, None] + shift - at[None, None]) < 0.5, "float32"
            )
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


def invert(
    gan: DCGAN, photos: np.ndarray, steps: int = 300, rate: float = 0.05
) -> np.ndarray:
    """The noise whose faces come nearest to some photos.

    A generator can only make what it has learned to: what a photo loses on the way is
    what the generator does not know.

    Args:
        gan: A trained one.
        photos: (N, S, S, 3) float32 in [0, 1], cropped as those it was trained on.
        steps, rate: Of looking, and the learning rate.

    Returns:
        (N, latent) float32, for `gan.imagine`, or to walk from.

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
    # Noise that is trained, before a generator that is not. Far from where it is drawn
    # it makes what nobody has seen.
    n, options = len(photos), {"use_bias": False, "dtype": "float32"}
    near = keras.regularizers.L2(0.01 / (n * gan.latent))
    noise = layers.Dense(gan.latent, kernel_regularizer=near, **options)
    seeking = keras.Sequential([keras.Input((n,)), noise, gan.averaged])
    noise.set_weights([draws[starts]])
    seeking.compile(Adam(rate), lambda y, x: losses.reconstruction_loss(y, x)[0])
    same = (pair for pair in itertools.repeat((np.eye(n, dtype="float32"), photos)))
    seeking.fit(same, steps_per_epoch=steps, shuffle=False, verbose=0)
    return noise.get_weights()[0]


def walk(stops: np.ndarray, frames: int = 30, loop: bool = True) -> np.ndarray:
    """Noise on the way from one face to the next.

    A straight line between two draws of noise passes through places that noise almost
    never is in; the arc between them does not.

    Args:
        stops: (N, latent), at least two.
        frames: From each stop to the next.
        loop: Go back to the first at the end.

    Returns:
        (frames · N, latent), or (frames · (N - 1), latent) without the way back.
    """
    if len(stops) < 2:
        raise ValueError(f"A walk needs at least 2 stops, not {len(stops)}.")
    stops = np.asarray(stops, np.float64)
    stops = np.concatenate([stops, stops[:1]]) if loop else stops
    steps = np.linspace(0, 1, frames, endpoint=False)[:, None]
    out = []
    for a, b in zip(stops, stops[1:], strict=False):
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        angle = np.arccos(np.clip(a @ b / max(np.prod(lengths), 1e-12), -1, 1))
        away, towards = np.sin((1 - steps) * angle), np.sin(steps * angle)
        if np.sin(angle) < 1e-6:  # the same way, or straight back: no arc is the one
            away, towards, angle = 1 - steps, steps, np.pi / 2
        out.append((away * a + towards * b) / np.sin(angle))
    return np.concatenate(out).astype(np.float32)
