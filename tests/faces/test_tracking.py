from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import detect, people, tracking
from deepfakery.faces.people import recognised
from deepfakery.faces.tracking import Chosen, largest, link, steady
from deepfakery.media import video

CLIPS = Path(__file__).parents[3] / "shared" / "clips"


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
        found = [detect.Face(p, 1.0) for p in found if p is not None]
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
    found = linked([points] + [None] * (tracking.GAP + 1) + [points])
    assert set(found[0]) != set(found[-1])
    dark, bright = (np.full((96, 128, 3), v, np.uint8) for v in (20, 200))
    shots = [
        (Picture(i, dark if i < 3 else bright), [detect.Face(points, 1.0)])
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
    describe = detect.descriptor
    monkeypatch.setattr(
        detect, "descriptor", lambda *a: looks.append(1) or describe(*a)
    )
    image = next(samples.animate("collins", samples.motion(300, seed=1)[:1]))
    found = detect.detect(image, describe=True)[0]
    course = [found.landmarks] * 60
    for who, expected in ((found.descriptor, 60), (found.descriptor + 0.1, 0)):
        chosen = recognised(link(stream(course, image=image)), {"hopper": who})
        assert sum(len(c) for _, c in chosen) == expected
    assert len(looks) < 2 * 12


def test_a_person_needs_descriptors(points):
    with pytest.raises(ValueError, match="hopper"):
        next(recognised(link(stream([points])), {"hopper": np.zeros((0, 128))}))


def painted(images, who, others=None):
    """Where each frame is painted over `who`: a list of (x, y)."""
    asked = {"painted": who} | ({} if others is None else {None: others})
    stream = (video.Frame(i, i / 25, i, im, None) for i, im in enumerate(images))
    chosen = steady(recognised(link(tracking.follow(stream)), asked))
    return [[c.landmarks.mean(0) for c in found.values()] for _, found in chosen]


@pytest.fixture(scope="module")
def footage():
    """Name → 40 frames of each built-in person, both under the same motion."""
    moves = samples.motion(300, seed=1)[:40]
    return {name: list(samples.animate(name, moves)) for name in samples.PEOPLE}


def shots(first, second, length, fade, count=56):
    """Frames of two people in turn, and the share of the second in each."""
    images, shares = [], []
    turn = 0
    while len(images) < count:
        now, before = (first, second)[turn], (first, second)[1 - turn]
        for i in range(fade if images else 0):
            share = (i + 1) / (fade + 1)
            images.append(cv2.addWeighted(before[i], 1 - share, now[i], share, 0))
            shares.append(share if turn else 1 - share)
        images += now[:length]
        shares += [turn] * length
        turn = 1 - turn
    return images, np.float32(shares)


@pytest.mark.parametrize(("length", "fade"), [(10, 0), (25, 0), (12, 10)])
def test_after_a_cut_nobody_else_is_painted(footage, facesets, length, fade):
    images, share = shots(*footage.values(), length, fade)
    count = np.array([len(p) for p in painted(images, who_is(facesets, "collins"))])
    assert not count[share > 0.6].any()
    assert (count[share < 0.4] == 1).mean() >= 0.95


@pytest.mark.skipif(not CLIPS.exists(), reason=f"{CLIPS} is missing")
@pytest.mark.parametrize("length", [25, 10])
def test_after_a_cut_in_one_studio_nobody_else_is_painted(length):
    files = (CLIPS / f"studio_{name}.mp4" for name in "ab")
    pair = [[f.image for f in islice(video.read_frames(c), 25)] for c in files]
    who = detect.detect(pair[0][0], describe=True)[0].descriptor
    images, share = shots(*pair, length, 0, 60)
    count = [len(found) for found in painted(images, who)]
    assert count == (1 - share).tolist()


def who_is(facesets, name):
    return facesets[name].descriptors()


def walk(footage, places):
    """Frames in which people stand at places, the first in front of the others."""
    oval = cv2.ellipse(np.zeros((240, 240)), (120, 120), (85, 115), 0, 0, 360, 1, -1)
    oval, images = oval[..., None], []
    small = {n: [cv2.resize(f, (240, 240)) for f in v] for n, v in footage.items()}
    for step in zip(*places.values(), strict=True):
        image = np.full((260, 700, 3), 120, np.uint8)
        for name, x in reversed(list(zip(places, step, strict=True))):
            if x is not None:
                part = image[10:250, round(x) - 120 : round(x) + 120]
                part[:] = oval * small[name][0] + (1 - oval) * part
        images.append(image)
    return images


def test_two_people_who_change_places_are_kept_apart(footage, facesets):
    there = np.linspace(130, 570, 45)
    images = walk(footage, {"hopper": there, "collins": there[::-1]})
    found = painted(images, who_is(facesets, "collins"))
    for x, now in zip(there[::-1], found, strict=True):
        assert all(abs(place[0] - x) < 40 for place in now)
        hidden = abs(x - 350) < 70  # behind the other
        assert hidden or len(now) == 1


@pytest.mark.parametrize("gap", [0, 2, 6])
def test_who_enters_where_another_left_is_somebody_else(footage, facesets, gap):
    here = {
        "collins": [350] * 14 + [None] * (gap + 14),
        "hopper": [None] * (14 + gap) + [350] * 14,
    }
    found = painted(walk(footage, here), who_is(facesets, "collins"))
    assert [len(now) for now in found] == [1] * 14 + [0] * (gap + 14)


def test_a_newcomer_beside_somebody_is_painted_soon(footage, facesets):
    here = {"hopper": [150] * 40, "collins": [None] * 29 + [540] * 11}
    found = painted(walk(footage, here), who_is(facesets, "collins"))
    assert [len(now) for now in found] == [0] * 29 + [1] * 11


def told(points, distances, rival=None):
    """Frames painted of a face whose descriptors lie so far from who is asked for."""
    axes = np.eye(128, dtype=np.float32)
    image = np.full((96, 128, 3), 90, np.uint8)
    frames = [
        (Picture(i, image), [detect.Face(points, 1.0, np.float32(d * axes[0]))])
        for i, d in enumerate(distances)
    ]
    others = {} if rival is None else {None: np.float32(rival * axes[0])}
    chosen = recognised(link(frames), {"hopper": 0 * axes[:1], **others})
    return sum(len(found) for _, found in chosen)


def test_who_is_nearer_to_somebody_else_is_not_painted(points):
    assert told(points, [0.58] * 30) == 0  # under the threshold, but not clearly
    assert told(points, [0.45] * 30) == 30
    assert told(points, [0.45] * 30, rival=0.7) == 0  # 0.25 from the rival
    assert told(points, [0.45] * 30, rival=1.2) == 30
    assert told(points, [0.45] * 30, rival=0.1) == 30  # the same person's other faces


def test_one_look_does_not_decide(points):
    for odd in (0, 24, 29):
        near, far = [0.3] * 30, [0.75] * 30
        near[odd], far[odd] = 0.75, 0.3
        assert told(points, near) == 30 and told(points, far) == 0


def test_two_faces_are_one_person_only_where_both_are_near(points):
    axis = np.eye(128, dtype=np.float32)[0]
    image = np.full((96, 128, 3), 90, np.uint8)
    for other, count in ((0.2, 2), (0.5, 1)):
        found = [
            detect.Face(points + np.float32([shift, 0]), 1.0, distance * axis)
            for shift, distance in ((0, 0.15), (400, other))
        ]
        stream = [(Picture(i, image), found) for i in range(8)]
        chosen = recognised(link(stream), {"hopper": 0 * axis})
        assert {len(now) for _, now in chosen} == {count}


def test_nothing_is_smoothed_across_a_change_of_person(points):
    axis = np.eye(128, dtype=np.float32)[0]
    image = np.full((96, 128, 3), 90, np.uint8)
    stream = [
        (
            Picture(i, image),
            [detect.Face(points + (i >= 12), 1.0, (i >= 12) * axis)],
        )
        for i in range(24)
    ]
    asked = {"hopper": 0 * axis, "collins": axis}
    out = [found for _, found in steady(recognised(link(stream), asked))]
    for i, found in enumerate(out):
        ((name, landmarks),) = found.values()
        assert name == ("collins" if i >= 12 else "hopper")
        np.testing.assert_allclose(landmarks, points + (i >= 12), atol=1e-3)


def test_a_survey_tells_who_is_painted_and_who_is_not(footage, facesets, tmp_path):
    here = {"collins": [150] * 12, "hopper": [540] * 8 + [None] * 4}
    with video.VideoWriter(tmp_path / "pair.mp4", fps=25) as writer:
        for image in walk(footage, here):
            writer.write(image)
    asked = {"hopper": who_is(facesets, "collins")}
    asked[None] = who_is(facesets, "hopper").mean(0)[None]
    table, pictures = people.survey(tmp_path / "pair.mp4", asked, workers=0)
    assert table.frames.tolist() == [12, 8] and table.swapped.tolist() == [12, 0]
    assert table.distance[0] < table.rival[0] and table.rival[1] < table.distance[1]
    assert set(pictures) == set(table.person)
    assert all(p.shape[1:] == (96, 96, 3) for p in pictures.values())


def test_one_person_in_both_face_sets_is_warned_of(facesets, recwarn):
    assert people.compare(*facesets.values()) > detect.SAME_PERSON - 0.05
    assert not recwarn
    with pytest.warns(UserWarning, match="same person"):
        people.compare(facesets["collins"], facesets["collins"])


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
        filled = gap <= tracking.GAP
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
