"""The loss functions: reconstruction, adversarial, feature matching.

Reference:
    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity" (SSIM; DSSIM is half its distance from 1). Lim & Ye 2017, "Geometric
    GAN" (the hinge); Mao et al. 2017, "Least Squares Generative Adversarial Networks";
    Goodfellow et al. 2014, "Generative Adversarial Nets", section 3 (cross-entropy that
    does not saturate).
"""

import keras
import numpy as np
from keras import ops

from deepfakery import networks

#: The adversarial losses.
KINDS = ("hinge", "least_squares", "cross_entropy")


def reconstruction_loss(target, generated, weight=None, mae=1.0, dssim=0.5):
    """How far a generated face is from the one it should be: mae · MAE + dssim · DSSIM.

    Args:
        target: (B, H, W, C) in [0, 1].
        generated: The same shape.
        weight: (B, H, W, 1) weights, or None for equal ones.
        mae, dssim: Weights of the two terms.

    Returns:
        The loss and the mean absolute error alone, two scalars.

    Reference:
        Zhao et al. 2017, "Loss Functions for Image Restoration with Neural Networks"
        (the sum of both terms).
    """
    error = mean_absolute_error(target, generated, weight)
    loss = mae * error
    if dssim:
        loss += dssim * structural_dissimilarity(target, generated, weight)
    return loss, error


def mean_absolute_error(target, generated, weight=None):
    """Mean absolute error, a scalar; arguments as of `reconstruction_loss`."""
    return _mean(ops.abs(target - generated), weight)


def structural_dissimilarity(
    target, generated, weight=None, window: int = 7, stride: int | None = None
):
    """Structural dissimilarity, (1 - SSIM) / 2 in [0, 1], over windows of that side.

    Arguments as of `reconstruction_loss`. The windows lie `stride` pixels apart, by
    default so that about 32 of them make a row, and no pixel lies between them.
    """

    # The window slides as two products with a band matrix: on a CPU that is several
    # times as fast as pooling three channels, and it is the same on every backend.
    def blur(x):  # (B, C, H, W)
        return ops.matmul(ops.matmul(rows, x), columns)

    _, h, w, _ = target.shape
    step = stride or min(max(h // 32, 1), window)
    rows, columns = _band(h, window, step), ops.transpose(_band(w, window, step))
    t = ops.transpose(target, (0, 3, 1, 2))  # (B, C, H, W)
    p = ops.transpose(generated, (0, 3, 1, 2))
    stacked = blur(ops.concatenate([t, p, t * t, p * p, t * p], axis=1))
    mean_t, mean_p, square_t, square_p, product = ops.split(stacked, 5, axis=1)
    var = square_t - mean_t**2 + square_p - mean_p**2
    cov = product - mean_t * mean_p
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_t * mean_p + c1) * (2 * cov + c2)
    ssim = ssim / ((mean_t**2 + mean_p**2 + c1) * (var + c2))
    error = ops.transpose(ops.clip((1 - ssim) / 2, 0, 1), (0, 2, 3, 1))
    return _mean(error, None if weight is None else weight[:, ::step, ::step])


def _mean(error, weight):
    if weight is None:
        return ops.mean(error)
    # Of the whole batch: another share of it has other masks.
    whole = networks.over_replicas(per_replica(ops.mean(weight)))
    return ops.mean(error * weight) / (whole + 1e-6)


def _band(side, window, step):
    # A row for every `step`-th pixel: the mean of the pixels within half a window of it
    # that lie inside the image.
    i = np.arange(side)
    near = np.abs(i[::step, None] - i) <= window // 2
    return ops.convert_to_tensor((near / near.sum(1, keepdims=True)).astype("float32"))


def discriminator_loss(real, fake, kind: str = "hinge"):
    """Small where a discriminator scores real faces high and generated ones low.

    Args:
        real, fake: Its scores of real and of generated faces, any shape.
        kind: One of `KINDS`.

    Returns:
        A scalar.
    """
    if kind == "cross_entropy":
        return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))
    if kind == "hinge":
        return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))
    return 0.5 * (ops.mean((real - 1) ** 2) + ops.mean((fake + 1) ** 2))


def generator_loss(fake, kind: str = "hinge"):
    """Small where a discriminator scores generated faces high; as its loss above."""
    if kind == "cross_entropy":
        return ops.mean(ops.softplus(-fake))
    return -ops.mean(fake) if kind == "hinge" else 0.5 * ops.mean((fake - 1) ** 2)


def feature_matching_loss(real, fake):
    """How far generated faces are from real ones in a discriminator's feature maps.

    Args:
        real, fake: Lists of its feature maps of real faces, and of the same generated.

    Returns:
        A scalar, the mean absolute error over all maps.

    Reference:
        Wang et al. 2018, "High-Resolution Image Synthesis and Semantic Manipulation
        with Conditional GANs", equation 4.
    """
    pairs = zip(real, fake, strict=True)
    errors = [ops.mean(ops.abs(ops.cast(r - f, "float32"))) for r, f in pairs]
    return sum(errors) / len(errors)


def per_replica(loss):
    """A replica's share of a mean loss: `tf.distribute` sums the gradients of all."""
    if keras.backend.backend() != "tensorflow":
        return loss
    import tensorflow as tf

    return loss / tf.distribute.get_strategy().num_replicas_in_sync
