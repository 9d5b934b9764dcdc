import warnings

import cv2
import numpy as np
import pytest

from deepfakery import faces, images, video
from deepfakery.merge import match_colour, merge, soft_mask, steady, swap_clip

SIZE = 256


@pytest.fixture(scope="module")
def scene(posed, landmarks):
    """A frame, its landmarks, and its own aligned face as if it had been painted."""
    frame = posed("collins", roll=6, yaw=8)
    points = landmarks(frame)
    own = faces.crop(frame, faces.alignment(points, SIZE), SIZE)
    return frame, points, own.astype(np.float32) / 255, np.ones((SIZE, SIZE, 1), "f4")


def inside_hull(frame, points, grow=0):
    filled = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillConvexPoly(filled, faces.hull(points).round().astype(int), 1)
    if grow:
        filled = cv2.dilate(filled, np.ones((2 * grow + 1,) * 2, np.uint8))
    return filled.astype(bool)


# --- one face ---------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "least"), [(False, 3), (True, 4)])
def test_a_face_painted_as_it_was_changes_little(scene, colour, least):
    frame, points, own, mask = scene
    merged = merge(frame, points, own, mask, colour=colour)
    assert merged.shape == frame.shape and merged.dtype == np.uint8
    inside = inside_hull(frame, points)
    assert np.abs(merged[inside].astype(int) - frame[inside]).mean() < least


def test_outside_the_face_every_pixel_is_the_frames_own(scene):
    frame, points, own, mask = scene
    before = frame.copy()
    merged = merge(frame, points, 1 - own, mask, colour=False)
    outside = ~inside_hull(frame, points, grow=6)
    np.testing.assert_array_equal(merged[outside], frame[outside])
    assert np.abs(merged.astype(int) - frame)[inside_hull(frame, points)].mean() > 30
    np.testing.assert_array_equal(frame, before)  # the caller's frame is not touched


def test_the_middle_of_the_face_is_all_painted(scene):
    frame, points, own, mask = scene
    green = np.zeros_like(own) + np.float32([0, 1, 0])
    merged = merge(frame, points, green, mask, colour=False)
    x, y = points[30].round().astype(int)
    np.testing.assert_array_equal(merged[y, x], [0, 255, 0])


def test_where_the_network_sees_no_face_nothing_is_painted(scene):
    frame, points, own, mask = scene
    merged = merge(frame, points, 1 - own, 0 * mask)
    np.testing.assert_array_equal(merged, frame)
    half = mask.copy()
    half[:, : SIZE // 2] = 0
    merged = merge(frame, points, 1 - own, half, colour=False)
    changed = np.abs(merged.astype(int) - frame).max(-1) > 3
    left, right = points[[2, 3, 4]].mean(0), points[[12, 13, 14]].mean(0)
    x, y = np.argwhere(changed)[:, ::-1].mean(0) - (left + right) / 2
    assert (x, y) @ (right - left) > 0


def test_colours_are_moved_to_the_frames_own(scene):
    frame, points, own, mask = scene
    inside = inside_hull(frame, points)
    tinted = np.clip(own * (0.8, 0.9, 1.2), 0, 1).astype(np.float32)
    errors = []
    for colour in (True, False):
        merged = merge(frame, points, tinted, mask, colour=colour)[inside]
        errors.append(np.abs(merged.mean(0) - frame[inside].mean(0)).max())
    assert errors[0] < 3 < 10 < errors[1]


@pytest.mark.parametrize("shift", [(-170, 0), (0, -170), (180, 90), (-500, 0)])
def test_a_face_may_leave_the_frame(scene, shift):
    frame, points, own, mask = scene
    moved = np.roll(frame, shift[::-1], (0, 1))
    merged = merge(moved, points + np.float32(shift), 1 - own, mask, colour=False)
    assert merged.shape == frame.shape
    outside = ~inside_hull(frame, points + np.float32(shift), grow=6)
    np.testing.assert_array_equal(merged[outside], moved[outside])


def test_small_networks_paint_large_faces(scene):
    frame, points, own, mask = scene
    small = cv2.resize(own, (32, 32), interpolation=cv2.INTER_AREA)
    merged = merge(frame, points, small, np.ones((32, 32, 1), np.float32))
    inside = inside_hull(frame, points)
    assert 1 < np.abs(merged[inside].astype(int) - frame[inside]).mean() < 20
    outside = ~inside_hull(frame, points, grow=20)
    np.testing.assert_array_equal(merged[outside], frame[outside])


# --- its mask and its colours -----------------------------------------------------


@pytest.mark.parametrize("feather", [0.02, 0.1, 0.2])
def test_a_soft_mask_fades_inside_the_outline(scene, feather):
    frame, points, _, mask = scene
    aligned = faces.transform_points(points, faces.alignment(points, SIZE))
    soft = soft_mask(aligned, mask, 0, feather)
    assert soft.shape == (SIZE, SIZE)
    assert 0 <= soft.min() and 0.99 < soft.max() <= 1 + 1e-6
    edge = np.concatenate([soft[0], soft[-1], soft[:, 0], soft[:, -1]])
    assert edge.max() < 1e-3
    hard = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(hard, faces.hull(aligned).round().astype(int), 1)
    assert soft[hard == 0].max() < 0.5
    steepest = np.abs(np.diff(soft, axis=1)).max()
    assert steepest < 2 / (feather * SIZE)


def test_masks_shrink_by_erosion_and_by_doubt(scene):
    _, points, _, mask = scene
    aligned = faces.transform_points(points, faces.alignment(points, SIZE))
    areas = [soft_mask(aligned, mask, erode, 0.1).sum() for erode in (0, 0.05, 0.1)]
    assert areas[0] > 1.1 * areas[1] > 1.2 * areas[2] > 0
    assert soft_mask(aligned, 0.1 * mask, 0, 0.1).max() < 0.3
    assert soft_mask(aligned, 0 * mask, 0, 0.1).max() == 0


def lab_moments(image, weight):
    lab = cv2.cvtColor(np.float32(image), cv2.COLOR_RGB2LAB)[weight > 0]
    return lab.mean(0), lab.std(0)


def test_matched_colours_have_the_given_mean_and_spread(scene):
    _, _, own, _ = scene
    weight = np.zeros((SIZE, SIZE), np.float32)
    weight[64:192, 64:192] = 1
    # Half as bright again, a little less contrast: within what may be changed.
    other = np.clip(0.1 + own * (0.75, 0.85, 0.8), 0, 1).astype(np.float32)
    matched = match_colour(own, other, weight)
    assert matched.dtype == np.float32 and 0 <= matched.min() <= matched.max() <= 1
    (mean, spread), (wanted, wanted_spread) = (
        lab_moments(image, weight) for image in (matched, other)
    )
    np.testing.assert_allclose(mean, wanted, atol=1)
    np.testing.assert_allclose(spread, wanted_spread, rtol=0.1, atol=0.5)


def test_contrast_is_never_blown_up(scene):
    _, _, own, _ = scene
    weight = np.ones((SIZE, SIZE), np.float32)
    flat = (0.5 + 0.1 * (own - 0.5)).astype(np.float32)
    matched = match_colour(flat, own, weight)
    _, spread = lab_moments(matched, weight)
    _, before = lab_moments(flat, weight)
    assert spread[0] < 1.3 * before[0]


def test_colours_without_a_place_to_look_stay(scene):
    _, _, own, _ = scene
    nowhere = np.zeros((SIZE, SIZE), np.float32)
    np.testing.assert_array_equal(match_colour(own, 1 - own, nowhere), own)


# --- over time --------------------------------------------------------------------


def steadied(track):
    """What becomes of a list of landmarks; the order of frames must stay."""
    pairs = list(steady(enumerate(track)))
    assert [i for i, _ in pairs] == list(range(len(track)))
    return [points for _, points in pairs]


def test_accelerating_motion_passes_without_lag(scene):
    points, t = scene[1], np.arange(20)
    track = [points + np.float32([0.4 * i + 0.05 * i * i, -0.3 * i]) for i in t]
    np.testing.assert_allclose(steadied(track), track, atol=1e-2)


def test_trembling_landmarks_are_steadied(scene):
    points, random = scene[1], np.random.default_rng(0)
    track = [points + random.normal(0, 1, (68, 2)).astype("f4") for _ in range(40)]
    before, after = (np.std(t[3:-3], axis=0).mean() for t in (track, steadied(track)))
    assert after < 0.7 * before


def test_landmarks_never_leak_from_one_face_to_another(scene):
    points = scene[1]
    far = points + np.float32([200, 0])
    tracks = (
        [points] * 5 + [None] * 4 + [far] * 9,  # leaves, and comes back elsewhere
        [points] * 8 + [far] * 8,  # jumps
        [None] * 3,
        [points] * 2,
        [],
    )
    for track in tracks:
        for found, made in zip(track, steadied(track), strict=True):
            assert (found is None) == (made is None)
            if found is not None:
                np.testing.assert_allclose(made, found, atol=1e-3)


# --- a whole clip -----------------------------------------------------------------


@pytest.fixture(scope="module")
def footage(short_clips, tmp_path_factory):
    """Twelve frames with a face, then six without, at uneven times; and those times."""
    path = tmp_path_factory.mktemp("footage") / "footage.mp4"
    pictures = [f.image for f in video.read_frames(short_clips["collins"])]
    ramp = np.linspace(60, 180, 384).astype(np.uint8)
    empty = np.repeat(np.tile(ramp, (384, 1))[..., None], 3, axis=2)
    times = [0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22]
    with video.VideoWriter(path, fps=25) as writer:
        for pts, picture in zip(times, pictures + [empty] * 6, strict=True):
            writer.write(picture, pts)
    return path, [t / 25 for t in times]


@pytest.fixture(scope="module")
def swapped(footage, untrained, tmp_path_factory):
    """The clip swapped with and without its label: {label: (folder, painted)}."""
    made = {}
    for label in (True, False):
        folder = tmp_path_factory.mktemp("swapped")
        painted = swap_clip(
            footage[0],
            untrained,
            "hopper",
            folder / "swap.mp4",
            frames_folder=folder / "frames",
            label=label,
            workers=0,
        )
        made[label] = folder, painted
    return made


def test_a_swapped_clip_keeps_frames_times_and_size(footage, swapped):
    source, times = footage
    folder, painted = swapped[True]
    assert painted == swapped[False][1] == list(range(12))
    frames = list(video.read_frames(folder / "swap.mp4"))
    assert [f.time for f in frames] == pytest.approx(times, abs=1e-6)
    before, after = video.probe(source), video.probe(folder / "swap.mp4")
    assert (after.width, after.height) == (before.width, before.height) == (384, 384)
    assert after.frames == before.frames == 18
    assert after.duration == pytest.approx(before.duration, abs=0.02)


def test_every_frame_is_also_a_picture(swapped):
    folder, _ = swapped[True]
    names = sorted(f.name for f in (folder / "frames").iterdir())
    assert names == [f"{i:06d}.png" for i in range(18)]
    frames = video.read_frames(folder / "swap.mp4")
    for frame, name in zip(frames, names, strict=True):
        picture = images.read_image(folder / "frames" / name)
        assert np.abs(frame.image.astype(int) - picture).mean() < 4


def test_nothing_half_made_is_left(swapped):
    for folder, _ in swapped.values():
        assert {f.name for f in folder.iterdir()} == {"swap.mp4", "frames"}


def test_frames_without_a_face_pass_unchanged(footage, swapped):
    originals = list(video.read_frames(footage[0]))
    folder, _ = swapped[True]
    for frame, again in zip(
        originals[12:], list(video.read_frames(folder / "swap.mp4"))[12:], strict=True
    ):
        picture = images.read_image(folder / "frames" / f"{frame.index:06d}.png")
        np.testing.assert_array_equal(picture, frame.image)
        assert np.abs(again.image.astype(int) - frame.image).mean() < 2


def test_faces_are_painted_and_the_rest_is_not(footage, swapped, landmarks):
    folder, _ = swapped[False]
    for frame in video.read_frames(footage[0]):
        if frame.index not in (0, 11):
            continue
        picture = images.read_image(folder / "frames" / f"{frame.index:06d}.png")
        difference = np.abs(picture.astype(int) - frame.image).max(-1)
        points = landmarks(frame.image)
        assert difference[inside_hull(frame.image, points)].mean() > 5
        assert difference[~inside_hull(frame.image, points, grow=40)].max() == 0


def test_only_painted_frames_are_labelled_in_their_lower_left_corner(swapped):
    labelled, plain = (swapped[label][0] / "frames" for label in (True, False))
    for i in range(18):
        name = f"{i:06d}.png"
        difference = np.abs(
            images.read_image(labelled / name).astype(int)
            - images.read_image(plain / name)
        ).max(-1)
        assert (difference.max() > 100) == (i < 12)
        rows, columns = np.nonzero(difference)
        if i < 12:
            assert rows.min() > 384 * 0.9 and columns.max() < 384 * 0.5


def test_a_clip_without_a_face_is_named_and_leaves_nothing(untrained, tmp_path):
    clip = tmp_path / "fog.mp4"
    with video.VideoWriter(clip, fps=25) as writer:
        for _ in range(3):
            writer.write(np.full((120, 160, 3), 90, np.uint8))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"fog\.mp4 shows no face"):
        swap_clip(
            clip,
            untrained,
            "hopper",
            out / "swap.mp4",
            frames_folder=out / "frames",
            workers=0,
        )
    assert list(out.iterdir()) == []


def test_an_older_result_is_replaced_only_by_a_whole_one(footage, untrained, tmp_path):
    out = tmp_path / "swap.mp4"
    out.write_bytes(b"older")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "000099.png").write_bytes(b"older")
    with pytest.raises(ValueError, match="lovelace"):
        swap_clip(
            footage[0],
            untrained,
            "lovelace",
            out,
            frames_folder=tmp_path / "frames",
            workers=0,
        )
    assert out.read_bytes() == b"older"
    assert {f.name for f in tmp_path.iterdir()} == {"swap.mp4", "frames"}
    assert [f.name for f in (tmp_path / "frames").iterdir()] == ["000099.png"]


def test_footage_that_cannot_be_read_is_named(untrained, tmp_path):
    (tmp_path / "text.mp4").write_text("words")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(video.MediaError, match=r"text\.mp4"):
            swap_clip(tmp_path / "text.mp4", untrained, "hopper", tmp_path / "a.mp4")
    assert [f.name for f in tmp_path.iterdir()] == ["text.mp4"]
