"""The upscaler's network: a pyramid of doublings that adds what bicubic leaves out.

    models = build_pyramid(widths=(64, 32), blocks=(6, 4))
    large = models[4](small)              # (B, H, W, 3) → (B, 4·H, 4·W, 3)

Each stage doubles the picture. It works on the small one, where a processor has least
to do, and ends in a *residual*: what is to be added to the bicubic enlargement. The
residuals of all stages add up, so one network serves ×2, ×4, ×8 and ×16, and a stage
that has learned nothing yet adds nothing: it is exactly bicubic.

Reference:
    Wang et al. 2018, "A Fully Progressive Approach to Single-Image Super-Resolution"
    (the asymmetric pyramid); Lim et al. 2017, "Enhanced Deep Residual Networks for
    Single Image Super-Resolution" (blocks without normalisation); Shi et al. 2016,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network"; Keys 1981, "Cubic Convolution Interpolation for
    Digital Image Processing".
"""

from functools import partial

import keras
import numpy as np
from keras import layers, ops

from deepfakery import networks
from deepfakery.networks import LAST

Conv2D = partial(layers.Conv2D, **LAST)


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
        self.taps = np.where(x <= 1, near, np.where(x < 2, far, 0))

    def call(self, x):
        k = self.factor
        # (5, 3, k·3): every colour by itself.
        kernel = np.einsum("tk,cd->tckd", self.taps, np.eye(3)).reshape(5, 3, 3 * k)
        kernel = ops.cast(ops.convert_to_tensor(kernel.astype("float32")), x.dtype)
        x = ops.concatenate([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
        x = ops.conv(x, ops.expand_dims(kernel, 1), 1, "valid", **LAST)
        _, h, w, _ = ops.shape(x)
        x = ops.transpose(ops.reshape(x, (-1, h, w, k, 3)), (0, 1, 3, 2, 4))
        x = ops.reshape(x, (-1, h * k, w, 3))
        x = ops.concatenate(
            [x[:, :, :1], x[:, :, :1], x, x[:, :, -1:], x[:, :, -1:]], 2
        )
        x = ops.conv(x, ops.expand_dims(kernel, 0), 1, "valid", **LAST)
        return ops.reshape(x, (-1, h * k, w * k, 3))

    def compute_output_shape(self, shape):
        b, h, w, c = shape
        k = self.factor
        return (b, h and h * k, w and w * k, c)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


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
    """Small picture → large one, for every doubling.

    Args:
        widths: Channels of each stage. Its maps have twice the side of the one's
            before.
        blocks: Residual blocks of each stage.

    Returns:
        Factor → a model (B, H, W, 3) in [0, 1] → (B, factor·H, factor·W, 3), of any
        height and width. All of them share their layers; the largest holds them all.
    """
    small = keras.Input((None, None, 3), dtype="float32", name="small")
    x = Conv2D(widths[0], 3, padding="same", name="x2_first")(
        layers.Rescaling(1.0, -0.5)(small)
    )
    models, residual = {}, None
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        factor = 2 ** (stage + 1)
        name = f"x{factor}"
        if stage:
            # Upwards from the stage before: four times as many pixels.
            x = Conv2D(4 * width, 3, padding="same", name=f"{name}_up")(x)
            x = networks.DepthToSpace()(x)
            x = layers.LeakyReLU(0.1)(x)
        for i in range(count):
            y = Conv2D(
                width, 3, padding="same", activation="relu", name=f"{name}_{i}_a"
            )(x)
            y = Conv2D(
                width,
                3,
                padding="same",
                # Near to doing nothing at first: a deep stack then trains at once.
                kernel_initializer=keras.initializers.VarianceScaling(0.05),
                name=f"{name}_{i}_b",
            )(y)
            x = layers.Add()([x, y])
        own = Conv2D(
            12,
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype="float32",
            name=f"{name}_residual",
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
