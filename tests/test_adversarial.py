import keras
import numpy as np
import pytest

from deepfakery.adversarial import Adam
from deepfakery.networks import PatchConv2D


@pytest.mark.parametrize("clip", [None, 0.01])
def test_it_updates_as_keras_does(clip):
    def trained(kind):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), PatchConv2D(4, 3, padding="same")]
        )
        model.add(keras.layers.Flatten())
        model.add(keras.layers.Dense(2))
        model.compile(kind(1e-2, 0.5, global_clipnorm=clip), "mse")
        for i in range(12):
            random = np.random.default_rng(i)
            x, y = random.random((4, 8, 8, 3)), random.random((4, 2))
            if i == 6:  # as runs do when the end is near
                model.optimizer.learning_rate = 3e-3
            model.train_on_batch(x.astype("f4"), y.astype("f4"))
        state = [np.array(v) for v in model.optimizer.variables]
        return model.get_weights(), state

    (ours, our_state), (theirs, their_state) = (
        trained(kind) for kind in (Adam, keras.optimizers.Adam)
    )
    for a, b in zip(ours + our_state, theirs + their_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_it_can_be_written_down():
    again = keras.optimizers.deserialize(keras.optimizers.serialize(Adam(3e-4, 0.7)))
    assert isinstance(again, Adam)
    assert float(again.learning_rate) == pytest.approx(3e-4) and again.beta_1 == 0.7
