"""The networks as functional Keras models: encoder, decoder and discriminator.

One encoder serves every identity; each identity has a decoder that generates its face.
Because all decoders read the same latent, a decoder can be given the latent of somebody
else's face: that is the whole trick of a face swap. A discriminator scores patches of a
face as real or generated.

Reference:
    The shared-encoder autoencoder of the first deepfakes (2017); Shi et al. 2016,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network" (the upscaling); Isola et al. 2017, "Image-to-Image
    Translation with Conditional Adversarial Networks" (the PatchGAN discriminator);
    Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks".
"""

import os
import shutil
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

# A user's ~/.keras/keras.json speaks of other projects: there numbers may be shorter,
# and channels come first. Here they are and come as every module expects.
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
LAST = {"data_format": "channels_last"}


def build_encoder(
    size: int = 64,
    widths=(64, 128, 256),
    kernel: int = 3,
    first_stride: int = 4,
    residual: int = 0,
    bottleneck: int = 256,
    reshape_channels: int = 128,
    latent_channels: int = 128,
    activation: str = "leaky_relu",
    normalized: bool = False,
    view: float = 1.0,
) -> keras.Model:
    """Face → latent.

    Args:
        size: Side of the face in pixels.
        widths: Channels of each strided convolution.
        kernel: Side of their kernels; the first one's is at least `first_stride`.
        first_stride: Stride of the first one; the others have stride 2.
        residual: Residual blocks after each strided convolution but the first.
        bottleneck: Units of the dense layer at the narrowest place.
        reshape_channels: Channels of the map that a second dense layer is reshaped to.
        latent_channels: Channels of the latent map.
        activation: Name of a Keras activation; a leaky ReLU has slope 0.1.
        normalized: Move faces to [-1, 1], and each bottleneck to mean 0 and variance 1.
            As they come, faces differ less from each other than all of them do from
            black; their latents are nearly the same, and the decoders generate one mean
            face for hundreds of steps (posterior collapse).
        view: Share of the side, around the middle, that is looked at; that part is a
            multiple of the product of all strides. What surrounds a face says whose it
            is, and nothing of what it does.

    Returns:
        A model (B, size, size, 3) in [0, 1] → (B, s, s, latent_channels), s twice
        the side at which the convolutions end.

    Reference:
        LeCun et al. 1998, "Efficient BackProp" (centred inputs); Ba et al. 2016, "Layer
        Normalization".
    """
    faces = x = keras.Input((size, size, 3), dtype="float32", name="face")
    if normalized:
        x = layers.Rescaling(2.0, -1.0)(x)
    if view < 1:
        x = layers.Cropping2D(round(size * (1 - view) / 2), **LAST)(x)
    x = _conv(x, widths[0], max(kernel, first_stride), first_stride, activation)
    for width in widths[1:]:
        x = _conv(x, width, kernel, 2, activation)
        for _ in range(residual):
            x = _residual(x, activation)
    s = x.shape[1]
    # All spatial order is lost here and found again: the latent says what the face
    # does, not where its pixels were.
    x = layers.Dense(bottleneck, name="bottleneck")(layers.Flatten(**LAST)(x))
    if normalized:
        x = layers.LayerNormalization(center=False, scale=False)(x)
    x = layers.Dense(s * s * reshape_channels)(x)
    x = layers.Reshape((s, s, reshape_channels))(x)
    x = _upscale(x, latent_channels, activation)
    return keras.Model(faces, x, name="encoder")


def build_decoder(
    latent_shape,
    widths=(64,),
    residual: int = 0,
    head_width: int = 128,
    pixel_shuffle: int = 4,
    head_kernel: int = 3,
    mask: bool = True,
    activation: str = "leaky_relu",
    name: str = "decoder",
) -> keras.Model:
    """Latent → face and mask.

    Args:
        latent_shape: (s, s, channels), as the encoder gives it.
        widths: Channels after each doubling.
        residual: Residual blocks after each doubling.
        head_width: Channels of the last convolution before the picture; 0: without.
        pixel_shuffle: Factor of the final sub-pixel convolution.
        head_kernel: Side of its kernel.
        mask: Also generate how much each pixel belongs to the face.
        activation: Name of a Keras activation; a leaky ReLU has slope 0.1.
        name: Name of the model.

    Returns:
        A model (B, s, s, channels) → (B, S, S, 4) in [0, 1]: RGB and the mask, or
        (B, S, S, 3) without one; S = s · 2 ** len(widths) · pixel_shuffle.
    """
    latent = keras.Input(latent_shape, dtype="float32", name="latent")
    x = latent
    for width in widths:
        x = _upscale(x, width, activation)
        for _ in range(residual):
            x = _residual(x, activation)
    if head_width:
        x = _conv(x, head_width, activation=activation)
    channels = (4 if mask else 3) * pixel_shuffle**2
    x = _convolve(x, channels, head_kernel)
    # Kept in float32 under mixed precision: the picture has more than 8 bits to give.
    x = layers.Activation("linear", dtype="float32")(x)
    if pixel_shuffle > 1:
        x = DepthToSpace(pixel_shuffle, dtype="float32")(x)
    x = layers.Activation("sigmoid", dtype="float32", name="generated")(x)
    return keras.Model(latent, x, name=name)


def build_discriminator(
    size: int | None = 64,
    widths=(32, 64, 128),
    kernel: int = 4,
    spectral: bool = True,
    activation: str = "leaky_relu",
    name: str = "discriminator",
) -> keras.Model:
    """Face → a score for each of its patches.

    Args:
        size: Side of the face in pixels; None: any.
        widths: Channels of each convolution of stride 2.
        kernel: Side of their kernels.
        spectral: Normalise every kernel spectrally.
        activation: Name of a Keras activation; a leaky ReLU has slope 0.2.
        name: Name of the model.

    Returns:
        A model (B, size, size, 3) in [0, 1] → (B, s, s, 1), s = size / 2 **
        len(widths): unbounded scores, higher for real, lower for generated. Their
        mean is the score of the face.
    """
    convolution = SpectralConv2D if spectral else partial(layers.Conv2D, **LAST)
    faces = keras.Input((size, size, 3), dtype="float32", name="face")
    x = layers.Rescaling(2.0, -1.0)(faces)
    for i, width in enumerate(widths):
        x = convolution(width, kernel, 2, padding="same")(x)
        x = _activate(x, activation, 0.2, name=f"feature_{i}")
    x = convolution(1, 3, padding="same")(x)
    x = layers.Activation("linear", dtype="float32", name="score")(x)
    return keras.Model(faces, x, name=name)


def _activate(x, activation, slope=0.1, name=None):
    if activation == "leaky_relu":
        return layers.LeakyReLU(slope, name=name)(x)
    return layers.Activation(activation, name=name)(x)


def _convolve(x, width, kernel=3, strides=1):
    return layers.Conv2D(width, kernel, strides, padding="same", **LAST)(x)


def _conv(x, width, kernel=3, strides=1, activation="leaky_relu"):
    return _activate(_convolve(x, width, kernel, strides), activation)


def _upscale(x, width, activation="leaky_relu"):
    x = _convolve(x, 4 * width)
    return _activate(DepthToSpace()(x), activation)


def _residual(x, activation):
    width = x.shape[-1]
    y = _conv(x, width, activation=activation)
    y = _convolve(y, width)
    return _activate(layers.Add()([x, y]), activation)


@keras.saving.register_keras_serializable("deepfakery")
class DepthToSpace(layers.Layer):
    """Sub-pixel shuffle: (B, H, W, r·r·C) → (B, r·H, r·W, C)."""

    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        _, h, w, c = ops.shape(x)
        r = self.factor
        x = ops.reshape(x, (-1, h, w, r, r, c // r**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, H, r, W, r, C)
        return ops.reshape(x, (-1, h * r, w * r, c // r**2))

    def compute_output_shape(self, shape):
        b, h, w, c = shape
        r = self.factor
        return (b, h and h * r, w and w * r, c // r**2)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class LatentBounds(layers.Layer):
    """The nearest latent that a decoder knows; as it comes until `adapt` was called.

    The latents of a person's faces lie in a few of their thousand dimensions. Somebody
    else's expression, which this person never showed, lies outside, and there a decoder
    generates blotches. So a latent is projected onto the principal axes of the known
    ones, and on each it is clipped to their range. An axis along which people differ on
    average is none of them: it says whose face is seen, not what the face does.

    Args:
        dimensions: Number of principal axes.

    Reference:
        Ravfogel et al. 2020, "Null It Out: Guarding Protected Attributes by Iterative
        Nullspace Projection".
    """

    def __init__(self, dimensions: int = 40, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.dimensions = dimensions

    def build(self, shape):
        length, k = int(np.prod(shape[1:])), self.dimensions
        shapes = {"mean": (length,), "axes": (k, length), "low": (k,), "high": (k,)}
        for name, of in {**shapes, "adapted": ()}.items():
            weight = self.add_weight(shape=of, initializer="zeros", name=name)
            setattr(self, name, weight)

    def adapt(self, latents: np.ndarray, others=()) -> None:
        """Learn where a person's latents (N, ...) lie; `others` are other people's
        means, each (length,). N may be smaller than `dimensions`."""
        flat = latents.reshape(len(latents), -1)
        mean = flat.mean(0)
        known = flat - mean
        if len(others):
            apart, _ = np.linalg.qr((np.stack(others) - mean).T)
            known = known - known @ apart @ apart.T
        _, _, axes = np.linalg.svd(known, full_matrices=False)
        axes = axes[: self.dimensions]
        axes = np.pad(axes, ((0, self.dimensions - len(axes)), (0, 0)))
        places = known @ axes.T
        self.set_weights([mean, axes, places.min(0), places.max(0), np.ones(())])

    def reset(self) -> None:
        """Leave latents as they come: the encoder learns on, and its latents move."""
        self.adapted.assign(0.0)

    def call(self, x):
        flat = ops.reshape(ops.cast(x, "float32"), (-1, self.mean.shape[0]))
        places = ops.matmul(flat - self.mean, ops.transpose(self.axes))
        places = ops.minimum(ops.maximum(places, self.low), self.high)
        known = ops.matmul(places, self.axes) + self.mean
        return ops.reshape(ops.where(self.adapted > 0, known, flat), ops.shape(x))

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("deepfakery")
class SpectralConv2D(layers.Layer):
    """A convolution whose kernel is divided by its largest singular value.

    It cannot stretch any input, so a discriminator made of it stays smooth enough to
    learn from. The singular value is tracked by one power iteration a training step.
    Arguments as of `keras.layers.Conv2D`.
    """

    # Not `keras.layers.SpectralNormalization`: that one overwrites the kernel in its
    # call, outside the optimizer, and no gradient reaches the kernel's length.

    def __init__(self, filters, kernel_size, strides=1, padding="same", **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.strides, self.padding = strides, padding

    def build(self, shape):
        side, width = self.kernel_size, self.filters
        kernel = side, side, shape[-1], width
        self.kernel = self.add_weight(shape=kernel, name="kernel")
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        own = {"initializer": "random_normal", "trainable": False}
        self.direction = self.add_weight(shape=(1, width), name="direction", **own)

    def call(self, inputs, training=False):
        kernel = ops.convert_to_tensor(self.kernel)
        matrix = ops.cast(ops.reshape(kernel, (-1, self.filters)), "float32")
        still = ops.stop_gradient(matrix)
        u = ops.cast(self.direction, "float32")
        v = ops.normalize(ops.matmul(u, ops.transpose(still)), axis=-1)
        u = ops.normalize(ops.matmul(v, still), axis=-1)
        if training:
            self.direction.assign(u)
        stretch = ops.sum(ops.matmul(v, matrix) * u)
        kernel = kernel / ops.cast(stretch, kernel.dtype)
        x = ops.conv(inputs, kernel, self.strides, self.padding, **LAST)
        return x + ops.cast(self.bias, x.dtype)

    def get_config(self):
        own = ("filters", "kernel_size", "strides", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def best_precision() -> str:
    """The fastest precision that training bears on this machine.

    Returns:
        "mixed_bfloat16" on a GPU, and on a CPU that multiplies in it faster than in
        float32: with AMX, or AMD's with AVX512-BF16. "float32" elsewhere; with Intel's
        AVX512-BF16 alone, every preset trained at two thirds of float32's speed (`make
        bench ONLY=train`).
    """
    has = _processor()
    fast = "amx_bf16" in has or {"AuthenticAMD", "avx512_bf16"} <= has
    return "mixed_bfloat16" if fast or has_gpu() else "float32"


def _processor() -> set[str]:
    """What Linux says of the processor, a word each."""
    said = Path("/proc/cpuinfo")
    return {*said.read_text().split()} if said.exists() else set()


def has_gpu() -> bool:
    """Whether there is something faster than a CPU."""
    if keras.backend.backend() == "torch":  # of which Keras lists no devices
        import torch

        return torch.cuda.is_available()
    return any("cpu" not in d.lower() for d in keras.distribution.list_devices())


def device() -> str:
    """What the networks run on, in a sentence; of a GPU left unused, what to do."""
    backend, place = keras.backend.backend(), "a GPU" if has_gpu() else "the CPU"
    said = f"{backend} runs on {place}, in {best_precision()}."
    there = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if has_gpu() or not there:
        return said
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    advice = f"install {backend} for CUDA and begin anew"
    if hidden in ("", "-1"):
        advice = f"unset CUDA_VISIBLE_DEVICES={hidden}, which hides it"
    elif backend == "tensorflow":
        advice = "run `make demo GPU=1`, or `pip install 'tensorflow[and-cuda]'`"
    return f"{said} There is a GPU that it does not see: {advice}."


@contextmanager
def precision(name: str | None = None):
    """Build networks in a Keras dtype policy, by default the machine's best one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or best_precision())
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def devices_of(model: keras.Model):
    """A context in which variables are laid where the model's are, on TensorFlow."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy else nullcontext()


def over_replicas(values):
    """The sum of what each replica of `tf.distribute` has; elsewhere as it is."""
    if keras.backend.backend() != "tensorflow":
        return values
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or not tf.distribute.has_strategy():
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)


def predict(model: keras.Model, data, batch: int = 64):
    """What a model makes of an array, a batch at a time, without making a data set."""
    parts = [data[i : i + batch] for i in range(0, len(data), batch)]
    # Of several devices each gives the whole batch.
    return np.concatenate([model.predict_on_batch(p)[: len(p)] for p in parts])
