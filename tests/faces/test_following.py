import multiprocessing
import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import detect, tracking


def frames(images):
    return (SimpleNamespace(index=i, image=im) for i, im in enumerate(images))


def rotated(image, degrees):
    centre = (image.shape[1] / 2, image.shape[0] / 2)
    turn = cv2.getRotationMatrix2D(centre, -degrees, 1)
    return cv2.warpAffine(
        image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )


def eye_distance(points):
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    return np.linalg.norm(right - left)


@pytest.fixture(scope="module")
def moving():
    """(24, 384, 384, 3): a person who moves."""
    return np.stack(list(samples.animate("collins", samples.motion(300, 3)[:72:3])))


@pytest.fixture(scope="module")
def blank():
    return np.full((384, 384, 3), 90, np.uint8)


def test_frames_come_in_order_and_each_with_its_face(moving):
    seen = list(tracking.follow(frames(moving)))
    assert [frame.index for frame, _ in seen] == list(range(24))
    assert all(len(found) == 1 for _, found in seen)


def test_a_look_near_the_last_face_finds_what_a_look_at_everything_finds(moving):
    for frame, (face,) in tracking.follow(frames(moving)):
        if frame.index % 6 == 0:
            alone = detect.detect(frame.image)[0].landmarks
            apart = np.linalg.norm(face.landmarks - alone, axis=1).mean()
            assert apart < 0.05 * eye_distance(alone)


def test_a_face_that_comes_late_is_followed_back_to_where_it_came_in(moving, blank):
    images = [blank] * 6 + list(moving[:4]) + [blank] * 3
    found = [len(found) for _, found in tracking.follow(frames(images))]
    assert found == [0] * 6 + [1] * 4 + [0] * 3


def test_nobody_is_seen_where_nobody_is(blank, noise):
    assert all(not f for _, f in tracking.follow(frames([blank] * 9 + [noise] * 9)))


def test_another_shot_is_another_face(posed, moving):
    other = np.roll(posed("hopper", x=0.1), 90, axis=1)
    *_, before, after = tracking.follow(frames([*moving[:2], other]))
    alone = detect.detect(other)[0].landmarks
    assert np.abs(after[1][0].landmarks - alone).mean() < 4
    assert np.abs(before[1][0].landmarks - alone).mean() > 30


def test_everyone_in_the_frame_is_followed(posed):
    pairs = [
        np.concatenate([posed("collins", x=s), posed("hopper", x=-s)], axis=1)
        for s in np.linspace(-0.1, 0.1, 5)
    ]
    for _, found in tracking.follow(frames(pairs)):
        assert sorted(f.landmarks[:, 0].mean() > 384 for f in found) == [False, True]


def test_a_head_that_tilts_is_followed_where_the_detector_alone_loses_it(posed):
    upright = posed("collins")
    angles = list(range(0, 66, 5))
    images = [rotated(upright, angle) for angle in angles]
    alone = [bool(detect.detect(image, effort=0)) for image in images]
    seen = [found for _, found in tracking.follow(frames(images))]
    assert all(len(found) == 1 for found in seen) and not all(alone)
    for angle, (face,) in zip(angles, seen, strict=True):
        left, right = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)
        x, y = right - left
        assert np.degrees(np.arctan2(y, x)) == pytest.approx(angle, abs=6)


def test_a_face_that_leaves_is_not_invented(moving, blank):
    images = [*moving[:3], *[blank] * 20]
    found = [len(found) for _, found in tracking.follow(frames(images))]
    assert found == [1] * 3 + [0] * 20


def test_a_clip_is_followed_from_any_frame_as_from_its_beginning(clips):
    whole = list(tracking.follow_clip(clips["collins"], workers=0))
    assert [frame.index for frame, _ in whole] == list(range(72))
    for start, workers in ((30, 1), (53, 0)):
        part = tracking.follow_clip(clips["collins"], start, workers)
        for (frame, mine), (same, theirs) in zip(part, whole[start:], strict=True):
            assert frame.index == same.index and len(mine) == len(theirs) == 1
            # The process beside converts colours quickly, a level or two off, and
            # what the tracker makes of that differs from processor to processor.
            apart = np.abs(mine[0].landmarks - theirs[0].landmarks).mean()
            assert apart <= (1.5 if workers else 0)


def test_a_search_that_was_ended_says_so(clips):
    stream = tracking.follow_clip(clips["collins"])
    next(stream)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="was ended: .*SIGKILL"):
        list(stream)


def test_after_a_cut_everyone_is_found_at_once(posed, moving):
    alone = [
        cv2.copyMakeBorder(im, 0, 0, 0, 384, cv2.BORDER_CONSTANT) for im in moving[:6]
    ]
    pair = [np.hstack([im, posed("hopper")]) for im in moving[:6]]
    found = [len(f) for _, f in tracking.follow(frames([*alone, *pair, *alone]))]
    assert found == [1] * 6 + [2] * 6 + [1] * 6


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_head_is_followed_whichever_way_up_it_is(moving, turns):
    turned = [np.ascontiguousarray(np.rot90(image, turns)) for image in moving[:12]]
    for (_, (face,)), (_, (upright,)) in zip(
        tracking.follow(frames(turned)), tracking.follow(frames(moving)), strict=False
    ):
        points = face.landmarks + 0.5 - 192
        for _ in range(turns):
            points = np.stack([-points[:, 1], points[:, 0]], 1)
        apart = np.abs(points + 192 - 0.5 - upright.landmarks).mean()
        assert apart < 0.06 * eye_distance(upright.landmarks)
