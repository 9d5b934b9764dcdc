import itertools

import numpy as np
import pytest

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
    [(_, pictures)] = take(1, [tmp_path / "half.png"], 8, 16, flip=False)
    assert not pictures[:, 0, 0, 0].any()


def test_no_photos_at_all_is_said(tmp_path):
    with pytest.raises(MediaError, match="no photos"):
        take(1, [], 8)


def test_other_photos_of_the_same_names_are_discriminator_loss(tmp_path):
    for name in ("one", "two"):
        for i in range(3):
            image = np.full((8, 8 + (name == "two"), 3), 90, np.uint8)
            images.write_image(tmp_path / name / f"{i}.png", image)
    one, two = (photos.split(tmp_path / name, 0.1)[0] for name in ("one", "two"))
    assert photos.fingerprint(one).startswith("2 photos, ")
    assert photos.fingerprint(one) == photos.fingerprint(one)
    assert len({photos.fingerprint(f) for f in (one, one[:1], one[::-1], two)}) == 4
