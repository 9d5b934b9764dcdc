import av
import numpy as np
import pytest

from deepfakery.faces import detect
from deepfakery.samples import (
    EYES,
    MOTION,
    PEOPLE,
    RANGES,
    Portrait,
    animate,
    motion,
    portrait,
    write_clip,
)


def posed(name, **columns):
    """One frame with some columns of the motion set, all others at rest."""
    return next(animate(name, [[columns.get(column, 0) for column in MOTION]]))


def landmarks(image):
    return detect.detect(image)[0].landmarks


def distance(points, a, b):
    return np.linalg.norm(points[a] - points[b])


def lips_apart(points):
    """Inner lips, as a share of the outer distance of the eyes."""
    return distance(points, 62, 66) / distance(points, 36, 45)


def eyes_open(points):
    return sum(
        (distance(points, i + 1, i + 5) + distance(points, i + 2, i + 4))
        / distance(points, i, i + 3)
        for i in (36, 42)
    )


def nose_aside(points):
    """How far the nose tip is to the right of the eyes' middle: a proxy for yaw."""
    across = points[45] - points[36]
    offset = points[30] - (points[36] + points[45]) / 2
    return offset @ across / (across @ across)


@pytest.fixture(scope="module")
def found():
    """What dlib sees in 30 frames spread over a motion, for each person."""
    moves = motion(300, seed=3)[::10]
    return {
        name: [detect.detect(image) for image in animate(portrait(name, 256), moves)]
        for name in PEOPLE
    }


@pytest.mark.parametrize("name", PEOPLE)
def test_portraits_are_level_with_the_eyes_in_the_same_place(name):
    person = portrait(name)
    assert person.image.shape == (384, 384, 3) and person.image.dtype == np.uint8
    assert person.landmarks.shape == (68, 2)
    eyes = person.landmarks[36:42].mean(0), person.landmarks[42:48].mean(0)
    np.testing.assert_allclose(eyes[1] - eyes[0], (EYES * 384, 0), atol=0.01)


def test_unknown_people_and_wrong_motions_are_named():
    with pytest.raises(ValueError, match="lovelace"):
        portrait("lovelace")
    with pytest.raises(ValueError, match="frames, 12"):
        next(animate("collins", np.zeros((2, 5))))


def test_any_photo_of_a_face_becomes_a_portrait():
    known = portrait("hopper")
    photo = posed("hopper", roll=10)
    person = Portrait.from_photo(photo, size=256)
    assert person.image.shape == (256, 256, 3)
    off = np.abs((person.landmarks + 0.5) * 1.5 - 0.5 - known.landmarks)
    assert off.mean() < 0.02 * 384
    (frame,) = animate(person, motion(1))
    assert frame.shape == (256, 256, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_motion_covers_its_ranges(seed):
    moves = motion(300, seed)
    assert moves.shape == (300, len(MOTION)) and moves.dtype == np.float32
    for column, (low, high) in zip(moves.T, RANGES.values(), strict=True):
        np.testing.assert_allclose([column.min(), column.max()], [low, high], atol=1e-5)


def test_motion_is_smooth_and_blinks_are_short():
    moves = motion(600, seed=5)
    blink = moves[:, MOTION.index("blink")]
    for name in set(MOTION) - {"blink"}:
        speed = np.abs(np.diff(moves[:, MOTION.index(name)])).max()
        assert speed < 0.25 * np.ptp(RANGES[name]), name
    edges = np.flatnonzero(np.diff((blink > 0).astype(int)))
    lengths = edges[1::2] - edges[: len(edges) // 2 * 2 : 2]
    assert len(lengths) >= 5 and set(lengths) == {6}


def test_seeds_decide_the_motion():
    np.testing.assert_array_equal(motion(50, 1), motion(50, 1))
    np.testing.assert_array_equal(motion(50, 1), motion(300, 1)[:50])
    assert np.abs(motion(50, 1) - motion(50, 2)).max() > 1
    first, second = (list(animate("collins", motion(3, 4))) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", PEOPLE)
def test_no_motion_returns_the_portrait(name):
    difference = posed(name).astype(int) - portrait(name).image
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize(
    "move",
    [
        {"yaw": 25, "pitch": -15},
        {"yaw": -25, "pitch": 15, "mouth_open": 1},
        {"blink": 1, "smile": 1, "brows": 1},
    ],
)
def test_background_stays_put_when_only_the_head_moves(name, move):
    moved, still = posed(name, **move).astype(int), portrait(name).image
    for corner in (
        np.s_[:40, :60],
        np.s_[:40, -60:],
        np.s_[-30:, :60],
        np.s_[-30:, -60:],
    ):
        assert np.abs(moved[corner] - still[corner]).max() <= 1


def test_dlib_finds_the_face_in_every_frame(found):
    for name in PEOPLE:
        assert all(found[name])


def test_both_people_do_the_same(found):
    pairs = [(a[0], b[0]) for a, b in zip(*found.values(), strict=True)]
    for measure, least in ((nose_aside, 0.9), (lips_apart, 0.85)):
        a, b = np.array(
            [[measure(face.landmarks) for face in pair] for pair in pairs]
        ).T
        assert np.corrcoef(a, b)[0, 1] > least, measure.__name__


@pytest.mark.parametrize("name", PEOPLE)
def test_yaw_is_positive_to_the_right_and_pitch_upwards(name):
    right, left = (landmarks(posed(name, yaw=yaw)) for yaw in (20, -20))
    assert nose_aside(right) > nose_aside(left) + 0.1
    up, down = (landmarks(posed(name, pitch=pitch)) for pitch in (12, -12))
    assert up[30, 1] < down[30, 1] - 10


@pytest.mark.parametrize("name", PEOPLE)
def test_roll_is_clockwise(name):
    x, y = np.diff(landmarks(posed(name, roll=10))[[36, 45]], axis=0)[0]
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(10, abs=3)


@pytest.mark.parametrize("name", PEOPLE)
def test_the_mouth_opens_on_darkness(name):
    amounts = (0, 0.35, 0.7, 1)
    frames = [posed(name, mouth_open=amount) for amount in amounts]
    gaps = [lips_apart(landmarks(frame)) for frame in frames]
    assert np.all(np.diff(gaps) > 0.02)
    # Column by column through the middle of the mouth: dark between two lips.
    points = portrait(name).landmarks
    x, lower = int(points[66, 0]), int(points[66, 1])
    gap = int(0.3 * EYES * 384)
    inside = frames[-1][lower + 3 : lower + gap - 3, x - 3 : x + 4].mean()
    lip = frames[-1][lower + gap + 4 : lower + gap + 8, x - 3 : x + 4].mean()
    assert inside < 0.5 * lip


def test_blinks_close_the_eyes():
    open_eyes = eyes_open(landmarks(posed("collins")))
    assert eyes_open(landmarks(posed("collins", blink=1))) < 0.8 * open_eyes
    for name in PEOPLE:  # a lid of skin is brighter than what it hides
        points = portrait(name).landmarks
        for eye in (points[36:42], points[42:48]):
            x, y = eye.mean(0).astype(int)
            box = np.s_[y - 2 : y + 2, x - 3 : x + 4]
            closed, opened = posed(name, blink=1)[box], posed(name)[box]
            assert closed.mean() > opened.mean() + 15


def test_smile_widens_the_mouth_and_brows_rise():
    for name in PEOPLE:
        rest, smile = landmarks(posed(name)), landmarks(posed(name, smile=1))
        assert distance(smile, 48, 54) > 1.08 * distance(rest, 48, 54)
    brows = landmarks(posed("collins", brows=1))[17:27, 1].mean()
    assert brows < landmarks(posed("collins"))[17:27, 1].mean() - 3


def test_glasses_stay_stiff():
    still = portrait("hopper").image.astype(int)
    moved = posed("hopper", brows=1, smile=1, mouth_open=0.5)
    points = portrait("hopper").landmarks
    top, left = (points[36:48].min(0) - 0.15 * EYES * 384).astype(int)[::-1]
    bottom, right = (points[36:48].max(0) + 0.3 * EYES * 384).astype(int)[::-1]
    box = np.s_[top:bottom, left:right]
    assert np.abs(moved[box] - still[box]).mean() < 1


def test_light_brightens_the_side_it_comes_from():
    dark, bright = posed("collins", light=-1), posed("collins", light=1)
    assert 1.2 < bright.mean() / dark.mean() < 1.4
    ratio = posed("hopper", light_side=1) / (posed("hopper").astype(float) + 1)
    assert ratio[:, -50:].mean() > ratio[:, :50].mean() + 0.1


def test_clips_hold_every_frame(tmp_path):
    path = write_clip(tmp_path / "collins.mp4", "collins", motion(12), fps=30)
    with av.open(path) as clip:
        images = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
        assert clip.streams.video[0].average_rate == 30
    assert np.shape(images) == (12, 384, 384, 3)
    first = next(animate("collins", motion(1)))
    assert np.abs(images[0].astype(int) - first).mean() < 6
