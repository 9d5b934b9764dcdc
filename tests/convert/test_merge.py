import cv2
import numpy as np
import pytest
from swappers import IdentityCopy

from deepfakery import samples
from deepfakery.convert.merge import (
    LOOK,
    blend,
    lay,
    merge,
    paint_frames,
    paint_image,
    paint_stream,
    shown,
)
from deepfakery.convert.sharpness import smooth_colour
from deepfakery.faces import detect, geometry
from deepfakery.media import video
from deepfakery.studies.upscaler import shipped

SIZE = 256  # of an aligned face, and of a frame of one person


@pytest.fixture(scope="module")
def scene(posed, landmarks):
    """A frame, its landmarks, and its own aligned face as if it had been painted."""
    frame = posed("collins", roll=6, yaw=8)
    points = landmarks(frame)
    own = geometry.crop(frame, geometry.alignment(points, SIZE), SIZE)
    return frame, points, own.astype(np.float32) / 255, np.ones((SIZE, SIZE, 1), "f4")


# --- one face ---------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "least"), [("none", 3), ("reinhard", 4)])
def test_a_face_painted_as_it_was_changes_little(scene, colour, least, inside_hull):
    frame, points, own, mask = scene
    merged = merge(frame, points, own, mask, colour=colour)
    assert merged.shape == frame.shape and merged.dtype == np.uint8
    inside = inside_hull(frame, points)
    assert np.abs(merged[inside].astype(int) - frame[inside]).mean() < least


def test_outside_the_face_every_pixel_is_the_frames_own(scene, inside_hull):
    frame, points, own, mask = scene
    before = frame.copy()
    merged = merge(frame, points, 1 - own, mask, colour="none")
    outside = ~inside_hull(frame, points, grow=6)
    np.testing.assert_array_equal(merged[outside], frame[outside])
    assert np.abs(merged.astype(int) - frame)[inside_hull(frame, points)].mean() > 30
    np.testing.assert_array_equal(frame, before)  # the caller's frame is not touched


def test_the_middle_of_the_face_is_all_painted(scene):
    frame, points, own, mask = scene
    green = np.zeros_like(own) + np.float32([0, 1, 0])
    merged = merge(frame, points, green, mask, colour="none")
    x, y = points[30].round().astype(int)
    np.testing.assert_array_equal(merged[y, x], [0, 255, 0])


def test_where_the_network_sees_no_face_nothing_is_painted(scene):
    frame, points, own, mask = scene
    merged = merge(frame, points, 1 - own, 0 * mask, region="both")
    np.testing.assert_array_equal(merged, frame)
    half = mask.copy()
    half[:, : SIZE // 2] = 0
    merged = merge(frame, points, 1 - own, half, region="both", colour="none")
    changed = np.abs(merged.astype(int) - frame).max(-1) > 3
    left, right = points[[2, 3, 4]].mean(0), points[[12, 13, 14]].mean(0)
    x, y = np.argwhere(changed)[:, ::-1].mean(0) - (left + right) / 2
    assert (x, y) @ (right - left) > 0


def test_colours_are_moved_to_the_frames_own(scene, inside_hull):
    frame, points, own, mask = scene
    inside = inside_hull(frame, points)
    tinted = np.clip(own * (0.8, 0.9, 1.2), 0, 1).astype(np.float32)
    errors = []
    for colour in ("reinhard", "none"):
        merged = merge(frame, points, tinted, mask, colour=colour)[inside]
        errors.append(np.abs(merged.mean(0) - frame[inside].mean(0)).max())
    assert errors[0] < 3 < 10 < errors[1]


@pytest.mark.parametrize("shift", [(-170, 0), (0, -170), (180, 90), (-500, 0)])
def test_a_face_may_leave_the_frame(scene, shift, inside_hull):
    frame, points, own, mask = scene
    moved = np.roll(frame, shift[::-1], (0, 1))
    merged = merge(moved, points + np.float32(shift), 1 - own, mask, colour="none")
    assert merged.shape == frame.shape
    outside = ~inside_hull(frame, points + np.float32(shift), grow=6)
    np.testing.assert_array_equal(merged[outside], moved[outside])


def test_small_networks_paint_large_faces(scene, inside_hull):
    frame, points, own, mask = scene
    small = cv2.resize(own, (32, 32), interpolation=cv2.INTER_AREA)
    merged = merge(frame, points, small, np.ones((32, 32, 1), np.float32))
    inside = inside_hull(frame, points)
    assert 1 < np.abs(merged[inside].astype(int) - frame[inside]).mean() < 20
    outside = ~inside_hull(frame, points, grow=20)
    np.testing.assert_array_equal(merged[outside], frame[outside])


def test_a_face_at_the_edge_takes_its_colours_from_the_frame_alone(scene, inside_hull):
    frame, points, own, mask = scene
    shift = np.float32([frame.shape[1] - points[:, 0].mean(), 0])
    # Half the face is outside; the edge's pixels, repeated there, are glaring green.
    moved = np.roll(frame, int(shift[0]), 1)
    moved[:, -1] = 0, 255, 0
    painted = merge(moved, points + shift, own, mask)
    inside = inside_hull(frame, points + shift)
    inside[:, -3:] = False
    assert np.abs(painted[inside].mean(0) - moved[inside].mean(0)).max() < 4


def test_a_face_on_its_side_is_painted_on_its_side(scene):
    frame, points, own, mask = scene
    turned = np.ascontiguousarray(np.rot90(frame))
    height = frame.shape[1]
    across = np.float32([points[:, 1], height - 1 - points[:, 0]]).T
    merged = merge(turned, across, 1 - own, mask, colour="none")
    upright = merge(frame, points, 1 - own, mask, colour="none")
    difference = np.abs(np.rot90(merged, -1).astype(int) - upright)
    assert difference.mean() < 0.5


def test_a_head_upside_down_is_painted_upside_down(scene):
    frame, *_ = scene

    class Marked(IdentityCopy):
        """Paints foreheads green."""

        def swap(self, pictures, identity):
            painted, mask = super().swap(pictures.copy(), identity)
            painted[:, : painted.shape[1] // 2] = 0, 1, 0
            return painted, mask

    upright, turned = (
        paint_image(np.ascontiguousarray(image), Marked(64), "anybody", colour="none")
        for image in (frame, frame[::-1, ::-1])
    )
    assert (upright != frame).any()
    assert np.abs(turned[::-1, ::-1].astype(int) - upright).mean() < 1.5


def test_scale_sets_the_size_of_the_painted_face(scene):
    frame, points, own, mask = scene
    areas = [
        shown(frame, [lay(frame, points, own, mask, scale=scale)]).sum()
        for scale in (0.8, 1, 1.2)
    ]
    np.testing.assert_allclose(np.divide(areas, areas[1]), [0.64, 1, 1.44], rtol=0.02)


def test_what_is_shown_is_where_pixels_change(scene):
    frame, points, own, mask = scene
    layers = [lay(frame, points, 1 - own, mask, colour="none")]
    alpha = shown(frame, layers)
    assert alpha.shape == frame.shape[:2] and 0 <= alpha.min() < alpha.max() <= 1
    changed = np.abs(blend(frame, layers).astype(int) - frame).max(-1)
    assert changed[alpha == 0].max() == 0
    assert changed[alpha > 0.9].mean() > 30


def test_a_look_that_does_not_exist_is_named(scene):
    for look in ({"region": "hat"}, {"colour": "sepia"}, {"lipstick": 1}):
        with pytest.raises(ValueError, match="hat|sepia|lipstick"):
            merge(*scene, **look)


@pytest.mark.parametrize("look", [{"sharpen": 1}, {"grain": 1}, {"colour": "poisson"}])
def test_every_look_paints_the_face_alone(scene, look, inside_hull):
    frame, points, own, mask = scene
    soft = cv2.GaussianBlur(own, (0, 0), 4)
    merged = merge(frame, points, soft, mask, **look)
    outside = ~inside_hull(frame, points, grow=6)
    np.testing.assert_array_equal(merged[outside], frame[outside])


# --- a stream of frames -----------------------------------------------------------


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    """A clip of both built-in people, side by side."""
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    moves = samples.motion(300, seed=1)[:10]
    people = (samples.portrait(name, SIZE) for name in samples.PEOPLE)
    pair = (samples.animate(person, moves) for person in people)
    with video.VideoWriter(path, fps=25) as writer:
        for left, right in zip(*pair, strict=True):
            writer.write(np.hstack([left, right]))
    return path


@pytest.fixture(scope="module")
def known():
    """Name → (1, 128) a descriptor."""
    portraits = {name: samples.portrait(name).image for name in samples.PEOPLE}
    return {
        name: detect.descriptor(image, detect.detect(image)[0].landmarks)[None]
        for name, image in portraits.items()
    }


def test_one_of_two_people_is_painted_and_the_others_pixels_stay(
    two_people, untrained, known
):
    for who, painted, untouched in (
        ("collins", np.s_[:, :SIZE], np.s_[:, SIZE:]),
        ("hopper", np.s_[:, SIZE:], np.s_[:, :SIZE]),
    ):
        people = {"hopper": known[who]}
        frames = 0
        for frame, image, layers in paint_frames(
            two_people, untrained, people, workers=0
        ):
            assert len(layers) == 1
            np.testing.assert_array_equal(image[untouched], frame.image[untouched])
            difference = np.abs(image[painted].astype(int) - frame.image[painted])
            assert difference.max() > 30
            frames += 1
        assert frames == 10


def test_two_people_are_painted_each_as_the_other(two_people, untrained, known):
    asked = []

    class Asked:
        size = untrained.size

        def swap(self, pictures, identity):
            asked.append((identity, len(pictures)))
            return untrained.swap(pictures, identity)

    people = {"hopper": known["collins"], "collins": known["hopper"]}
    for _, _, layers in paint_frames(two_people, Asked(), people, workers=0):
        assert len(layers) == 2
    assert sum(n for who, n in asked if who == "hopper") == 10
    assert sum(n for who, n in asked if who == "collins") == 10


def test_nobody_who_was_not_asked_for_is_painted(two_people, untrained):
    stranger = {"hopper": np.full(128, 0.3, np.float32)}
    for frame, image, layers in paint_frames(
        two_people, untrained, stranger, workers=0
    ):
        assert not layers
        np.testing.assert_array_equal(image, frame.image)


def test_a_stream_can_begin_anywhere(two_people, untrained):
    def paint(start):
        stream = paint_frames(two_people, untrained, "hopper", start=start, workers=0)
        return {frame.index: image for frame, image, _ in stream}

    whole, rest = paint(0), paint(7)
    assert list(rest) == [7, 8, 9]
    for index, image in rest.items():
        np.testing.assert_array_equal(image, whole[index])


def test_light_from_an_unsteady_edge_is_evened_out(scene):
    """Poisson reads its light off a thin edge; over time that must not flicker."""
    frame, points, *_ = scene
    still = [
        (video.Frame(i, i / 25, i, frame, None), [detect.Face(points, 1.0)])
        for i in range(20)
    ]

    def flicker(steady):
        stream = paint_stream(
            still, Restless(64), "anybody", steady=steady, colour="poisson"
        )
        course = [image[200:220, 180:200].mean() for _, image, _ in stream]
        return np.abs(np.diff(course, 2)).mean()

    assert flicker(True) < 0.5 * flicker(False)


class Restless(IdentityCopy):
    """Paints faces as they are, but for the surroundings: lighter, then darker."""

    def swap(self, pictures, identity):
        painted, mask = super().swap(pictures.copy(), identity)
        moods = np.float32(0.2 * np.cos(np.pi * np.arange(len(painted))))
        y = np.linspace(0, 1, painted.shape[1], dtype=np.float32)[:, None, None]
        painted += moods[:, None, None, None] * np.clip(y * 4 - 3, 0, 1)
        return painted, mask


def test_defaults_are_choices_that_exist(scene):
    assert np.array_equal(merge(*scene), merge(*scene, **LOOK))


# --- enlarged before it is laid in -------------------------------------------------


def test_a_small_painted_face_is_enlarged_to_the_frames_pixels(scene, inside_hull):
    frame, points, own, mask = scene
    small = cv2.resize(own, (64, 64), interpolation=cv2.INTER_AREA)
    plain, enlarged = (
        lay(frame, points, small, mask[:64, :64], sharpen=sharpen, colour="none")
        for sharpen in (0.0, shipped())
    )
    # The face covers more than 128 of the frame's pixels, and less than 256.
    assert plain.rgb.shape == (64, 64, 3) and enlarged.rgb.shape == (256, 256, 3)
    merged = [blend(frame, [layer]).astype(int) for layer in (plain, enlarged)]
    inside = inside_hull(frame, points, grow=-8)
    errors = [np.abs(picture - frame)[inside].mean() for picture in merged]
    assert errors[1] < errors[0]  # nearer to the face that it was made small from
    np.testing.assert_allclose(
        shown(frame, [plain]), shown(frame, [enlarged]), atol=0.1
    )


def test_a_face_as_fine_as_its_frame_is_left_alone(scene):
    frame, points, own, mask = scene
    fine = lay(frame, points, own, mask, sharpen=shipped())
    np.testing.assert_array_equal(fine.rgb, smooth_colour(own))
    with pytest.raises(ValueError, match="sharpen.*'very'"):
        lay(frame, points, own, mask, sharpen="very")
