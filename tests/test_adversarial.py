import keras
import numpy as np
import pytest
from keras import layers, ops

from deepfakery import adversarial, losses
from deepfakery.networks import build_discriminator


@pytest.fixture
def D():
    keras.utils.set_random_seed(0)
    return build_discriminator(16, widths=(8, 16))


@pytest.fixture
def faces():
    random = np.random.default_rng(0)
    made = (random.random((4, 16, 16, 3)).astype("f4") for _ in range(2))
    return [ops.convert_to_tensor(one) for one in made]


def array(x):
    return ops.convert_to_numpy(x)


@pytest.mark.parametrize("kind", losses.KINDS)
def test_a_step_gives_the_losses_of_the_literature(D, faces, kind):
    real, fake = faces
    both = adversarial.with_features(D)
    step = adversarial.step(both, real, fake, kind, training=False)
    *real_maps, real_scores = both(real)
    *fake_maps, fake_scores = both(fake)
    for found, expected in (
        (step.d_loss, losses.discriminator_loss(real_scores, fake_scores, kind)),
        (step.g_loss, losses.generator_loss(fake_scores, kind)),
        (step.feature_matching, losses.feature_matching_loss(real_maps, fake_maps)),
        (step.d_accuracy, float(np.mean(array(real_scores) > array(fake_scores)))),
    ):
        np.testing.assert_allclose(array(found), array(expected), rtol=1e-4)


def test_one_batch_or_two_is_the_same_without_batch_normalization(D, faces):
    for one in zip(
        adversarial.step(D, *faces, training=False),
        adversarial.step(D, *faces, one_batch=False, training=False),
        strict=True,
    ):
        np.testing.assert_allclose(*map(array, one), rtol=1e-5, atol=1e-6)


class Both(keras.Model):
    """A generator of one convolution and a discriminator; one loss trains."""

    def __init__(self, D, chosen):
        super().__init__()
        self.D, self.chosen = D, chosen
        self.generator = keras.Sequential([keras.Input((16, 16, 3))])
        self.generator.add(layers.Conv2D(3, 1))
        self.built = True

    def call(self, x):
        return self.generator(x)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        step = adversarial.step(self.D, y, y_pred, training=training)
        return getattr(step, self.chosen)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # that is the point
@pytest.mark.parametrize("loss", ["d_loss", "g_loss"])
def test_each_loss_reaches_its_own_network_alone(D, faces, loss):
    model = Both(D, loss)
    model.compile(keras.optimizers.SGD(0.1))
    parts = {"d_loss": D, "g_loss": model.generator}
    before = {k: [array(v) for v in m.trainable_variables] for k, m in parts.items()}
    model.train_on_batch(*map(array, faces))
    for name, part in parts.items():
        moved = [
            np.abs(array(v) - was).max()
            for v, was in zip(part.trainable_variables, before[name], strict=True)
        ]
        assert (max(moved) > 0) == (name == loss)


def test_where_the_generator_does_not_train_there_is_no_loss_of_it(D, faces):
    step = adversarial.step(D, *faces, generator=False)
    assert float(step.g_loss) == float(step.feature_matching) == 0
    assert float(step.d_loss) > 0
