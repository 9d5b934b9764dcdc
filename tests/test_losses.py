import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from deepfakery.losses import (
    KINDS,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    mean_absolute_error,
    reconstruction_loss,
    structural_dissimilarity,
)


@pytest.fixture(scope="module")
def pictures(facesets):
    """(4, 48, 48, 3) float32 in [0, 1]."""
    return facesets["collins"].images(48, limit=4).astype(np.float32) / 255


def blurred(pictures, sigma):
    return gaussian_filter(pictures, (0, sigma, sigma, 0))


def test_equal_pictures_lose_nothing(pictures):
    assert float(mean_absolute_error(pictures, pictures)) == 0
    nothing = float(structural_dissimilarity(pictures, pictures))
    assert nothing == pytest.approx(0, abs=1e-4)


def test_mae_is_the_mean_absolute_error(pictures):
    other = pictures[::-1].copy()
    expected = np.abs(pictures - other).mean()
    error = float(mean_absolute_error(pictures, other))
    assert error == pytest.approx(expected, rel=1e-5)
    everything = np.full((4, 48, 48, 1), 0.3, np.float32)
    for loss in (mean_absolute_error, structural_dissimilarity):
        weighted = float(loss(pictures, other, everything))
        assert weighted == pytest.approx(float(loss(pictures, other)), rel=1e-4)


def test_dssim_grows_with_blur(pictures):
    soft = [blurred(pictures, s) for s in (0.5, 1, 2, 4)]
    values = [float(structural_dissimilarity(pictures, one)) for one in soft]
    assert np.all(np.diff(values) > 0.01)


def test_dssim_lies_between_nothing_and_one(pictures):
    noise = np.random.default_rng(0).random(pictures.shape, np.float32)
    for other in (noise, 1 - pictures, np.zeros_like(pictures)):
        assert 0.2 < float(structural_dissimilarity(pictures, other)) <= 1
    checks = np.indices((48, 48)).sum(0) % 2
    checks = np.broadcast_to(checks[None, ..., None], (1, 48, 48, 3)).astype(np.float32)
    assert 0.9 < float(structural_dissimilarity(checks, 1 - checks)) <= 1


@pytest.mark.parametrize("sigma", [0.7, 3])
def test_dssim_is_half_the_distance_of_ssim_from_one(pictures, sigma):
    other = blurred(pictures, sigma)
    # Only the middle: at the edges each takes the window's missing part otherwise.
    middle = np.zeros((4, 48, 48, 1), np.float32)
    middle[:, 4:-4, 4:-4] = 1
    expected = []
    for a, b in zip(pictures.astype(float), other.astype(float), strict=True):
        _, local = structural_similarity(
            a,
            b,
            win_size=7,
            data_range=1,
            channel_axis=2,
            use_sample_covariance=False,
            full=True,
        )
        expected.append((1 - local[4:-4, 4:-4].mean()) / 2)
    found = float(structural_dissimilarity(pictures, other, middle))
    assert found == pytest.approx(np.mean(expected), abs=1e-4)


def test_what_weighs_nothing_is_not_looked_at(pictures):
    damaged = pictures.copy()
    damaged[:, :16] = 0
    weight = np.ones((4, 48, 48, 1), np.float32)
    weight[:, :20] = 0  # a window of 7 reaches three pixels beyond the damage
    for loss in (mean_absolute_error, structural_dissimilarity):
        assert float(loss(pictures, damaged)) > 0.05
        assert float(loss(pictures, damaged, weight)) == pytest.approx(0, abs=1e-4)
        assert np.isfinite(float(loss(pictures, damaged, 0 * weight)))


@pytest.mark.parametrize("loss", [mean_absolute_error, structural_dissimilarity])
def test_descending_the_loss_nears_the_target(pictures, loss):
    painted = keras.Variable(blurred(pictures, 2))
    model = keras.Sequential([Painting(painted)])
    model.compile(keras.optimizers.Adam(0.01), loss=lambda y, p: loss(y, p))
    before = np.abs(painted.numpy() - pictures).mean()
    for _ in range(15):
        model.train_on_batch(np.zeros((4, 1), np.float32), pictures)
    assert np.abs(painted.numpy() - pictures).mean() < 0.8 * before


class Painting(keras.layers.Layer):
    """Gives a picture that can be trained, whatever goes in."""

    def __init__(self, picture):
        super().__init__()
        self.picture = picture

    def call(self, x):
        return self.picture + 0 * x[:, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_discriminator_gains_by_scoring_real_faces_higher_and_a_generator_lower(kind):
    high, low = np.float32([[2, 1]]), np.float32([[-1, -2]])
    right, wrong = (
        float(discriminator_loss(*scores, kind))
        for scores in ((high, low), (low, high))
    )
    assert right < wrong
    assert float(generator_loss(high, kind)) < float(generator_loss(low, kind))
    undecided = np.zeros((1, 2), np.float32)
    sure = float(discriminator_loss(high, low, kind))
    assert sure < float(discriminator_loss(undecided, undecided, kind))


def test_a_hinge_asks_for_no_more_than_a_margin():
    score = np.float32([1])
    assert float(discriminator_loss(score, -score)) == 0
    assert float(discriminator_loss(5 * score, -5 * score)) == 0
    assert float(discriminator_loss(5 * score, -5 * score, "least_squares")) > 10


def test_matching_features_averages_over_maps():
    real = [np.ones((2, 4, 4, 3), np.float32), np.ones((2, 2, 2, 8), np.float32)]
    fake = [real[0] - 0.5, real[1] + 0.1]
    assert float(feature_matching_loss(real, real)) == 0
    assert float(feature_matching_loss(real, fake)) == pytest.approx(0.3, rel=1e-5)


def test_the_reconstruction_loss_is_the_weighted_sum_of_its_terms(pictures):
    other = pictures[::-1].copy()
    loss, error = reconstruction_loss(pictures, other, mae=2.0, dssim=0.5)
    assert float(error) == float(mean_absolute_error(pictures, other))
    expected = 2 * error + 0.5 * structural_dissimilarity(pictures, other)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_dissimilarity_at_fewer_places_is_nearly_the_same_and_sees_every_pixel(
    facesets,
):
    target = facesets["collins"].images(128, limit=4).astype(np.float32) / 255
    made = blurred(target, 2)
    dense = float(structural_dissimilarity(target, made, stride=1))
    assert float(structural_dissimilarity(target, made)) == pytest.approx(
        dense, rel=0.05
    )
    for y, x in ((50, 50), (51, 51), (53, 53), (125, 3)):
        changed = target.copy()
        changed[:, y, x] = 1 - changed[:, y, x]
        assert float(structural_dissimilarity(target, changed)) > 0
