"""The networks as functional Keras models: encoder and decoder, and the presets.

One encoder serves every identity and one decoder each paints a single one. Because
all decoders read the same latent, a decoder can be handed the latent of somebody
else's face: that is the whole trick of a face swap.

Reference:
    The shared-encoder autoencoder of the first deepfakes (2017); Shi et al. 2016,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network" (the upscaling).
"""

import keras
from keras import layers, ops

#: Arguments of `build_encoder` and `build_decoder`, by name.
PRESETS = {
    # Two CPU cores can train it in minutes.
    "light": {
        "size": 64,
        "encoder": {"widths": (32, 64, 128, 256), "latent": 256, "depth": 128},
        "decoder": {"widths": (96, 48, 32), "residual": 0},
    },
}


@keras.saving.register_keras_serializable("deepfakery")
class DepthToSpace(layers.Layer):
    """Sub-pixel shuffle: (B, H, W, 4·C) → (B, 2·H, 2·W, C)."""

    def call(self, x):
        _, h, w, c = x.shape
        x = ops.reshape(x, (-1, h, w, 2, 2, c // 4))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, H, 2, W, 2, C)
        return ops.reshape(x, (-1, 2 * h, 2 * w, c // 4))

    def compute_output_shape(self, shape):
        b, h, w, c = shape
        return (b, 2 * h, 2 * w, c // 4)


def _conv(x, width, kernel=3, strides=1, slope=0.1):
    x = layers.Conv2D(width, kernel, strides, padding="same")(x)
    return layers.LeakyReLU(slope)(x)


def _upscale(x, width, kernel=3):
    x = layers.Conv2D(4 * width, kernel, padding="same")(x)
    x = DepthToSpace()(x)
    return layers.LeakyReLU(0.1)(x)


def _residual(x, width):
    y = _conv(x, width)
    y = layers.Conv2D(width, 3, padding="same")(y)
    return layers.LeakyReLU(0.1)(layers.Add()([x, y]))


def build_encoder(
    size: int = 64, widths=(32, 64, 128, 256), latent: int = 256, depth: int = 256
) -> keras.Model:
    """Face → latent.

    Args:
        size: Side of the face in pixels, a multiple of 2 ** len(widths).
        widths: Channels of each stride-2 convolution.
        latent: Units of the bottleneck.
        depth: Channels of the latent map.

    Returns:
        A model (B, size, size, 3) in [0, 1] → (B, s, s, depth), s = size /
        2 ** (len(widths) - 1).
    """
    faces = keras.Input((size, size, 3), name="face")
    x = faces
    for width in widths:
        x = _conv(x, width, kernel=5 if width == widths[0] else 3, strides=2)
    s = size // 2 ** len(widths)
    x = layers.Dense(latent)(layers.Flatten()(x))
    x = layers.Dense(s * s * depth)(x)
    x = layers.Reshape((s, s, depth))(x)
    x = _upscale(x, depth)
    return keras.Model(faces, x, name="encoder")


def build_decoder(
    latent_shape, widths=(128, 64, 32), residual: int = 1, name: str = "decoder"
) -> keras.Model:
    """Latent → face and mask.

    Args:
        latent_shape: (s, s, depth), as the encoder gives it.
        widths: Channels after each doubling; the last doubling ends in the picture.
        residual: Residual blocks after each doubling.
        name: Name of the model.

    Returns:
        A model (B, s, s, depth) → (B, S, S, 4) in [0, 1]: RGB, and how much each
        pixel belongs to the face; S = s · 2 ** len(widths).
    """
    latent = keras.Input(latent_shape, name="latent")
    x = latent
    for width in widths[:-1]:
        x = _upscale(x, width)
        for _ in range(residual):
            x = _residual(x, width)
    x = _conv(x, widths[-1])
    x = layers.Conv2D(16, 3, padding="same")(x)
    # Kept in float32 under mixed precision: the picture has more than 8 bits to give.
    x = DepthToSpace(dtype="float32")(x)
    x = layers.Activation("sigmoid", dtype="float32", name="painted")(x)
    return keras.Model(latent, x, name=name)
