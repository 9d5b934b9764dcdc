import keras
import numpy as np
import pytest

from deepfakery.adversarial import Adam, for_each
from deepfakery.networks import build_discriminator


@pytest.mark.parametrize("clip", [None, 0.01])
def test_it_updates_as_keras_does(clip):
    def trained(kind):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        model.add(keras.layers.Flatten())
        model.add(keras.layers.Dense(2))
        model.compile(kind(1e-2, 0.5, global_clipnorm=clip), "mse")
        for i in range(8):
            random = np.random.default_rng(i)
            x, y = random.random((4, 8, 8, 3)), random.random((4, 2))
            if i == 4:  # as runs do when the end is near
                model.optimizer.learning_rate = 3e-3
            model.train_on_batch(x.astype("f4"), y.astype("f4"))
        state = [np.array(v) for v in model.optimizer.variables]
        return model.get_weights(), state

    (ours, our_state), (theirs, their_state) = (
        trained(kind) for kind in (Adam, keras.optimizers.Adam)
    )
    for a, b in zip(ours + our_state, theirs + their_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_it_can_be_written_down():
    again = keras.optimizers.deserialize(keras.optimizers.serialize(Adam(3e-4, 0.7)))
    assert isinstance(again, Adam)
    assert float(again.learning_rate) == pytest.approx(3e-4) and again.beta_1 == 0.7


def test_each_network_has_an_optimizer_of_its_own():
    D = build_discriminator(16, widths=(8, 16))
    other = build_discriminator(16, widths=(8,), name="other")
    pairs = [(D, keras.optimizers.SGD(0.5)), (other, keras.optimizers.SGD(0.25))]
    both = for_each(*pairs)
    variables = [*D.trainable_variables, *other.trainable_variables]
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    both.build(variables)
    both.apply([keras.ops.ones(v.shape) for v in variables], variables)
    for i, (variable, was) in enumerate(zip(variables, before, strict=True)):
        rate = 0.5 if i < len(D.trainable_variables) else 0.25
        np.testing.assert_allclose(
            was - keras.ops.convert_to_numpy(variable), rate, rtol=1e-5
        )
