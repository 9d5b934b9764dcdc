from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data

from deepfakery import samples
from deepfakery.faces import detect, geometry


def similarity(angle, scale, shift):
    """(2, 3): turn clockwise as seen by degrees, scale, then shift."""
    turn = np.radians(angle)
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[a, -b, shift[0]], [b, a, shift[1]]])


def with_jaw(inner):
    """68 landmarks of which only the 51 inner ones are meant."""
    return np.concatenate([np.zeros((17, 2)), inner]).astype(np.float32)


def mean_face(size):
    return geometry.mean_landmarks(size)


@pytest.fixture(scope="module")
def astronaut():
    image = skimage.data.astronaut()
    return image, detect.detect(image)


# --- alignment --------------------------------------------------------------------


def test_the_mean_face_is_symmetric():
    mirrored = geometry.MEAN_FACE * (-1, 1) + (1, 0)
    brows, eyes = list(range(9, -1, -1)), [28, 27, 26, 25, 30, 29]
    np.testing.assert_allclose(mirrored[:10], geometry.MEAN_FACE[brows], atol=0.002)
    np.testing.assert_allclose(mirrored[19:25], geometry.MEAN_FACE[eyes], atol=0.002)
    np.testing.assert_allclose(geometry.MEAN_FACE[10:14, 0], 0.5)


@pytest.mark.parametrize("size", [64, 256])
def test_the_mean_face_is_aligned_to_itself(size):
    transform = geometry.alignment(with_jaw(mean_face(size)), size)
    np.testing.assert_allclose(transform, [[1, 0, 0], [0, 1, 0]], atol=1e-4)


@pytest.mark.parametrize("angle", [0, 33, -90, 179])
@pytest.mark.parametrize("scale", [0.25, 3])
def test_alignment_undoes_a_similarity_transform(angle, scale):
    applied = similarity(angle, scale, (120, -35))
    moved = with_jaw(geometry.transform_points(mean_face(128), applied))
    found = geometry.alignment(moved, 128)
    back = geometry.transform_points(moved[17:], found)
    np.testing.assert_allclose(back, mean_face(128), atol=1e-3)
    both = np.vstack([found, [0, 0, 1]]) @ np.vstack([applied, [0, 0, 1]])
    np.testing.assert_allclose(both, np.eye(3), atol=1e-3)


def test_alignment_never_shears_or_mirrors(facesets):
    for record in facesets["hopper"].records[::10]:
        (a, b, _), (c, d, _) = record["transform"]
        assert (a, b) == pytest.approx((d, -c), abs=1e-5)
        assert a * d - b * c > 0


def test_a_crop_laid_back_is_the_image(astronaut):
    image, found = astronaut
    size = 256
    transform = geometry.alignment(found[0].landmarks, size)
    crop = geometry.crop(image, transform, size)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    inverse = cv2.invertAffineTransform(transform)
    back = cv2.warpAffine(crop, inverse, image.shape[1::-1], flags=cv2.INTER_AREA)
    (x0, y0), (x1, y1) = (found[0].landmarks.min(0), found[0].landmarks.max(0))
    box = np.s_[int(y0) : int(y1), int(x0) : int(x1)]
    assert np.abs(back[box].astype(int) - image[box]).mean() < 3


def test_landmarks_of_a_crop_lie_on_the_mean_face(posed, landmarks):
    for name in samples.PEOPLE:
        image = posed(name, roll=8, x=0.2)
        points = landmarks(image)
        crop = geometry.crop(image, geometry.alignment(points))
        placed = geometry.transform_points(points, geometry.alignment(points))[17:]
        assert np.abs(placed - mean_face(256)).mean() < 8
        assert np.abs(landmarks(crop)[17:] - placed).mean() < 4


def test_shrinking_skips_no_pixels():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255  # one pixel in two: their mean is grey
    crop = geometry.crop(stripes, similarity(0, 1 / 8, (0, 0)), 64)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 8


def test_points_and_pixels_move_alike():
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (120, 80), 4, (255, 255, 255), -1)
    transform = similarity(30, 0.7, (20, -10))
    moved = geometry.crop(image, transform, 200)[..., 0] > 127
    y, x = np.argwhere(moved).mean(0)
    (expected,) = geometry.transform_points(np.float32([[120, 80]]), transform)
    np.testing.assert_allclose((x, y), expected, atol=0.5)


# --- detection --------------------------------------------------------------------


def test_the_astronaut_is_found(astronaut):
    _, found = astronaut
    assert len(found) == 1
    face = found[0]
    assert face.landmarks.shape == (68, 2) and face.landmarks.dtype == np.float32
    assert face.score > 0 and face.descriptor is None
    assert np.abs(face.landmarks.mean(0) - (224, 127)).max() < 10
    assert face.size == pytest.approx(np.ptp(face.landmarks, axis=0).max())


@pytest.mark.parametrize("turns", [1, -1, 2])
def test_a_face_is_found_whichever_way_up_it_is(astronaut, turns):
    image, upright = astronaut
    turned = np.ascontiguousarray(np.rot90(image, turns))
    (face,) = detect.detect(turned, describe=True)
    x, y = upright[0].landmarks.T
    last = len(image) - 1
    places = {1: (y, last - x), -1: (last - y, x), 2: (last - x, last - y)}
    expected = np.stack(places[turns], -1)
    np.testing.assert_allclose(face.landmarks, expected, atol=1)
    # Described upright, it is the same person.
    described = detect.descriptor(image, upright[0].landmarks)
    assert np.linalg.norm(face.descriptor - described) < 0.05


@pytest.mark.parametrize("effort", [0, 1])
def test_of_all_ways_up_the_surest_decides(effort, monkeypatch, astronaut):
    """A head upside down has something like a face, small and unsure, on its brow."""
    image, upright = astronaut
    image, points = image[::-1, ::-1].copy(), 511 - upright[0].landmarks
    brow = points + (points[27] - points[8]) * np.float32(0.4)
    look = detect._detect_upright

    def unsure(picture, longest):
        found = look(picture, longest)
        return [*found, (brow, 0.7)] if (picture == image).all() else found

    monkeypatch.setattr(detect, "_detect_upright", unsure)
    (face,) = detect.detect(image, effort=effort)
    np.testing.assert_allclose(face.landmarks, points, atol=1)


def test_what_is_hardly_a_face_is_none(monkeypatch, astronaut):
    points = astronaut[1][0].landmarks
    monkeypatch.setattr(detect, "_detect_upright", lambda *_: [(points, 0.2)])
    assert detect.detect(np.zeros((512, 512, 3), np.uint8)) == []


def test_an_unsure_face_counts_where_no_other_way_up_shows_one(monkeypatch, astronaut):
    points = astronaut[1][0].landmarks
    answers = iter([[(points, 0.2)], [], [], []])
    monkeypatch.setattr(detect, "_detect_upright", lambda *_: next(answers))
    [face] = detect.detect(np.zeros((512, 512, 3), np.uint8))
    assert face.score == 0.2


def test_the_largest_face_comes_first(posed):
    large = posed("collins")
    image = np.full((384, 640, 3), 127, np.uint8)
    image[:, :384] = large
    image[:224, 400:624] = cv2.resize(posed("hopper"), (224, 224))
    first, second = detect.detect(image)
    assert first.size > second.size
    assert first.landmarks[:, 0].max() < 384 < second.landmarks[:, 0].min()


def test_a_small_face_in_a_4k_picture_is_found(posed):
    whole = np.full((2160, 3840, 3), 90, np.uint8)
    whole[900:1160, 1500:1760] = cv2.resize(posed("collins"), (260, 260))
    (face,) = detect.detect(whole)
    assert face.size < 135 and np.all(np.abs(face.landmarks - (1630, 1030)) < 130)


def test_a_small_face_is_found(posed):
    image = np.full((1080, 1920, 3), 127, np.uint8)
    image[700:950, 1200:1450] = cv2.resize(posed("collins"), (250, 250))
    (face,) = detect.detect(image)
    assert face.size < 130 and np.all(np.abs(face.landmarks - (1325, 825)) < 125)


def test_nobody_is_found_where_nobody_is(noise):
    assert detect.detect(noise) == []
    assert detect.detect(np.full((300, 400, 3), 127, np.uint8)) == []
    assert detect.detect(skimage.data.coffee()) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3000, 2), (39, 39)])
def test_nobody_is_found_in_a_picture_too_small(shape):
    assert detect.detect(np.full((*shape, 3), 90, np.uint8), effort=2) == []


def test_descriptors_tell_people_apart(posed):
    seen = {
        name: [
            detect.detect(posed(name, **move), describe=True)[0].descriptor
            for move in ({}, {"yaw": 15, "smile": 1, "light": 1})
        ]
        for name in samples.PEOPLE
    }
    for still, moved in seen.values():
        assert still.shape == (128,) and still.dtype == np.float32
        assert np.linalg.norm(still - moved) < detect.SAME_PERSON - 0.1
    for a in seen["collins"]:
        for b in seen["hopper"]:
            assert np.linalg.norm(a - b) > detect.SAME_PERSON


def test_more_effort_finds_a_head_that_is_tilted(posed):
    image = posed("collins")
    turn = cv2.getRotationMatrix2D((192, 192), -50, 1)
    image = cv2.warpAffine(image, turn, (384, 384), borderMode=cv2.BORDER_REPLICATE)
    assert detect.detect(image, effort=0) == []
    (face,) = detect.detect(image, effort=2)
    assert np.abs(face.landmarks.mean(0) - 192).max() < 80


def test_detection_on_several_cores_keeps_the_order(posed):
    people = ["collins", "hopper", None, "collins", None, "hopper"]
    blank = np.full((200, 200, 3), 60, np.uint8)
    frames = [
        SimpleNamespace(index=i, image=blank if p is None else posed(p, x=i / 30))
        for i, p in enumerate(people)
    ]
    expected = [detect.detect(frame.image) for frame in frames]
    for workers in (0, 2):
        seen = list(detect.detect_each(iter(frames), workers=workers))
        assert [frame.index for frame, _ in seen] == list(range(6))
        for (_, found), alone in zip(seen, expected, strict=True):
            assert len(found) == len(alone)
            for a, b in zip(found, alone, strict=True):
                np.testing.assert_array_equal(a.landmarks, b.landmarks)


def test_detection_takes_no_more_frames_than_it_needs(posed):
    taken = []

    def frames():
        for i in range(1000):
            taken.append(i)
            yield SimpleNamespace(image=np.zeros((64, 64, 3), np.uint8))

    stream = detect.detect_each(frames(), workers=0)
    next(stream), next(stream)
    assert len(taken) == 2


# --- pose, outline, sharpness -----------------------------------------------------


def test_pose_follows_the_commanded_motion(posed, landmarks):
    def pose(**move):
        return geometry.pose(landmarks(posed("collins", **move)), (384, 384))

    rest = pose()
    assert np.abs(rest).max() < 6
    for degrees in (-20, 20):
        assert pose(yaw=degrees)[0] - rest[0] == pytest.approx(degrees, abs=7)
    for degrees in (-10, 10):
        assert pose(roll=degrees)[2] - rest[2] == pytest.approx(degrees, abs=3)
    for degrees in (-12, 12):
        assert pose(pitch=degrees)[1] - rest[1] == pytest.approx(degrees, abs=7)


def test_pose_is_that_of_a_rigid_face_seen_by_a_camera():
    yaw, pitch, roll = np.radians([15, 10, -7])
    # Image axes: x right, y down, z away; positive yaw right, pitch up, roll clockwise.
    turn_yaw = [
        [np.cos(yaw), 0, -np.sin(yaw)],
        [0, 1, 0],
        [np.sin(yaw), 0, np.cos(yaw)],
    ]
    turn_pitch = [
        [1, 0, 0],
        [0, np.cos(pitch), np.sin(pitch)],
        [0, -np.sin(pitch), np.cos(pitch)],
    ]
    turn_roll = [
        [np.cos(roll), -np.sin(roll), 0],
        [np.sin(roll), np.cos(roll), 0],
        [0, 0, 1],
    ]
    matrix = np.array(turn_roll) @ turn_yaw @ turn_pitch
    points = geometry.POSE_POINTS @ matrix.T + (0, 0, 900)
    landmarks = np.zeros((68, 2), np.float32)
    seen = points[:, :2] / points[:, 2:] * 640 + (320, 240)
    landmarks[list(geometry.POSE_INDEX)] = seen
    found = geometry.pose(landmarks, (640, 480))
    np.testing.assert_allclose(found, [15, 10, -7], atol=0.2)


@pytest.mark.parametrize("roll", [0, 10])
def test_the_outline_holds_all_landmarks_and_the_forehead(posed, landmarks, roll):
    points = landmarks(posed("hopper", roll=roll))
    outline = geometry.hull(points)
    assert outline.dtype == np.float32 and outline.shape[1] == 2
    for x, y in points.tolist():
        assert cv2.pointPolygonTest(outline, (x, y), True) > -0.01
    up = points[27] - points[33]
    up /= np.linalg.norm(up)
    brows = points[17:27].mean(0)
    assert (outline @ up).max() > brows @ up + 0.3 * np.linalg.norm(brows - points[33])
    lower = geometry.hull(points, forehead=0)
    assert cv2.contourArea(lower) < cv2.contourArea(outline)


def test_a_mask_covers_the_outline_with_soft_edges(posed, landmarks):
    points = geometry.transform_points(landmarks(posed("collins")), np.eye(2, 3) / 3)
    mask = geometry.hull_mask(points, 128)
    assert mask.shape == (128, 128) and mask.dtype == np.float32
    assert mask.min() == 0 and mask.max() == 1 and len(np.unique(mask)) > 20
    assert mask.sum() == pytest.approx(cv2.contourArea(geometry.hull(points)), rel=0.1)
    moved = geometry.hull_mask(
        points + np.float32([0.5, 0]), 128
    )  # half a pixel counts
    assert 5 < np.abs(moved - mask).sum() < 200
    assert geometry.hull_mask(points, 128, forehead=0).sum() < mask.sum()


def test_blur_lowers_sharpness(astronaut):
    image, _ = astronaut
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (1, 2, 4)]
    values = [detect.sharpness(im) for im in (image, *blurred)]
    assert np.all(np.diff(values) < 0)
    assert detect.sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0


@pytest.mark.parametrize(
    ("shape", "places"),
    [((600, 6000), [(0, 20), (2600, 20), (5400, 80)]), ((3000, 600), [(40, 2400)])],
)
def test_faces_of_a_panorama_are_found_once_each(astronaut, shape, places):
    image, [face] = astronaut
    panorama = np.full((*shape, 3), 120, np.uint8)
    for x, y in places:
        panorama[y : y + 290, x : x + 512] = image[:290]  # without the suit
    middles = sorted(f.landmarks.mean(0).tolist() for f in detect.detect(panorama))
    wanted = sorted((face.landmarks.mean(0) + places).tolist())
    np.testing.assert_allclose(middles, wanted, atol=6)
