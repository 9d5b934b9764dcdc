from itertools import islice

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.batches import batches, draw_shares, prepare, rarity, skin_beyond
from deepfakery.faces.faceset import FaceSet

STILL = dict(warp=0, flip=0, colour=0, relight=0)


@pytest.fixture(scope="module")
def one(facesets):
    """A face set of a single face, so that a batch is known."""
    whole = facesets["hopper"]
    return {"hopper": FaceSet(whole.folder, whole.records[8:9])}


def eyes_and_mouth(y):
    """Where a target shows nothing but the face; (B, H, W)."""
    return y["hopper"][..., 4] > 0.99


def equal(a, b):
    return all(
        np.array_equal(a[i][name], b[i][name]) for i in range(2) for name in a[i]
    )


def test_a_batch_holds_faces_of_everybody(facesets):
    x, y = next(batches(facesets, 32, batch=5))
    assert tuple(x) == tuple(y) == tuple(facesets)
    for name in facesets:
        assert x[name].shape == (5, 32, 32, 3) and x[name].dtype == np.float32
        assert y[name].shape == (5, 32, 32, 5) and y[name].dtype == np.float32
        for values in (x[name], y[name]):
            assert 0 <= values.min() < 0.2 and 0.6 < values.max() <= 1


def test_the_nth_batch_is_the_same_whenever_it_is_asked_for(facesets):
    first = list(islice(batches(facesets, 32, 3, seed=4), 6))
    assert equal(first[5], next(batches(facesets, 32, 3, seed=4, start=5)))
    assert not equal(first[4], first[5])
    assert not equal(first[0], next(batches(facesets, 32, 3, seed=5)))


def test_without_any_change_input_and_target_are_the_face_itself(one):
    for size in (32, 64):
        x, y = next(batches(one, size, batch=2, **STILL))
        expected = prepare(one["hopper"].images(size), size)
        np.testing.assert_allclose(x["hopper"], expected[[0, 0]], atol=1e-6)
        inside = eyes_and_mouth(y)
        target = y["hopper"][inside, :3]
        np.testing.assert_allclose(target, expected[[0, 0]][inside], atol=1e-6)


def test_skin_goes_on_where_hair_and_background_were(one):
    (image,), (mask,) = one["hopper"].images(128), one["hopper"].masks(128)
    green = np.where(mask[..., None] > 0.5, image, np.uint8([0, 255, 0]))
    made = skin_beyond(image, mask)
    np.testing.assert_array_equal(made, skin_beyond(green, mask))
    deep = cv2.erode(np.uint8(mask > 0.5), np.ones((15, 15))) > 0
    np.testing.assert_array_equal(made[deep], image[deep])
    outside = np.int16(made[mask < 0.5])
    assert (outside[:, 0] > outside[:, 2]).mean() > 0.95  # red over blue, as skin is
    # Without a mask there is nothing to go on from.
    np.testing.assert_array_equal(skin_beyond(image, 0 * mask), image)


def test_the_warp_moves_the_input_and_not_the_target(one):
    x, y = next(batches(one, 64, batch=6, **{**STILL, "warp": 0.06}))
    expected = prepare(one["hopper"].images(64), 64)[0]
    inside = eyes_and_mouth(y)[0]
    for warped, target in zip(x["hopper"], y["hopper"], strict=True):
        assert np.abs(target[..., :3] - expected)[inside].mean() < 0.02
        assert np.abs(warped - expected).max() > 0.05
    np.testing.assert_array_equal(y["hopper"], y["hopper"][[0] * 6])
    gentle, _ = next(batches(one, 64, batch=6, **{**STILL, "warp": 0.01}))
    error = [np.abs(w["hopper"] - expected).mean() for w in (gentle, x)]
    assert error[0] < 0.6 * error[1]


def test_each_face_has_a_warp_of_its_own_strength(one):
    x, y = next(batches(one, 64, batch=40, **{**STILL, "warp": 0.09}))
    expected = prepare(one["hopper"].images(64), 64)
    error = np.abs(x["hopper"] - expected).mean((1, 2, 3))
    assert error.min() < 0.3 * np.median(error) and error.max() > 1.5 * np.median(error)


def test_the_light_of_the_input_is_not_that_of_the_target(one):
    x, y = next(batches(one, 64, batch=40, **{**STILL, "relight": 0.3}))
    np.testing.assert_array_equal(y["hopper"], y["hopper"][[0] * 40])
    dark = y["hopper"][0, ..., :3].max(-1) < 0.4  # what no light here clips
    dark &= eyes_and_mouth(y)[0]
    ratio = np.log(x["hopper"][:, dark] / y["hopper"][:, dark, :3].clip(0.01))
    by_face = np.median(ratio, 1)  # (40, 3)
    assert 0.15 < by_face.mean(1).std() < 0.5
    assert 0.05 < (by_face - by_face.mean(1, keepdims=True)).std() < 0.25


def test_rare_looks_of_eyes_and_mouth_are_drawn_more_often(facesets):
    faces = facesets["hopper"]
    # One face in a hundred and the same one a hundred times over.
    common, other = faces.records[0], faces.records[len(faces.records) // 2]
    many = FaceSet(faces.folder, [common] * 60 + [other] * 3)
    weights = rarity(many)
    assert weights[60:].min() > 5 * weights[:60].max()
    assert np.isclose(weights.mean(), 1)


def test_rare_faces_are_drawn_more_often_and_as_unevenly_of_everybody():
    random = np.random.default_rng(0)
    for spread in (0.2, 0.6):  # behind glasses looks differ less
        rarities = np.exp(random.normal(0, spread, 300))
        shares = draw_shares(rarities, 0.4)
        assert np.isclose(shares.sum(), 1)
        assert np.isclose(1 / np.square(shares).sum(), 0.4 * 300)
        order = np.argsort(rarities)
        assert (np.diff(shares[order]) >= 0).all()
        assert shares[order[-9:]].min() > 2 / 300 > 1 / 300 > shares[order[:99]].max()
        # One that is like no other may be a mistake, and is no lesson by itself.
        rarities[order[-1]] *= 100
        assert draw_shares(rarities, 0.4).max() < 12 / 300
    assert np.allclose(draw_shares(np.ones(9), 0.4), 1 / 9)


def test_blinks_are_drawn_more_often_of_both_people(facesets):
    blink = samples.motion(72)[:, samples.MOTION.index("blink")]
    for faces in facesets.values():
        closed = blink[[record["frame"] for record in faces.records]] > 0.75
        shares = draw_shares(rarity(faces), 0.4)
        assert shares[closed].sum() > 1.5 * closed.mean() > 0


def test_a_flip_mirrors(one):
    _, y = next(batches(one, 64, batch=3, **{**STILL, "flip": 1}))
    _, straight = next(batches(one, 64, batch=3, **STILL))
    mirrored = straight["hopper"][:, :, ::-1]
    np.testing.assert_array_equal(y["hopper"], mirrored)
    _, some = next(batches(one, 32, batch=64, **{**STILL, "flip": 0.5}))
    first = np.abs(some["hopper"] - some["hopper"][0]).mean((1, 2, 3)) < 0.01
    assert 16 < first.sum() < 48


def test_colours_change_within_their_bounds(one):
    _, y = next(batches(one, 32, batch=40, **{**STILL, "colour": 0.05}))
    _, still = next(batches(one, 32, batch=40, **STILL))
    ratio = y["hopper"][..., :3].mean((1, 2)) / still["hopper"][..., :3].mean((1, 2))
    assert 0.89 < ratio.min() < 0.97 and 1.02 < ratio.max() < 1.11
    # The mask is no colour.
    np.testing.assert_array_equal(y["hopper"][..., 3], still["hopper"][..., 3])


def test_the_mask_covers_the_landmarks(one):
    _, targets = next(batches(one, 64, batch=1, **STILL))
    mask = targets["hopper"][0, ..., 3]
    x, y = one["hopper"].landmarks(64)[0].round().astype(int).T
    assert mask[y[17:], x[17:]].min() > 0.95
    assert mask[y[:17], x[:17]].mean() > 0.3  # the jaw is its very edge
    assert mask[:3].max() == mask[-1:].max() == 0 and 0.2 < mask.mean() < 0.7


def test_eyes_and_mouth_are_marked(one):
    _, targets = next(batches(one, 64, batch=1, **STILL))
    marked = targets["hopper"][0, ..., 4]
    x, y = one["hopper"].landmarks(64)[0].round().astype(int).T
    assert marked[y[36:60], x[36:60]].min() > 0.9
    assert marked[y[27:31], x[27:31]].max() == 0  # the bridge of the nose
    assert 0.02 < marked.mean() < 0.2


def test_faces_are_prepared_for_the_network(facesets):
    pictures = facesets["collins"].images(128, limit=3)
    ready = prepare(pictures, 32)
    assert ready.shape == (3, 32, 32, 3) and ready.dtype == np.float32
    blocks = pictures.reshape(3, 32, 4, 32, 4, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(ready, blocks, atol=0.003)
