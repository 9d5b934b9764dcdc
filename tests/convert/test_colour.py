import cv2
import numpy as np
import pytest

from deepfakery.convert import colour
from deepfakery.faces import geometry

SIZE = 128


def match(painted, own, weight, method="reinhard"):
    return colour.apply(painted, colour.fit(painted, own, weight, method), method)


@pytest.fixture(scope="module")
def own(posed, landmarks):
    """An aligned face, (SIZE, SIZE, 3) float32."""
    frame = posed("collins")
    crop = geometry.crop(frame, geometry.alignment(landmarks(frame), SIZE), SIZE)
    return crop.astype(np.float32) / 255


@pytest.fixture(scope="module")
def weight():
    """The middle of the face."""
    out = np.zeros((SIZE, SIZE), np.float32)
    out[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = 1
    return out


def colour_of(image):
    """Red and blue of pixels against green, in powers of e."""
    light = np.float32(image).clip(0.01, 1) ** colour.GAMMA
    return np.log(light[..., ::2] / light[..., 1:2])


@pytest.mark.parametrize("even", [True, False])
def test_colours_are_muted_where_the_frames_skin_varies_less(even, weight):
    """A red shadow comes nearer to skin; grey, white and skin itself stay."""
    skin, random = np.float32([0.7, 0.5, 0.4]), np.random.default_rng(0)
    noise = random.normal(0, (0.05, 0.02, 0.04), (SIZE, SIZE, 3))
    own = np.float32((skin + noise * (0.2 if even else 1)).clip(0, 1))
    own[84:94, 44:84], own[34:38, 50:60] = (0.6, 0.2, 0.25), (0.2, 0.25, 0.4)
    own[32:34, 32:60], own[32:34, 60:90] = 0.1, 0.95  # a frame has all brightnesses
    painted = np.float32((skin + noise).clip(0, 1))
    shadow, rim, teeth = (np.s_[i : i + 8, 40:70] for i in (40, 56, 72))
    painted[shadow], painted[rim], painted[teeth] = (0.45, 0.15, 0.1), 0.1, 0.95
    matched = match(painted, own, weight, "skin")
    rest = weight > 0
    rest[38:82] = False
    np.testing.assert_allclose(matched[rest].mean(0), skin, atol=0.02)
    np.testing.assert_allclose(matched[rim], 0.1, atol=0.02)
    np.testing.assert_allclose(matched[teeth], 0.95, atol=0.02)
    away, before = (
        np.abs(colour_of(image[shadow].mean((0, 1))) - colour_of(skin)).mean()
        for image in (matched, painted)
    )
    assert away < 0.75 * before if even else 0.9 * before < away < 1.1 * before
    assert matched[shadow] @ colour.LUMA == pytest.approx(
        painted[shadow] @ colour.LUMA, abs=0.03
    )


def lab_moments(image, weight):
    lab = cv2.cvtColor(np.float32(image), cv2.COLOR_RGB2LAB)[weight > 0]
    return lab.mean(0), lab.std(0)


def test_reinhard_gives_mean_and_spread(own, weight):
    # Half as bright again, a little less contrast: within what may be changed.
    other = np.clip(0.1 + own * (0.75, 0.85, 0.8), 0, 1).astype(np.float32)
    matched = match(own, other, weight)
    assert matched.dtype == np.float32 and 0 <= matched.min() <= matched.max() <= 1
    (mean, spread), (wanted, wanted_spread) = (
        lab_moments(image, weight) for image in (matched, other)
    )
    np.testing.assert_allclose(mean, wanted, atol=1)
    np.testing.assert_allclose(spread, wanted_spread, rtol=0.1, atol=0.5)


def test_skin_takes_the_light_of_the_others_skin_and_leaves_black_and_white(weight):
    """A rim stays dark and grey, teeth white, and no highlight bleaches."""
    skin, wanted = np.float32([0.8, 0.55, 0.4]), np.float32([0.85, 0.72, 0.65])
    noise = np.random.default_rng(0).normal(0, 0.03, (SIZE, SIZE, 3))
    painted = np.float32((skin + noise).clip(0, 1))
    own = np.float32((wanted + noise).clip(0, 1))
    own[70:80, 44:84], own[40:46, 50:60] = (0.6, 0.2, 0.25), (0.2, 0.25, 0.4)
    rim, teeth = np.s_[30:34, 20:44], np.s_[44:48, 20:44]
    painted[rim], painted[teeth] = (0.05, 0.06, 0.08), 0.97
    matched = match(painted, own, weight, "skin")
    rest = weight > 0
    rest[28:50] = rest[70:80] = False
    np.testing.assert_allclose(matched[rest].mean(0), own[rest].mean(0), atol=0.02)
    assert matched[31:33, 24:40].max() < 0.15
    assert np.ptp(matched[31:33, 24:40].mean((0, 1))) < 0.06
    assert 0.95 < matched[45:47, 24:40].min() <= matched.max() <= 1


def test_linear_gives_mean_and_covariance(own, weight):
    mix = np.float32([[0.9, 0.05, 0], [0.05, 0.85, 0.05], [0, 0.05, 0.9]])
    other = own @ mix + np.float32([0.02, 0.03, 0.05])
    matched = match(own, other, weight, "linear")
    a, b = (image[weight > 0] for image in (matched, other))
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(a.T), np.cov(b.T), atol=0.002)


def test_histogram_gives_every_rank(own, weight):
    matched = match(own, own**1.6, weight, "histogram")
    ranks = np.linspace(5, 95, 10)
    a, b = (
        np.percentile(image[weight > 0], ranks, axis=0) for image in (matched, own**1.6)
    )
    np.testing.assert_allclose(a, b, atol=0.03)


def test_poisson_takes_the_light_from_the_edge_and_keeps_the_features(own, weight):
    x = np.linspace(1, 0.5, SIZE, dtype=np.float32)[None, :, None]
    lit = own * x  # the same face, lit from the left
    matched = match(own, lit, weight, "poisson")
    error = np.abs(matched - lit)[weight > 0].mean()
    assert error < 0.025 < 0.03 < np.abs(own - lit)[weight > 0].mean()


def test_a_face_that_matches_stays(own, weight):
    for method in colour.METHODS:
        assert np.abs(match(own, own, weight, method) - own).mean() < 0.01


def test_without_a_method_nothing_changes(own, weight):
    np.testing.assert_array_equal(match(own, 1 - own, weight, "none"), own)


@pytest.mark.parametrize("method", ["reinhard", "linear"])
def test_contrast_is_never_blown_up(own, method):
    weight = np.ones((SIZE, SIZE), np.float32)
    flat = (0.5 + 0.1 * (own - 0.5)).astype(np.float32)
    matched = match(flat, own, weight, method)
    assert matched.std((0, 1)).max() < 1.4 * flat.std((0, 1)).max()


@pytest.mark.parametrize("method", colour.METHODS)
def test_only_the_weighted_region_counts(own, weight, method):
    loud = own.copy()
    loud[weight == 0] = 0, 1, 0
    quiet = match(own, own, weight, method)
    inner = np.s_[SIZE // 2 - 10 : SIZE // 2 + 10, SIZE // 2 - 10 : SIZE // 2 + 10]
    change = np.abs(match(own, loud, weight, method) - quiet)[inner].mean()
    # Poisson looks at the edge, whose neighbours are the loud ones.
    assert change < (0.5 if method == "poisson" else 1e-3)


@pytest.mark.parametrize("method", colour.METHODS)
def test_colours_without_a_place_to_look_stay(own, method):
    nowhere = np.zeros((SIZE, SIZE), np.float32)
    assert np.abs(match(own, 1 - own, nowhere, method) - own).max() < 0.02


@pytest.mark.parametrize("method", colour.METHODS)
def test_transfers_can_be_averaged(own, weight, method):
    dark, bright = (colour.fit(own, own * g, weight, method) for g in (0.8, 0.95))
    means = [
        colour.apply(own, transfer, method)[weight > 0].mean()
        for transfer in (dark, (dark + bright) / 2, bright)
    ]
    assert means[0] < means[1] < means[2] or method == "none"


def test_an_unknown_method_is_named(own, weight):
    with pytest.raises(ValueError, match="sepia"):
        colour.fit(own, own, weight, "sepia")


def grey(image):
    return np.repeat((image @ colour.LUMA)[..., None], 3, 2)


TINTS = {
    "grey": lambda image: grey(image),
    "sepia": lambda image: grey(image) * np.float32([1, 0.85, 0.65]),
    "night": lambda image: grey(image) * np.float32([0.1, 1, 0.15]),
    "duotone": lambda image: np.stack(
        [
            np.interp(grey(image)[..., 0], [0, 0.5, 1], course)
            for course in ([0.1, 0.6, 1], [0.05, 0.4, 0.9], [0.3, 0.5, 0.6])
        ],
        -1,
    ),
}


@pytest.fixture(scope="module")
def painted(posed, landmarks):
    """Another person's face, a vivid one."""
    frame = posed("hopper")
    crop = geometry.crop(frame, geometry.alignment(landmarks(frame), SIZE), SIZE)
    return (crop.astype(np.float32) / 255 * (1, 0.8, 0.6)).astype(np.float32)


@pytest.mark.parametrize("tint", TINTS)
@pytest.mark.parametrize("method", [m for m in colour.METHODS if m != "none"])
def test_a_frame_of_one_colour_gives_it_to_the_face(own, painted, weight, method, tint):
    tinted = np.float32((TINTS[tint](own) * 255).round() / 255)
    matched = match(painted, tinted, weight, method)
    levels = TINTS[tint](np.repeat(np.linspace(0, 1, 1001)[:, None, None], 3, 2))[:, 0]
    place = np.searchsorted(levels @ colour.LUMA, matched @ colour.LUMA)
    off = np.abs(matched - levels[place.clip(0, 1000)])[weight > 0] * 255
    # Where a frame shows no such brightness its colour there is a guess.
    assert off.mean() < 2.5
    assert tint != "grey" or np.ptp(matched, -1).max() < 1e-5


@pytest.mark.parametrize("method", [m for m in colour.METHODS if m != "none"])
def test_a_pale_frame_pales_the_face_and_a_colourful_one_does_not(
    own, painted, weight, method
):
    def colours(image):
        return np.abs(image - grey(image))[weight > 0].mean()

    pale = np.float32(0.25 * own + 0.75 * grey(own))
    assert colours(match(painted, pale, weight, method)) < 1.2 * colours(pale)
    assert (colour.fit(own, own, weight, method)[0] > 0.999).all()
    noise = np.random.default_rng(0).normal(0, 0.01, own.shape)
    noisy = np.float32(grey(own) + noise)
    assert colours(match(painted, noisy, weight, method)) < colours(noisy)
