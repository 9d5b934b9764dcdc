import keras
import numpy as np
import pytest

from deepfakery.convert import tiles
from deepfakery.studies.upscaler import Upscaler

TINY = {
    "pyramid": {"widths": [12, 8, 8], "blocks": [2, 2, 1]},
    "discriminator": {"widths": [8]},
}


@pytest.fixture(scope="module")
def upscaler():
    """Untrained, but for weights large enough to make every neighbour count."""
    keras.utils.set_random_seed(0)
    upscaler = Upscaler(TINY, precision="float32")
    random = np.random.default_rng(0)
    for weight in upscaler.whole.weights:
        if weight.ndim == 4:
            spread = 0.5 / np.sqrt(np.prod(weight.shape[:3]))
            weight.assign(random.normal(0, spread, weight.shape))
    return upscaler


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 255, (70, 101, 3), np.uint8)


def whole(upscaler, picture, factor):
    large = upscaler.enlarge(picture[None] / 255, factor)[0]
    return (large * 255).round().astype(np.uint8)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_tiles_are_the_whole_to_rounding(factor, upscaler, picture):
    expected = whole(upscaler, picture, factor)
    side = 2 * tiles.reach(upscaler, factor) + 9
    made = tiles.enlarge(picture, upscaler, factor, side)
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected).max() <= 1
    plain = tiles.resize(picture, None, expected.shape[1::-1])
    assert np.abs(made.astype(int) - plain).mean() > 5  # the network did something


def test_a_pixel_sees_as_far_as_is_said_and_hardly_less(upscaler, picture):
    for factor in upscaler.factors:
        far = tiles.reach(upscaler, factor)
        changed = picture.copy()
        changed[35, 50] = 255 - changed[35, 50]
        one, other = (whole(upscaler, p, factor) for p in (picture, changed))
        rows = np.flatnonzero((one != other).any((1, 2))) // factor
        assert far >= max(35 - rows.min(), rows.max() - 35) >= far / 2


def test_tiles_too_small_for_their_neighbourhood_are_refused(upscaler, picture):
    with pytest.raises(ValueError, match="side above"):
        tiles.enlarge(picture, upscaler, 4, side=8)
    with pytest.raises(ValueError, match="16"):
        tiles.enlarge(picture, upscaler, 16)


@pytest.mark.parametrize("fit", tiles.FITS)
@pytest.mark.parametrize("size", [(160, 90), (90, 160), (333, 201), (31, 20), (1, 1)])
def test_the_size_is_exactly_the_one_named(size, fit, upscaler, picture):
    made = tiles.resize(picture, upscaler, size, fit)
    assert made.shape == (size[1], size[0], 3) and made.dtype == np.uint8


def test_beyond_the_largest_factor_there_is_only_interpolation(upscaler):
    small = np.random.default_rng(2).integers(0, 255, (6, 8, 3), np.uint8)
    assert tiles.resize(small, upscaler, (100, 75)).shape == (75, 100, 3)


def test_padding_keeps_all_and_cropping_fills(upscaler):
    bright = np.full((20, 20, 3), 255, np.uint8)
    padded = tiles.resize(bright, None, (80, 40))
    assert (padded[:, :20] == 0).all() and (padded[:, 20:60] == 255).all()
    assert (tiles.resize(bright, None, (80, 40), "crop") == 255).all()
    left = bright.copy()
    left[:, :10] = 0
    stretched = tiles.resize(left, None, (80, 40), "stretch")
    assert stretched[:, :30].max() < 20 and stretched[:, 50:].min() > 235


def test_a_size_or_fit_that_is_none_is_refused(upscaler, picture):
    with pytest.raises(ValueError, match="0 × 9"):
        tiles.resize(picture, upscaler, (0, 9))
    with pytest.raises(ValueError, match="squash"):
        tiles.resize(picture, upscaler, (9, 9), "squash")


def test_what_stands_still_stands_still_and_what_moves_moves():
    random = np.random.default_rng(3)
    still = np.full((40, 60, 3), 120.0)
    still[10:30, 5:25] = 200

    def noisy(moving):
        for i in range(20):
            frame = still.copy()
            if moving:
                frame[5:35, 2 * i : 2 * i + 12] = 30
            frame += random.normal(0, 2.5, frame.shape)
            yield frame.round().clip(0, 255).astype(np.uint8)

    def flicker(frames):
        return np.abs(np.diff(np.float32(list(frames)), axis=0))[5:].mean()

    assert flicker(tiles.steady(noisy(False))) < 0.5 * flicker(noisy(False))
    before, after = list(noisy(True)), list(tiles.steady(iter(noisy(True))))
    assert len(before) == len(after)
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        inside = np.s_[9:31, 2 * i + 4 : 2 * i + 8]
        assert abs(a[inside].mean() - b[inside].mean()) < 2  # no ghost within
        assert b[9:31, max(0, 2 * i - 4)].mean() > 110 or i < 2  # nor behind
