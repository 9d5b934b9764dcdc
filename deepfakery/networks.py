"""The networks as functional Keras models: encoder and decoder.

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


@keras.saving.register_keras_serializable("deepfakery")
class DepthToSpace(layers.Layer):
    """Sub-pixel shuffle: (B, H, W, r·r·C) → (B, r·H, r·W, C)."""

    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        _, h, w, c = x.shape
        r = self.factor
        x = ops.reshape(x, (-1, h, w, r, r, c // r**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, H, r, W, r, C)
        return ops.reshape(x, (-1, h * r, w * r, c // r**2))

    def compute_output_shape(self, shape):
        b, h, w, c = shape
        r = self.factor
        return (b, h * r, w * r, c // r**2)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def _conv(x, width, kernel=3, strides=1, slope=0.1):
    x = layers.Conv2D(width, kernel, strides, padding="same")(x)
    return layers.LeakyReLU(slope)(x)


def _upscale(x, width, kernel=3):
    x = layers.Conv2D(4 * width, kernel, padding="same")(x)
    x = DepthToSpace()(x)
    return layers.LeakyReLU(0.1)(x)


def build_encoder(
    size: int = 64,
    widths=(64, 128, 256),
    stem: int = 4,
    latent: int = 256,
    depth: int = 128,
) -> keras.Model:
    """Face → latent.

    Args:
        size: Side of the face in pixels, a multiple of the product of all strides.
        widths: Channels of each strided convolution.
        stem: Stride and kernel of the first one; the others have stride 2.
        latent: Units of the bottleneck.
        depth: Channels of the latent map.

    Returns:
        A model (B, size, size, 3) in [0, 1] → (B, s, s, depth), s twice the side at
        which the convolutions end.
    """
    faces = keras.Input((size, size, 3), name="face")
    x = _conv(faces, widths[0], kernel=stem, strides=stem)
    for width in widths[1:]:
        x = _conv(x, width, strides=2)
    s = x.shape[1]
    # All spatial order is lost here and found again: the latent says what the face
    # does, not where its pixels were.
    x = layers.Dense(latent, name="bottleneck")(layers.Flatten()(x))
    x = layers.Dense(s * s * depth)(x)
    x = layers.Reshape((s, s, depth))(x)
    x = _upscale(x, depth)
    return keras.Model(faces, x, name="encoder")


def build_decoder(
    latent_shape,
    widths=(64,),
    refine: int = 128,
    shuffle: int = 4,
    name: str = "decoder",
) -> keras.Model:
    """Latent → face and mask.

    Args:
        latent_shape: (s, s, depth), as the encoder gives it.
        widths: Channels after each doubling.
        refine: Channels of the last convolution before the picture.
        shuffle: Factor of the final depth-to-space.
        name: Name of the model.

    Returns:
        A model (B, s, s, depth) → (B, S, S, 4) in [0, 1]: RGB, and how much each
        pixel belongs to the face; S = s · 2 ** len(widths) · shuffle.
    """
    latent = keras.Input(latent_shape, name="latent")
    x = latent
    for width in widths:
        x = _upscale(x, width)
    x = _conv(x, refine)
    x = layers.Conv2D(4 * shuffle**2, 3, padding="same")(x)
    # Kept in float32 under mixed precision: the picture has more than 8 bits to give.
    x = DepthToSpace(shuffle, dtype="float32")(x)
    x = layers.Activation("sigmoid", dtype="float32", name="painted")(x)
    return keras.Model(latent, x, name=name)
