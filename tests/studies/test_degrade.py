import itertools

import numpy as np
import pytest
from PIL import Image

from deepfakery import samples
from deepfakery.media import images
from deepfakery.media.video import MediaError
from deepfakery.studies import degrade
from deepfakery.studies.dcgan import DCGAN


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return samples.write_photos(tmp_path_factory.mktemp("photos"), 12, size=128)


def take(count, *arguments, **options):
    return list(itertools.islice(degrade.pairs(*arguments, **options), count))


def test_small_and_large_belong_together(files):
    [(small, large)] = take(1, files, (2, 4), 64, 6, degraded=0)
    for k in (2, 4):
        assert small[k].shape == (6, 64 // k, 64 // k, 3)
        assert large[k].shape == (6, 64, 64, 3) and large[k].dtype == np.float32
        for a, b in zip(small[k], large[k], strict=True):
            picture = (b * 255).round().astype(np.uint8)
            np.testing.assert_array_equal(
                (a * 255).round().astype(np.uint8), degrade.shrink(picture, k)
            )


def test_the_nth_batch_is_the_same_from_wherever_it_is_asked(files):
    whole = take(4, files, (2,), 32, 3)
    later = take(2, files, (2,), 32, 3, start=2)
    for a, b in zip(whole[2:], later, strict=True):
        for mine, theirs in zip(a, b, strict=True):
            np.testing.assert_array_equal(mine[2], theirs[2])
    assert not np.array_equal(whole[0][1][2], whole[1][1][2])


def test_degraded_ones_are_worse(files):
    [(small, large)] = take(1, files, (2,), 64, 24, degraded=1)
    clean = [degrade.shrink((p * 255).round().astype(np.uint8), 2) for p in large[2]]
    off = [np.abs(s * 255 - c).mean() for s, c in zip(small[2], clean, strict=True)]
    assert np.mean(np.array(off) > 0.5) > 0.6


def test_a_bad_picture_is_of_the_right_size_and_kind():
    picture = np.full((32, 48, 3), 90, np.uint8)
    for seed in range(8):
        small = degrade.degrade(picture, 4, np.random.default_rng(seed))
        assert small.shape == (8, 12, 3) and small.dtype == np.uint8
        assert abs(small.mean() - 90) < 8


def test_what_a_network_made_comes_in_at_matching_places(files):
    mark = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    made = {2: (mark, mark.repeat(2, 1).repeat(2, 2))}
    [(small, large)] = take(1, files, (2, 4), 24, 16, made=made, share=1.0)
    np.testing.assert_array_equal(small[2], large[2][:, ::2, ::2])
    assert large[4].std() > 0.1 and not np.array_equal(large[2], large[4])


def test_a_photo_that_is_too_small_is_left_out(files, tmp_path):
    images.write_image(tmp_path / "tiny.png", np.zeros((40, 90, 3), np.uint8))
    with pytest.warns(UserWarning, match="tiny.png.*90 × 40.*64"):
        take(1, [tmp_path / "tiny.png", *files], (2,), 64, 13)
    with pytest.warns(UserWarning), pytest.raises(MediaError, match="tiny.png"):
        take(1, [tmp_path / "tiny.png"], (2,), 64, 2)


def test_a_patch_that_no_factor_divides_is_refused(files):
    with pytest.raises(ValueError, match="patch=66.*4"):
        take(1, files, (2, 4), 66)


def test_what_an_autoencoder_makes_lies_beside_the_face(files, untrained):
    made = degrade.remake(untrained, "hopper", files[:3], factor=2)
    small, large = made[2]
    assert small.shape == (3, 32, 32, 3) and large.shape == (3, 64, 64, 3)
    painted, _ = untrained.swap(
        np.stack([np.asarray(Image.fromarray(p).reduce(2)) for p in large]) / 255.0,
        "hopper",
    )
    assert np.abs(painted * 255 - small).mean() < 12  # it is what it paints of them
    with pytest.raises(MediaError, match="1 photos"):
        grey = files[0].with_name("grey.png")
        images.write_image(grey, np.full((64, 64, 3), 90, np.uint8))
        degrade.remake(untrained, "hopper", [grey])


def test_what_a_dcgan_comes_nearest_to_lies_beside_the_photo(files):
    gan = DCGAN(
        {
            "generator": {"widths": [16, 8], "kernel": 4},
            "discriminator": {"widths": [8, 16], "kernel": 4},
        },
        latent=8,
    )
    small, large = degrade.reimagine(gan, files[:2], factor=4, steps=3)[4]
    assert small.shape == (2, 16, 16, 3) and large.shape == (2, 64, 64, 3)
    assert small.dtype == large.dtype == np.uint8
