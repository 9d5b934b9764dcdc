import itertools

import numpy as np
import pytest
from PIL import Image

from deepfakery import samples
from deepfakery.media import images
from deepfakery.media.video import MediaError
from deepfakery.studies import photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten grey photos of 40 × 60, the n-th of level 20 n; the layout of CelebA."""
    folder = tmp_path_factory.mktemp("celeba") / "img_align_celeba"
    for i in range(10):
        image = np.full((60, 40, 3), 20 * i, np.uint8)
        images.write_image(folder / f"{i:06d}.png", image)
    return folder


def levels(pictures):
    return [round(float(p.mean()) * 255 / 20) for p in pictures]


def take(count, *arguments, **options):
    return list(itertools.islice(photos.batches(*arguments, **options), count))


def test_the_last_files_are_held_out(folder):
    train, rest = photos.split(folder, 0.2)
    assert [f.name for f in rest] == ["000008.png", "000009.png"]
    assert len(train) == 8 and not set(train) & set(rest)


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_celebas_own_partition_is_followed(folder, tmp_path, kind):
    celeba = tmp_path / "img_align_celeba"
    celeba.symlink_to(folder)
    gap = " " if kind == "txt" else ","
    lines = [f"{i:06d}.png{gap}{int(i > 3) + int(i > 5)}" for i in range(10)]
    (tmp_path / f"list_eval_partition.{kind}").write_text("\n".join(lines))
    train, rest = photos.split(celeba)
    assert [f.stem for f in train] == [f"{i:06d}" for i in range(4)]
    assert len(rest) == 6


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(MediaError, match=str(tmp_path)):
        photos.split(tmp_path)


def test_the_crop_is_the_square_in_the_middle():
    image = np.zeros((60, 40, 3), np.uint8)
    image[10:50] = 200
    assert (photos.crop(image, 20) == 200).all()
    assert photos.crop(image, 64).shape == (64, 64, 3)


def test_every_photo_comes_once_before_any_comes_again(folder):
    train, _ = photos.split(folder, 0.2)
    seen = [levels(images) for _, images in take(8, train, 8, 4)]
    for first in range(0, 8, 2):
        assert sorted(seen[first] + seen[first + 1]) == list(range(8))
    assert seen[0] != seen[2]


def test_the_nth_batch_is_the_same_from_wherever_it_is_asked(folder):
    train, _ = photos.split(folder)
    whole = take(7, train, 8, 4, latent=5)
    later = take(3, train, 8, 4, latent=5, start=4)
    for a, b in zip(whole[4:], later, strict=True):
        for mine, theirs in zip(a, b, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    noise, pictures = whole[0]
    assert noise.shape == (4, 5) and pictures.shape == (4, 8, 8, 3)
    assert pictures.dtype == np.float32 and 0 <= pictures.min() <= pictures.max() <= 1


def test_a_damaged_photo_is_left_out_and_another_takes_its_place(folder, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    files = [tmp_path / "bad.jpg", *photos.split(folder)[0]]
    with pytest.warns(UserWarning, match="bad.jpg"):
        _, pictures = take(1, files, 8, 10)[0]
    assert len(pictures) == 10


def test_half_are_mirrored(tmp_path):
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, 4:] = 255
    images.write_image(tmp_path / "half.png", half)
    [(_, pictures)] = take(1, [tmp_path / "half.png"], 8, 64)
    assert 16 < (pictures[:, 0, 0, 0] > 0.5).sum() < 48


def test_no_photos_at_all_is_said(tmp_path):
    with pytest.raises(MediaError, match="no photos"):
        take(1, [], 8)


def test_other_photos_of_the_same_names_have_another_fingerprint(tmp_path):
    for name in ("one", "two"):
        for i in range(3):
            image = np.full((8, 8 + (name == "two"), 3), 90, np.uint8)
            images.write_image(tmp_path / name / f"{i}.png", image)
    one, two = (photos.split(tmp_path / name, 0.1)[0] for name in ("one", "two"))
    assert photos.fingerprint(one).startswith("2 photos, ")
    assert photos.fingerprint(one) == photos.fingerprint(one)
    assert len({photos.fingerprint(f) for f in (one, one[:1], one[::-1], two)}) == 4


# --- pairs, small and large ---------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return samples.write_photos(tmp_path_factory.mktemp("photos"), 12, size=128)


def take_pairs(count, *arguments, **options):
    return list(itertools.islice(photos.pairs(*arguments, **options), count))


def test_small_and_large_belong_together(people):
    [(small, large)] = take_pairs(1, people, (2, 4), 64, 6, degraded=0)
    for k in (2, 4):
        assert small[k].shape == (6, 64 // k, 64 // k, 3)
        assert large[k].shape == (6, 64, 64, 3) and large[k].dtype == np.float32
        for a, b in zip(small[k], large[k], strict=True):
            picture = (b * 255).round().astype(np.uint8)
            np.testing.assert_array_equal(
                (a * 255).round().astype(np.uint8), photos.shrink(picture, k)
            )


def test_the_nth_batch_of_pairs_is_the_same_from_wherever_it_is_asked(people):
    whole = take_pairs(4, people, (2,), 32, 3)
    later = take_pairs(2, people, (2,), 32, 3, start=2)
    for a, b in zip(whole[2:], later, strict=True):
        for mine, theirs in zip(a, b, strict=True):
            np.testing.assert_array_equal(mine[2], theirs[2])
    assert not np.array_equal(whole[0][1][2], whole[1][1][2])


def test_degraded_ones_are_worse(people):
    [(small, large)] = take_pairs(1, people, (2,), 64, 24, degraded=1)
    clean = [photos.shrink((p * 255).round().astype(np.uint8), 2) for p in large[2]]
    off = [np.abs(s * 255 - c).mean() for s, c in zip(small[2], clean, strict=True)]
    assert np.mean(np.array(off) > 0.5) > 0.6


def test_a_bad_picture_is_of_the_right_size_and_kind():
    picture = np.full((32, 48, 3), 90, np.uint8)
    for seed in range(8):
        small = photos.degrade(picture, 4, np.random.default_rng(seed))
        assert small.shape == (8, 12, 3) and small.dtype == np.uint8
        assert abs(small.mean() - 90) < 8


def test_what_a_network_made_comes_in_at_matching_places(people):
    mark = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    made = {2: (mark, mark.repeat(2, 1).repeat(2, 2))}
    [(small, large)] = take_pairs(1, people, (2, 4), 24, 16, made=made, share=1.0)
    np.testing.assert_array_equal(small[2], large[2][:, ::2, ::2])
    assert large[4].std() > 0.1 and not np.array_equal(large[2], large[4])


def test_a_photo_that_is_too_small_is_left_out(people, tmp_path):
    images.write_image(tmp_path / "tiny.png", np.zeros((40, 90, 3), np.uint8))
    with pytest.warns(UserWarning, match="tiny.png.*90 × 40.*64"):
        take_pairs(1, [tmp_path / "tiny.png", *people], (2,), 64, 13)
    with pytest.warns(UserWarning), pytest.raises(MediaError, match="tiny.png"):
        take_pairs(1, [tmp_path / "tiny.png"], (2,), 64, 2)


def test_a_patch_that_no_factor_divides_is_refused(people):
    with pytest.raises(ValueError, match="patch=66.*4"):
        take_pairs(1, people, (2, 4), 66)


def test_what_an_autoencoder_makes_lies_beside_the_face(people, untrained):
    made = photos.remake(untrained, "hopper", people[:3], factor=2)
    small, large = made[2]
    assert small.shape == (3, 32, 32, 3) and large.shape == (3, 64, 64, 3)
    painted, _ = untrained.swap(
        np.stack([np.asarray(Image.fromarray(p).reduce(2)) for p in large]) / 255.0,
        "hopper",
    )
    assert np.abs(painted * 255 - small).mean() < 12  # it is what it makes of them
    with pytest.raises(MediaError, match="1 photos"):
        grey = people[0].with_name("grey.png")
        images.write_image(grey, np.full((64, 64, 3), 90, np.uint8))
        photos.remake(untrained, "hopper", [grey])
