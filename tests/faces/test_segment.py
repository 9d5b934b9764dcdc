"""What belongs to a face: measured on people whose hair and glasses are known."""

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import geometry, segment

SIZE = 256


def cut(frame, points):
    """A face as a face folder holds it, and its landmarks there."""
    transform = geometry.alignment(points, SIZE)
    aligned = geometry.transform_points(points, transform)
    return geometry.crop(frame, transform, SIZE), aligned


@pytest.fixture(params=["collins", "hopper"])
def face(request, posed, landmarks):
    frame = posed(request.param, yaw=5)
    return request.param, *cut(frame, landmarks(frame))


def contains(outline, point):
    return cv2.pointPolygonTest(outline, [float(v) for v in point], False) >= 0


def test_features_belong_to_a_face_and_background_does_not(face):
    _, image, points = face
    outline = segment.segment(image, points)
    assert outline.dtype == np.float32 and outline.shape[1:] == (2,)
    assert 0 <= outline.min() and outline.max() < SIZE
    assert all(contains(outline, point) for point in points[17:])
    corners = [(3, 3), (SIZE - 3, 3), (3, SIZE - 3), (SIZE - 3, SIZE - 3)]
    assert not any(contains(outline, corner) for corner in corners)


def test_chin_and_sides_are_the_landmarks_own(face):
    _, image, points = face
    outline = segment.segment(image, points)
    below = points[8] + (0, 8)
    assert contains(outline, points[8] - (0, 10)) and not contains(outline, below)
    assert outline[:, 0].min() > points[:17, 0].min() - 12
    assert outline[:, 0].max() < points[:17, 0].max() + 12


def test_the_forehead_ends_at_the_hair(face):
    """A blond fringe low over the brows, a black cap high over them."""
    name, image, points = face
    outline = segment.segment(image, points)
    brows = points[17:27].mean(0)
    height = brows[1] - outline[:, 1].min()
    nose = np.linalg.norm(points[33] - brows)
    assert 0.15 * nose < height < {"collins": 0.45, "hopper": 0.65}[name] * nose


def test_glasses_are_part_of_the_face(posed, landmarks):
    frame = posed("hopper")
    image, points = cut(frame, landmarks(frame))
    outline = segment.segment(image, points)
    # The upper rims run between brows and lids, from temple to temple.
    for brow, lid in ((18, 36), (20, 39), (23, 42), (25, 45)):
        assert contains(outline, (points[brow] + points[lid]) / 2)


def test_an_outline_has_one_place_whatever_the_pictures_size(face):
    _, image, points = face
    large = segment.segment(image, points)
    small = cv2.resize(image, (SIZE // 2,) * 2, interpolation=cv2.INTER_AREA)
    small = segment.segment(small, geometry.resize_points(points, 0.5))
    masks = [geometry.fill(large, SIZE), geometry.fill(2 * small + 0.5, SIZE)]
    assert np.abs(masks[0] - masks[1]).mean() < 0.01


def test_a_turned_heads_far_cheek_ends_where_it_does(landmarks):
    frame = next(samples.animate("hopper", samples.motion(300, seed=0)[87:88]))
    image, points = cut(frame, landmarks(frame))
    row = 150  # half way down the cheek, which begins 85 pixels from the left
    jaw = np.interp(row, points[:6, 1], points[:6, 0])
    assert jaw < 65  # dlib's stands on what is behind
    inside = geometry.fill(segment.segment(image, points), SIZE) > 0.5
    assert 75 < np.flatnonzero(inside[row])[0] < 95
