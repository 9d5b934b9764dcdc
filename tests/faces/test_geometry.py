"""One geometry: extraction, training and merge put each feature in the same place."""

import json

import cv2
import numpy as np
import pytest

from deepfakery import batches, samples
from deepfakery.convert import masks, merge, sharpness
from deepfakery.faces import geometry
from deepfakery.faces.extraction import extract
from deepfakery.faces.faceset import FaceSet
from deepfakery.presets import PRESETS
from deepfakery.studies import upscaler

SIZES = sorted({preset["size"] for preset in PRESETS.values()})


def scene(size, scale, roll=0, at=(0.5, 0.5)):
    """A frame in which a pixel of a crop of `size` takes `scale` pixels.

    Args:
        at: Where the nose lies, as shares of the frame's sides.

    Returns:
        The frame and its face's (68, 2) landmarks.
    """
    person = samples.portrait("hopper", 512)
    found = geometry.alignment(person.landmarks, size)
    zoom = scale * np.hypot(*found[:, 0])
    side = int(560 * zoom) + 60
    turn = zoom * np.exp(1j * np.radians(roll))
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = side * np.array(at) + (0.3, -0.4) - matrix @ person.landmarks[30]
    place = np.column_stack([matrix, shift])
    image = cv2.GaussianBlur(person.image, (0, 0), max(0.5, 0.4 / zoom))
    border = cv2.BORDER_REFLECT_101
    frame = cv2.warpAffine(image, place, (side, side), None, cv2.INTER_LINEAR, border)
    return frame, geometry.transform_points(person.landmarks, place)


def shift_between(made, wanted, inside):
    """(x, y) pixels by which one picture lies beside another, by least squares.

    Reference:
        Lucas & Kanade 1981, "An iterative image registration technique".
    """
    made, wanted = (
        cv2.GaussianBlur(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype("f4"), (0, 0), 2)
        for i in (made, wanted)
    )
    found, shape = np.zeros(2), wanted.shape[::-1]
    for _ in range(6):
        move = np.column_stack([np.eye(2), found])
        moved = cv2.warpAffine(wanted, move, shape, None, cv2.INTER_CUBIC)
        slope = [
            cv2.Sobel(moved, cv2.CV_32F, *d, scale=1 / 8) for d in ((1, 0), (0, 1))
        ]
        slope = np.stack([s[inside] for s in slope], 1)
        found -= np.linalg.lstsq(slope, (made - moved)[inside], rcond=None)[0]
    return found


def centre(picture):
    """(x, y) of a bright blob on a black picture."""
    weight = picture[..., 0].astype(float)
    y, x = np.mgrid[: len(weight), : len(weight)]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


# --- crops ------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.3, 1, 1.7, 2.5, 4])
def test_a_blob_cropped_small_lies_where_one_cropped_large_and_shrunk_does(size, scale):
    frame, points = scene(size, scale, roll=12)
    transform = geometry.alignment(points, size)
    (place,) = geometry.transform_points(
        np.array([[0.4 * size, 0.55 * size]]), cv2.invertAffineTransform(transform)
    )
    y, x = np.mgrid[: len(frame), : len(frame)]
    distance = np.hypot(x - place[0], y - place[1]) / max(2.5 * scale, 1)
    blob = np.repeat(255 * np.exp(-(distance**2) / 2)[..., None], 3, 2).astype(np.uint8)
    large = geometry.crop(blob, geometry.alignment(points))
    shrunk = batches.prepare([large], size)[0]
    direct = geometry.crop(blob, transform, size)
    np.testing.assert_allclose(centre(shrunk), centre(direct), atol=0.1)
    np.testing.assert_allclose(centre(direct), (0.4 * size, 0.55 * size), atol=0.1)


@pytest.mark.parametrize("size", [37, 64, 200])
def test_what_lies_at_the_frames_edge_is_cropped_in_its_place(size):
    frame = np.zeros((size * 7 + 3, size * 7 + 5, 3), np.uint8)
    frame[-3:, :] = frame[:, -5:] = 255  # narrower than a step of the shrinking
    whole = np.array([[1 / 7, 0, 0], [0, 1 / 7, 0]])
    crop = geometry.crop(frame, whole, size + 2)
    assert crop[-1].min() > 200 and crop[:, -1].min() > 200
    assert crop[: size - 1, : size - 1].max() == 0


@pytest.mark.parametrize("factor", [0.25, 0.4, 3])
def test_points_and_transforms_are_resized_as_pictures_are(factor):
    y, x = np.mgrid[:200, :200]
    blob = 255 * np.exp(-((x - 130.0) ** 2 + (y - 70.0) ** 2) / 2 / 12**2)
    blob = np.repeat(blob[..., None], 3, 2).astype(np.uint8)
    side = round(200 * factor)
    resized = cv2.resize(blob, (side, side), interpolation=cv2.INTER_AREA)
    (wanted,) = geometry.resize_points(np.array([[130, 70]]), factor)
    np.testing.assert_allclose(centre(resized), wanted, atol=0.1)
    turn = np.array([[0.8, -0.3, 20], [0.3, 0.8, -10]])
    (there,) = geometry.transform_points(np.array([[130, 70]]), turn)
    for name, before, after in (("source", wanted, there), ("target", (130, 70), None)):
        if after is None:
            (after,) = geometry.resize_points(there[None], factor)
        moved = geometry.resize_transform(turn, **{name: factor})
        (found,) = geometry.transform_points(np.array([before]), moved)
        np.testing.assert_allclose(found, after, atol=1e-3)


# --- what training sees -----------------------------------------------------------


@pytest.mark.parametrize("size", [*SIZES, 96])
def test_landmarks_of_a_face_set_are_those_of_its_pictures(facesets, size):
    record = facesets["collins"].records[5]
    points = np.float32(record["landmarks"])
    wanted = geometry.transform_points(points, geometry.alignment(points, size))
    np.testing.assert_allclose(
        facesets["collins"].landmarks(size)[5], wanted, atol=0.02
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("region", masks.REGIONS)
def test_a_mask_lies_where_the_face_lies_in_the_networks_picture(size, region):
    _, points = scene(size, 1)
    points = geometry.transform_points(points, geometry.alignment(points, size))
    own = geometry.hull_mask(points, size)[..., None]
    erode = -0.05 if region == "hull" else 0
    found = centre(masks.soft_mask(points, own, region, erode)[..., None])
    wanted = geometry.resize_points(centre(own), masks.SIZE / size)
    count = 1 if region == "both" else 2  # across; its forehead is drawn in
    allowed = 0.2 * masks.SIZE / size + 0.1
    np.testing.assert_allclose(found[:count], wanted[:count], atol=allowed)


# --- what the merge lays into a frame ---------------------------------------------

SCENES = {
    "small": {"scale": 0.3},
    "half": {"scale": 0.5},
    "as large": {"scale": 1, "roll": 25},
    "at the edge": {"scale": 1.7, "at": (0.86, 0.8)},
    "rolled": {"scale": 2.5, "roll": -40},
    "large": {"scale": 4},
}


CASES = [(size, kind, 0.0) for size in SIZES[:2] for kind in SCENES]
CASES += [(64, k, "upscaler") for k, about in SCENES.items() if about["scale"] > 1]


@pytest.mark.parametrize(("size", "kind", "sharpen"), CASES)
def test_a_face_painted_as_it_was_stays_where_it_was(size, kind, sharpen):
    frame, points = scene(size, **SCENES[kind])
    transform = geometry.alignment(points)
    small = batches.prepare([geometry.crop(frame, transform)], size)  # as in training
    mask = np.ones((size, size, 1), np.float32)
    sharpen = sharpen and upscaler.shipped()
    layer = merge.lay(frame, points, small[0], mask, sharpen=sharpen)
    merged = merge.blend(frame, [layer])
    inside = merge.shown(frame, [layer]) > 0.98
    assert inside.sum() > 80
    np.testing.assert_allclose(shift_between(merged, frame, inside), 0, atol=0.1)
    # The same face, sent through the same sizes without any merge.
    small = sharpness.smooth_colour(small[0])[None]
    if sharpen:
        factor = 2 if SCENES[kind]["scale"] <= 2 else 4
        small = sharpen.enlarge(small, factor)
    wanted = (small[0].clip(0, 1) * 255).round().astype(np.uint8)
    wanted = cv2.resize(wanted, (256, 256), interpolation=cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.uint8(inside), transform, (256, 256)) > 0
    inside = cv2.erode(np.uint8(inside), np.ones((9, 9))) > 0
    made = geometry.crop(merged, transform)
    assert np.abs(made[inside].astype(int) - wanted[inside]).mean() < 3


@pytest.mark.parametrize("scale", [0.8, 1.3])
def test_a_face_painted_larger_grows_about_its_middle(scale):
    frame, points = scene(64, 2)
    crop = geometry.crop(frame, geometry.alignment(points, 64), 64) / np.float32(255)
    mask = np.ones((64, 64, 1), np.float32)
    layer = merge.lay(frame, points, crop, mask, scale=scale)
    middle = np.float32([[31.5, 31.5], [41.5, 31.5]])  # of the crop, and beside it
    there, plain = (
        geometry.transform_points(middle, cv2.invertAffineTransform(np.float64(t)))
        for t in (layer.transform, geometry.alignment(points, 64))
    )
    np.testing.assert_allclose(there[0], plain[0], atol=0.01)
    np.testing.assert_allclose(there[1] - there[0], scale * (plain[1] - plain[0]), 1e-3)


# --- face folders of another version ----------------------------------------------


def test_faces_aligned_by_another_version_are_refused(facesets, tmp_path, clips):
    folder = tmp_path / "faces"
    folder.mkdir()
    for file in facesets["hopper"].folder.glob("*.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    lines = (folder / "faces.jsonl").read_text().splitlines()
    old = [json.loads(line) for line in lines]
    for record in old:
        assert record.pop("version") == geometry.GEOMETRY
    (folder / "faces.jsonl").write_text("".join(json.dumps(r) + "\n" for r in old))
    with pytest.raises(ValueError, match="another version"):
        FaceSet.load(folder)
    with pytest.raises(ValueError, match="another version"):
        extract(clips["hopper"], folder)
