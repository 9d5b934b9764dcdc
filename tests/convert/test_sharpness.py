import cv2
import numpy as np
import pytest

from deepfakery.convert import sharpness

SIDE = 200


@pytest.fixture(scope="module")
def picture(posed):
    """A textured picture, and where to look."""
    image = posed("collins")[80 : 80 + SIDE, 90 : 90 + SIDE].astype(np.float32) / 255
    return image, np.ones((SIDE, SIDE), np.float32)


def detail(image):
    grey = cv2.cvtColor(np.float32(image), cv2.COLOR_RGB2GRAY)
    return cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 0.7), cv2.CV_32F).std()


def test_a_soft_face_is_sharpened_towards_the_frame(picture):
    image, weight = picture
    soft = cv2.GaussianBlur(image, (0, 0), 1)
    fitted = sharpness.fit(soft, image, weight)
    made = sharpness.sharpen(soft, fitted)
    assert fitted[0] > 0
    assert detail(soft) < detail(made) < 1.2 * detail(image)


def test_a_face_sharper_than_its_frame_is_softened(picture):
    image, weight = picture
    soft = cv2.GaussianBlur(image, (0, 0), 1.5)
    fitted = sharpness.fit(image, soft, weight)
    made = sharpness.finish((image * 255).round().astype(np.uint8), fitted, seed=0)
    assert fitted[0] < 0
    assert detail(made / 255) == pytest.approx(detail(soft), rel=0.25)


def test_colours_are_smoothed_and_brightness_is_not(picture):
    image, _ = picture
    rows, columns = np.indices((SIDE, SIDE))
    sign = np.where((rows + columns) % 2, 1, -1)[..., None]
    specks = 0.1 * sign * np.float32([0.587, -0.299, 0])  # of no brightness
    clean = np.clip(image, 0.1, 0.9)
    made, wanted = map(sharpness.smooth_colour, (np.float32(clean + specks), clean))
    assert np.abs(made - wanted).max() < 0.005
    greys = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in (clean, wanted)]
    np.testing.assert_allclose(*greys, atol=0.02)
    flat = np.full_like(image, (0.8, 0.4, 0.2))
    np.testing.assert_allclose(sharpness.smooth_colour(flat), flat, atol=1e-3)


def test_grain_is_matched(picture):
    image, weight = picture
    clean = cv2.GaussianBlur(image, (0, 0), 1)
    noise = np.random.default_rng(0).normal(0, 0.03, (SIDE, SIDE, 1))
    fitted = sharpness.fit(clean, clean + np.float32(noise), weight)
    assert fitted[1] == pytest.approx(0.03, rel=0.2)
    face = (clean * 255).round().astype(np.uint8)
    made = [sharpness.finish(face, [0, fitted[1]], seed) for seed in (0, 0, 1)]
    added = (made[0].astype(int) - face)[(face > 30) & (face < 225)]
    assert added.std() == pytest.approx(255 * fitted[1], rel=0.05)
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_equal_faces_are_left_alone(picture):
    image, weight = picture
    fitted = sharpness.fit(image, image, weight)
    np.testing.assert_allclose(sharpness.sharpen(image, fitted), image, atol=1e-4)
    face = (image * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(sharpness.finish(face, fitted, 0), face)


def test_nothing_to_look_at_changes_nothing(picture):
    image, weight = picture
    assert not sharpness.fit(image, 1 - image, 0 * weight).any()
