from typing import NamedTuple

import numpy as np
import pytest

from deepfakery import faces, samples, tracks
from deepfakery.tracks import Chosen, largest, link, recognised, steady


class Picture(NamedTuple):
    """As much of a frame as tracks look at."""

    index: int
    image: np.ndarray


@pytest.fixture(scope="module")
def points(posed, landmarks):
    return landmarks(posed("collins"))


def stream(*tracks_, image=None):
    """Frames in which the given faces are found; a track is a list of landmarks."""
    image = np.full((96, 128, 3), 90, np.uint8) if image is None else image
    for index, found in enumerate(zip(*tracks_, strict=True)):
        found = [faces.Face(p, 1.0) for p in found if p is not None]
        yield Picture(index, image), found


def linked(*tracks_):
    """The track of each face of each frame, in the order in which they were given."""
    return [
        {track: face.landmarks for track, face in found.items()}
        for _, found in link(stream(*tracks_))
    ]


# --- which face is the same -------------------------------------------------------


def test_a_face_keeps_its_track_while_it_moves(points):
    moving = [points + np.float32([6 * i, 3 * i]) for i in range(20)]
    assert {track for found in linked(moving) for track in found} == {0}


def test_two_faces_keep_apart(points):
    left = [points + np.float32([2 * i, 0]) for i in range(10)]
    right = [points + np.float32([400 - 2 * i, 0]) for i in range(10)]
    for i, found in enumerate(linked(left, right)):
        np.testing.assert_array_equal(found[0], left[i])
        np.testing.assert_array_equal(found[1], right[i])


def test_a_jump_a_long_absence_and_a_cut_each_begin_a_new_track(points):
    far = points + np.float32([200, 0])
    assert [set(f) for f in linked([points, points, far])] == [{0}, {0}, {1}]
    found = linked([points] + [None] * (tracks.GAP + 1) + [points])
    assert set(found[0]) != set(found[-1])
    dark, bright = (np.full((96, 128, 3), v, np.uint8) for v in (20, 200))
    shots = [
        (Picture(i, dark if i < 3 else bright), [faces.Face(points, 1.0)])
        for i in range(6)
    ]
    assert [set(found) for _, found in link(shots)] == [{0}] * 3 + [{1}] * 3


def test_a_face_missed_for_a_moment_is_the_same(points):
    found = linked([points, None, None, points])
    assert set(found[0]) == set(found[-1])


# --- whose it is ------------------------------------------------------------------


def test_the_largest_face_is_chosen_and_a_near_tie_is_kept(points):
    small = points * 0.5 + np.float32([300, 0])
    like = [points * s + np.float32([400, 0]) for s in (0.95, 1.05, 0.95, 1.05)]
    for faces_ in ([small] * 4, like):
        chosen = list(largest(link(stream([points] * 4, faces_)), "hopper"))
        assert {tuple(found) for _, found in chosen} == {(0,)}
        assert {c.identity for _, found in chosen for c in found.values()} == {"hopper"}


def test_people_are_told_by_descriptor_and_described_seldom(points, monkeypatch):
    looks = []
    describe = faces.descriptor
    monkeypatch.setattr(faces, "descriptor", lambda *a: looks.append(1) or describe(*a))
    image = next(samples.animate("collins", samples.motion(300, seed=1)[:1]))
    found = faces.detect(image, describe=True)[0]
    course = [found.landmarks] * 60
    for who, expected in ((found.descriptor, 60), (found.descriptor + 0.1, 0)):
        chosen = recognised(link(stream(course, image=image)), {"hopper": who})
        assert sum(len(c) for _, c in chosen) == expected
    assert len(looks) < 2 * 12


def test_a_person_needs_descriptors(points):
    with pytest.raises(ValueError, match="hopper"):
        next(recognised(link(stream([points])), {"hopper": np.zeros((0, 128))}))


# --- where it is ------------------------------------------------------------------


def steadied(track):
    """What becomes of a list of landmarks; the order of frames must stay."""
    frames = (
        (i, {} if p is None else {0: Chosen("hopper", p)}) for i, p in enumerate(track)
    )
    out = list(steady(frames))
    assert [i for i, _ in out] == list(range(len(track)))
    return [chosen[0].landmarks if chosen else None for _, chosen in out]


def test_accelerating_motion_passes_without_lag(points):
    t = np.arange(20)
    track = [points + np.float32([0.4 * i + 0.05 * i * i, -0.3 * i]) for i in t]
    np.testing.assert_allclose(steadied(track), track, atol=1e-2)


def test_trembling_landmarks_are_steadied(points):
    random = np.random.default_rng(0)
    track = [points + random.normal(0, 1, (68, 2)).astype("f4") for _ in range(40)]
    before, after = (np.std(t[3:-3], axis=0).mean() for t in (track, steadied(track)))
    assert after < 0.7 * before


def test_short_gaps_are_filled_and_long_ones_are_not(points):
    step = np.float32([2, 0])
    for gap in range(1, 7):
        track = [points + step * i for i in range(12)]
        for i in range(4, 4 + gap):
            track[i] = None
        out = steadied(track)
        filled = gap <= tracks.GAP
        for i in range(12):
            assert (out[i] is not None) == (filled or not 4 <= i < 4 + gap)
            if out[i] is not None:
                np.testing.assert_allclose(out[i], points + step * i, atol=1e-2)


def test_landmarks_never_leak_from_one_track_to_another(points):
    far = points + np.float32([200, 0])
    frames = [
        (i, {0: Chosen("a", points)} if i < 8 else {1: Chosen("a", far)})
        for i in range(16)
    ]
    for i, chosen in steady(frames):
        wanted = points if i < 8 else far
        [face] = chosen.values()
        np.testing.assert_allclose(face.landmarks, wanted, atol=1e-3)


def test_short_streams_pass(points):
    for count in (0, 1, 2, 6):
        assert len(steadied([points] * count)) == count
