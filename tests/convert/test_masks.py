import cv2
import numpy as np
import pytest

from deepfakery.convert import masks
from deepfakery.convert.masks import soft_mask
from deepfakery.faces import geometry

SIZE = masks.SIZE


@pytest.fixture(scope="module")
def scene(posed, landmarks):
    """Landmarks of an aligned face, and a network's mask that agrees everywhere."""
    frame = posed("collins", roll=6, yaw=8)
    points = landmarks(frame)
    points = geometry.transform_points(points, geometry.alignment(points, SIZE))
    return points, np.ones((SIZE, SIZE, 1), np.float32)


@pytest.mark.parametrize("feather", [0.02, 0.1, 0.2])
def test_a_soft_mask_fades_over_its_outline_and_ends_within_the_crop(scene, feather):
    aligned, mask = scene
    soft = soft_mask(aligned, mask, feather=feather)
    assert soft.shape == (masks.SIZE, masks.SIZE)
    assert 0 <= soft.min() and 0.99 < soft.max() <= 1
    edge = np.concatenate([soft[0], soft[-1], soft[:, 0], soft[:, -1]])
    assert edge.max() < 1e-3
    hard = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(hard, geometry.hull(aligned).round().astype(int), 1)
    assert soft[hard == 0].max() < 0.5
    steepest = np.abs(np.diff(soft, axis=1)).max()
    assert steepest < 2 / (feather * SIZE)


def test_masks_shrink_by_erosion_and_by_doubt(scene):
    aligned, mask = scene
    areas = [
        soft_mask(aligned, mask, erode=erode, feather=0.1).sum()
        for erode in (-0.05, 0, 0.05, 0.1)
    ]
    assert areas[0] > 1.1 * areas[1] > 1.2 * areas[2] > 1.3 * areas[3] > 0
    for doubt, most in ((0.1, 0.3), (0, 0)):
        assert soft_mask(aligned, doubt * mask, "both", feather=0.1).max() <= most


def test_hull_and_network_each_have_their_say(scene):
    aligned, mask = scene
    x, y = aligned[30].round().astype(int)
    hand = mask.copy()
    hand[:, : SIZE // 2] = 0  # something covers half of the face
    hull, both, network = (
        soft_mask(aligned, hand, region) for region in ("hull", "both", "network")
    )
    left, right = np.s_[y, x - 20], np.s_[y, x + 20]
    assert hull[left] > 0.99 and both[left] < 0.01 and network[left] < 0.01
    assert min(hull[right], both[right], network[right]) > 0.99
    corner = np.s_[13, SIZE - 13]  # beyond the outline only the network sees a face
    assert hull[corner] < 0.01 and both[corner] < 0.01 and network[corner] > 0.99


def test_a_network_without_a_mask_has_the_outline_drawn_in(scene):
    aligned, mask = scene
    none = np.ones_like(mask)
    for region in ("hull", "both", "network"):
        shown = soft_mask(aligned, none, region)
        np.testing.assert_array_equal(shown, soft_mask(aligned, mask, "hull"))


def test_the_outline_reaches_over_the_forehead_as_asked(scene):
    aligned, mask = scene
    areas = [soft_mask(aligned, mask, forehead=f).sum() for f in (0, 0.3, 0.6)]
    assert areas[0] < areas[1] < areas[2]


def test_a_mask_has_one_place_whatever_the_networks_size(scene):
    aligned, mask = scene
    small = soft_mask(geometry.resize_points(aligned, 1 / 4), mask[::4, ::4])
    assert np.abs(small - soft_mask(aligned, mask)).mean() < 0.01


def test_an_unknown_region_is_named(scene):
    with pytest.raises(ValueError, match="nose"):
        soft_mask(*scene, region="nose")
