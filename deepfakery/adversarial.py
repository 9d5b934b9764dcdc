"""The adversarial step: discriminator and generator learn in one backward pass.

    step = adversarial.step(D, real, fake)
    loss = step.loss(adversarial=0.05)

The discriminator loss is computed on generated faces that no gradient leaves; the
generator loss on a discriminator that no gradient enters. So one sum of both can be
minimised at once: each network gets the gradient of its own loss alone. Written for
`compute_loss`, it works on every backend, with mixed precision and under distribution.

Reference:
    Goodfellow et al. 2014, "Generative Adversarial Nets".
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from deepfakery import losses, networks


class Step(NamedTuple):
    """What `step` gives: four scalars."""

    d_loss: Any  # the discriminator loss
    g_loss: Any  # the generator loss; 0 where the generator does not train
    feature_matching: Any  # 0 likewise, and where D gives no feature maps
    d_accuracy: Any  # share of pairs in which the real face has the higher score

    def loss(self, adversarial: float = 1.0, matching: float = 1.0):
        """What both networks minimise: the weights are of the generator's two terms."""
        terms = adversarial * self.g_loss + matching * self.feature_matching
        return self.d_loss + terms

    def record(self, metrics: dict) -> None:
        """Update the means that `metrics` made."""
        for name, mean in metrics.items():
            mean.update_state(getattr(self, name))


def metrics() -> dict:
    """The means of a `Step` that a model shows while it trains, by name."""
    return {m: keras.metrics.Mean(m) for m in ("d_loss", "g_loss", "d_accuracy")}


def step(
    D,
    real,
    fake,
    kind: str = "hinge",
    *,
    generator: bool = True,
    one_batch: bool = True,
    training: bool = True,
) -> Step:
    """Score real and generated faces, for both networks.

    Args:
        D: A discriminator, or `with_features` of one.
        real, fake: Real and generated faces, each (B, S, S, 3).
        kind: One of `losses.KINDS`.
        generator: Whether the generator trains.
        one_batch: Score real and generated faces as one batch, which is faster. Not
            where D has batch normalization: each batch must be of one kind there.
        training: As of a Keras call.

    Returns:
        A `Step`.
    """
    still = ops.stop_gradient(fake)
    if one_batch:
        n, both = ops.shape(real)[0], ops.concatenate([real, still])
        *features, scores = _outputs(D(both, training=training))
        features = [map_[:n] for map_ in features]
        real_scores, fake_scores = scores[:n], scores[n:]
    else:
        *features, real_scores = _outputs(D(real, training=training))
        *_, fake_scores = _outputs(D(still, training=training))
    d_loss = losses.discriminator_loss(real_scores, fake_scores, kind)
    accuracy = ops.mean(ops.cast(real_scores > fake_scores, "float32"))
    g_loss = matching = ops.zeros(())
    if generator:
        *fake_features, fake_scores = _outputs(_frozen(D, fake, training))
        g_loss = losses.generator_loss(fake_scores, kind)
        if features:
            features = [ops.stop_gradient(map_) for map_ in features]
            matching = losses.feature_matching_loss(features, fake_features)
    return Step(d_loss, g_loss, matching, accuracy)


def with_features(D: keras.Model) -> keras.Model:
    """A discriminator that gives its feature maps too, before its scores."""
    features = [x.output for x in D.layers if x.name.startswith("feature")]
    return keras.Model(D.input, [*features, D.output], name=D.name)


def _outputs(given) -> list:
    return list(given) if isinstance(given, list | tuple) else [given]


def _frozen(model: keras.Model, x, training: bool):
    """Call a model so that gradients pass through it and none reaches its weights."""
    weights = [ops.stop_gradient(v) for v in model.trainable_variables]
    out, _ = model.stateless_call(
        weights, model.non_trainable_variables, x, training=training
    )
    return out


def for_each(*pairs) -> keras.optimizers.MultiOptimizer:
    """One optimizer for `compile` that leaves each network to its own.

    Args:
        *pairs: (network, optimizer); a network that is frozen takes no part.
    """
    chosen = {v.path: o for network, o in pairs for v in network.trainable_variables}
    return keras.optimizers.MultiOptimizer(lambda v: chosen[v.path])


@keras.saving.register_keras_serializable("deepfakery")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, on TensorFlow in one sweep over memory.

    Keras writes an update as a dozen operations, each of which passes every weight
    through memory; on a CPU that was a sixth of the time of a small network's step.
    Arguments, state and result are the same.

    Reference:
        Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization".
    """

    def _clip_gradients(self, grads):
        # Keras would clip what each of several devices found, and add it up then.
        return super()._clip_gradients(networks.over_replicas(grads))

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        # Of a variable mirrored over several devices, Keras knows which copy to take.
        if tf.distribute.has_strategy() or isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        index, kind = self._get_variable_index(variable), variable.dtype
        steps = ops.cast(self.iterations + 1, kind)
        beta_1, beta_2 = ops.cast(self.beta_1, kind), ops.cast(self.beta_2, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(beta_1, steps),
            beta2_power=ops.power(beta_2, steps),
            lr=ops.cast(learning_rate, kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=ops.cast(self.epsilon, kind),
            grad=ops.cast(gradient, kind),
        )
