"""Small pictures made large: a pyramid of doublings that adds what bicubic leaves out.

    upscaler = Upscaler()
    train(upscaler, "data/output/upscaler", partial(photos.pairs, files))
    large = upscaler.enlarge(pictures, 4)             # or `tiles.resize` to any size

Each stage doubles the picture. It works on the small one and ends in a *residual*, to
be added to the bicubic enlargement. The residuals of all stages add up, so one network
serves every factor, and a stage that has learned nothing yet is exactly bicubic.

Reference:
    Wang et al. 2018, "A Fully Progressive Approach to Single-Image Super-Resolution"
    (the asymmetric pyramid, the curriculum, a discriminator of residuals); Lim et al.
    2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution" (blocks
    without normalisation); Shi et al. 2016, "Real-Time Single Image and Video
    Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network"; Keys
    1981, "Cubic Convolution Interpolation for Digital Image Processing".
"""

import os
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from deepfakery import adversarial, checkpoints, losses, networks, training
from deepfakery.adversarial import Adam
from deepfakery.checkpoints import WEIGHTS
from deepfakery.networks import LAST
from deepfakery.presets import look_up, name_of

#: Arguments of `build_pyramid` and of `networks.build_discriminator`, by name.
PRESETS = {
    # The larger a map, the fewer blocks; two CPU cores train it in an hour.
    "light": {
        "pyramid": {"widths": [64, 32, 32, 16], "blocks": [6, 4, 2, 1]},
        "discriminator": {"widths": [32, 64, 128]},
    },
}

#: The curriculum: one stage after another, what is compiled and what it is fed. Each
#: begins where the one before ended.
STAGES = {
    "x2": {"steps": 1200, "factors": (2,), "batch": 16},
    "x4": {"steps": 2000, "factors": (2, 4), "batch": 16, "fade": 200},
    "x8": {"steps": 360, "factors": (2, 4, 8), "batch": 6, "patch": 160, "fade": 100},
    "adversarial": {"steps": 300, "factors": (2, 4, 8), "batch": 8, "train": "both"},
}

#: What can be trained, and Adam's learning rate and first momentum for it.
ADAM = {"pixels": (1e-3, 0.9), "both": (2e-4, 0.5)}

Conv2D = partial(layers.Conv2D, kernel_size=3, padding="same", **LAST)


@keras.saving.register_keras_serializable("deepfakery")
class Bicubic(layers.Layer):
    """(B, H, W, 3) → (B, k·H, k·W, 3): cubic convolution, the edges repeated.

    Not `ops.image.resize`: its cubics differ from backend to backend.
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = k = factor
        # Each pixel becomes k; each of them is a mixture of the five around it.
        places = (np.arange(k) + 0.5) / k - 0.5
        x = np.abs(places - np.arange(-2, 3)[:, None])  # (5, k) distances
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        taps = np.where(x <= 1, near, np.where(x < 2, far, 0))
        # (5, 1, 3, k·3): every colour by itself.
        kernel = np.einsum("tk,cd->tckd", taps, np.eye(3)).reshape(5, 1, 3, 3 * k)
        self.kernel = kernel.astype("float32")

    def call(self, x):
        kernel = ops.cast(ops.convert_to_tensor(self.kernel), x.dtype)
        for _ in range(2):  # rows; then columns, for the picture is turned
            x = ops.concatenate([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
            x = ops.conv(x, kernel, 1, "valid", **LAST)
            _, h, w, _ = ops.shape(x)
            x = ops.reshape(x, (-1, h, w, self.factor, 3))
            x = ops.transpose(x, (0, 2, 1, 3, 4))
            x = ops.reshape(x, (-1, w, h * self.factor, 3))
        return x

    def compute_output_shape(self, shape):
        b, h, w, c = shape
        return (b, h and h * self.factor, w and w * self.factor, c)


@keras.saving.register_keras_serializable("deepfakery")
class Share(layers.Layer):
    """A share of its input, from 0 to 1; kept with the weights, moved from outside."""

    def build(self, shape):
        self.share = self.add_weight(
            shape=(), initializer="ones", trainable=False, name="share"
        )

    def call(self, x):
        # Of a copy: PyTorch's gradients ask that nobody moves it before they are taken.
        return x * ops.cast(self.share + 0.0, x.dtype)


def build_pyramid(widths=(64, 32, 32, 16), blocks=(6, 4, 2, 1)) -> dict:
    """Factor → a model (B, H, W, 3) in [0, 1] → (B, factor·H, factor·W, 3).

    Of any height and width. All share their layers; the largest holds them all.

    Args:
        widths: Channels of each stage.
        blocks: Residual blocks of each stage.
    """
    small = keras.Input((None, None, 3), dtype="float32", name="small")
    x = Conv2D(widths[0], name="x2_first")(layers.Rescaling(1.0, -0.5)(small))
    models, residual = {}, None
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        factor = 2 ** (stage + 1)
        name = f"x{factor}"
        if stage:
            # Upwards from the stage before: four times as many pixels.
            x = networks.DepthToSpace()(Conv2D(4 * width, name=f"{name}_up")(x))
            x = layers.LeakyReLU(0.1)(x)
        for i in range(count):
            y = Conv2D(width, activation="relu", name=f"{name}_{i}_a")(x)
            # Near to doing nothing at first: a deep stack then trains at once.
            weak = keras.initializers.VarianceScaling(0.05)
            y = Conv2D(width, kernel_initializer=weak, name=f"{name}_{i}_b")(y)
            x = layers.Add()([x, y])
        own = Conv2D(
            12, kernel_initializer="zeros", dtype="float32", name=f"{name}_residual"
        )(x)
        own = networks.DepthToSpace(dtype="float32")(own)
        own = Share(dtype="float32", name=f"{name}_fade")(own)
        if residual is not None:
            coarser = Bicubic(2, dtype="float32")(residual)
            own = layers.Add(dtype="float32")([coarser, own])
        residual = own
        base = Bicubic(factor, dtype="float32")(small)
        large = layers.Add(dtype="float32", name=f"{name}_large")([base, residual])
        models[factor] = keras.Model(small, large, name=name)
    return models


class Upscaler(keras.Model):
    """A pyramid of doublings, and for each factor a discriminator.

    `fit` takes ({factor: small}, {factor: large}), as `photos.pairs` yields them.

    Args:
        preset: A name in `PRESETS`, or such a dict.
        precision: A Keras dtype policy; the best one of this machine by default.
    """

    def __init__(self, preset="light", precision=None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.preset = preset = look_up(preset, PRESETS)
        self.preset_name = name_of(preset, PRESETS)
        with networks.precision(precision):
            self.pyramid = build_pyramid(**preset["pyramid"])
            self.discriminators = {
                k: networks.build_discriminator(
                    None, **preset["discriminator"], name=f"discriminator_{k}"
                )
                for k in self.pyramid
            }
        self.factors = tuple(self.pyramid)
        self.whole = self.pyramid[self.factors[-1]]
        self._with_features = {
            k: adversarial.with_features(D) for k, D in self.discriminators.items()
        }
        self._bicubic = {k: Bicubic(k, dtype="float32") for k in self.factors}
        self.errors = {k: keras.metrics.Mean(f"x{k}_error") for k in self.factors}
        self.adversarial = adversarial.metrics()
        self.built = True

    def compile(
        self,
        optimizer=None,
        *,
        factors=(2, 4),
        train: str = "pixels",
        adversarial: float = 0.005,
        matching: float = 0.1,
        fade: int = 0,
        **kwargs,
    ):
        """Choose what trains, and on what.

        Args:
            optimizer: A Keras optimizer; by default Adam as in `ADAM`, clipped.
            factors: Which enlargements train; stages above the largest stand still.
            train: "pixels": on the mean absolute error alone; "both": against the
                discriminators too.
            adversarial, matching: Weights of the generator loss and of the feature
                matching loss, where both train.
            fade: Steps over which the largest stage that trains is faded in.
            **kwargs: Of `keras.Model.compile`.
        """
        for given, known in ((train, ADAM), *((k, self.pyramid) for k in factors)):
            if given not in known:
                raise ValueError(f"{given!r} is unknown; choose from {[*known]}.")
        self.trains, self.fade, self.weight = train, fade, (adversarial, matching)
        self.last = max(factors)
        for layer in self.whole.layers:
            stage, _, part = layer.name.partition("_")
            if part and stage[1:].isdecimal():
                layer.trainable = int(stage[1:]) <= self.last
        for k, D in self.discriminators.items():
            D.trainable = train == "both" and k in factors
        self._fading.assign(0.0 if fade else 1.0)
        if optimizer is None:
            # All kernels together, as the project's weights were trained.
            optimizer = Adam(*ADAM[train], global_clipnorm=1.0)
        super().compile(optimizer, **kwargs)

    @classmethod
    def from_preset(cls, name_or_path) -> "Upscaler":
        """A new one from a named preset, or a trained one from its run folder or from a
        file that `save_base` wrote with the preset "light".
        """
        if str(name_or_path) in PRESETS:
            return cls(str(name_or_path))
        if Path(name_or_path).suffix == ".npz":
            return cls().start_from(name_or_path)
        return checkpoints.rebuild(name_or_path, lambda config: cls(config["preset"]))

    def start_from(self, base: str | os.PathLike) -> "Upscaler":
        """Take over weights that `save_base` wrote, with errors as of `load_base`."""
        known = checkpoints.load_base(base, self.preset_name, pyramid=self.whole)
        self.whole.set_weights(known["pyramid"])
        return self

    def save_base(self, path: str | os.PathLike) -> None:
        """Write the pyramid as float16, without its discriminators."""
        checkpoints.save_base(path, pyramid=self.whole)

    def sha256(self) -> str:
        """Fingerprint of what enlarges, hexadecimal."""
        return checkpoints.sha256(self.whole)

    @property
    def config(self) -> dict:
        """What it takes to build this again, as plain JSON."""
        return {"preset": self.preset}

    @property
    def _fading(self):
        return self.whole.get_layer(f"x{self.last}_fade").share

    def call(self, small):
        """{factor: (B, H, W, 3)} → {factor: (B, factor·H, factor·W, 3)}."""
        return {k: self.pyramid[k](x) for k, x in small.items()}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        """Mean over factors of what `compile` chose."""
        total = 0.0
        for k, large in y_pred.items():
            real = ops.convert_to_tensor(y[k])
            error = losses.mean_absolute_error(real, large)
            self.errors[k].update_state(error)
            total += error
            if self.trains == "both":
                base = self._bicubic[k](ops.convert_to_tensor(x[k]))
                # The residual is scored: it is all that the pyramid adds.
                D, real, fake = self._with_features[k], real - base, large - base
                step = adversarial.step(D, real + 0.5, fake + 0.5, training=training)
                step.record(self.adversarial)
                total += step.loss(*self.weight)
        if training and self.fade:
            share = self._fading
            share.assign(ops.minimum(share + 1 / self.fade, 1.0))
        return losses.per_replica(total / len(y_pred))

    def enlarge(self, pictures: np.ndarray, factor: int) -> np.ndarray:
        """(N, H, W, 3) float32 in [0, 1] → (N, factor·H, factor·W, 3).

        By one of `factors`; the pictures fit in memory, `tiles.enlarge` takes any.
        """
        if factor not in self.pyramid:
            raise ValueError(f"factor must be one of {self.factors}, not {factor}.")
        pictures = np.asarray(pictures, np.float32)
        return networks.predict(self.pyramid[factor], pictures, 16).clip(0, 1)


@cache
def shipped() -> Upscaler:
    """The project's own upscaler, trained on faces; see weights/README.md."""
    return Upscaler.from_preset(WEIGHTS / "upscaler_light.npz")


def train(
    upscaler: Upscaler,
    folder: str | os.PathLike,
    feed,
    stages=STAGES,
    *,
    times: float = 1.0,
    seed: int = 0,
    after: str | os.PathLike | None = None,
    config: dict | None = None,
) -> dict[str, list]:
    """Go through a curriculum; interrupted, the same call goes on from there.

    Args:
        upscaler: What learns. In the end it is compiled as the last stage asks.
        folder: For a run a stage.
        feed: As `photos.pairs` with its files given: it is called with `factors`,
            `batch`, `patch`, `seed` and `start`.
        stages: Name → steps, and arguments of `Upscaler.compile` and `feed`.
        times: As many times the steps.
        seed: The only source of randomness.
        after: Folder of the run that the first stage goes on from, if any.
        config: What else is noted with the runs, such as `photos.fingerprint`; a run
            made with something else is refused.

    Returns:
        Name → history of that stage, as `training.Run.history`.
    """
    histories, known = {}, config or {}
    for name, stage in stages.items():
        stage = {"batch": 16, "patch": 96} | stage
        fed = {key: stage.pop(key) for key in ("batch", "patch")}
        steps = max(1, round(times * stage.pop("steps")))
        config = {**known, **upscaler.config, **stage, **fed, "seed": seed}
        if "fade" in stage:  # in full by the same share of the stage
            stage["fade"] = max(1, round(times * stage["fade"]))
        upscaler.compile(**stage)
        # However short a stage is, its curve has some fifteen points.
        options = {"every": min(20, max(1, steps // 15)), "after": after}
        place = Path(folder) / name
        run = training.Run(place, upscaler, config, steps=steps, **options)
        run.fit(partial(feed, factors=stage["factors"], seed=seed, **fed))
        histories[name], after = run.history, run.folder
    return histories
