"""Quick figures: of generated faces, and of what blend options do to a clip."""

import cv2
import numpy as np
import pytest
from swappers import IdentityCopy

from deepfakery.convert import merge
from deepfakery.evaluate import trials


class Changed(IdentityCopy):
    """Gives back what it is shown, changed by a function."""

    def __init__(self, change=lambda faces: faces, size=64):
        super().__init__(size)
        self.change = change

    def swap(self, pictures, identity):
        return super().swap(self.change(pictures), identity)


def test_the_person_as_they_are_scores_best(facesets):
    same = trials.score(Changed(), facesets["hopper"], facesets, "hopper", 8)
    assert same["verified"] == 1 and same["distance"] < 0.35
    assert same["sharpness"] == pytest.approx(1, abs=0.25)
    # Who leaves the target's face as it is swaps nothing.
    other = trials.score(Changed(), facesets["collins"], facesets, "hopper", 8)
    assert other["verified"] == 0 and other["distance"] > same["distance"] + 0.15

    def blur(faces):
        return np.stack([cv2.GaussianBlur(face, None, 2) for face in faces])

    soft = trials.score(Changed(blur), facesets["hopper"], facesets, "hopper", 8)
    assert soft["sharpness"] < 0.5 * same["sharpness"]


@pytest.mark.parametrize(("off", "decibels"), [(0.1, 20), (0.01, 40)])
def test_rebuilding_is_measured_inside_the_face(facesets, off, decibels):
    copy = Changed(lambda faces: faces + off)
    found = trials.reconstruction(copy, facesets["hopper"], "hopper", 4)
    assert found == pytest.approx(decibels, abs=0.1)

    def spoil(faces):  # outside of every face
        faces = faces + off
        faces[:, :3] = 0
        return faces

    again = trials.reconstruction(Changed(spoil), facesets["hopper"], "hopper", 4)
    assert again == found


def test_faces_are_scored_at_the_networks_size(facesets):
    shown = []
    copy = Changed(lambda faces: shown.append(faces.shape) or faces, size=32)
    trials.score(copy, facesets["hopper"], facesets, "hopper", 3)
    assert shown == [(3, 32, 32, 3)]


# --- does it show? ------------------------------------------------------------------


@pytest.fixture(scope="module")
def compare(short_clips):
    """A function: a change of the painted faces → how much it shows."""

    def compared(change=lambda faces: faces):
        look = {"colour": "none", "feather": 0.02, "workers": 0}
        copy = Changed(change, 256)
        stream = merge.paint_frames(short_clips["collins"], copy, "anybody", **look)
        return trials.compare(stream)

    return compared


def test_a_face_painted_as_it_was_shows_neither_seam_nor_flicker(compare):
    figures = compare()
    assert figures["frames"] == 12
    assert figures["seam"] < 1
    assert figures["flicker"] == pytest.approx(1, abs=0.1)


def test_a_darker_face_shows_a_seam_and_an_unsteady_one_flickers(compare):
    def moody(faces):
        moods = 0.6 + 0.15 * np.cos(np.pi * np.arange(len(faces)))
        return faces * np.float32(moods)[:, None, None, None]

    steady, unsteady = compare(lambda faces: 0.6 * faces), compare(moody)
    assert steady["seam"] > 5
    assert unsteady["flicker"] > 1.3 * steady["flicker"]


def test_frames_without_a_face_are_nothing_to_compare():
    with pytest.raises(ValueError, match="No frame"):
        trials.compare(iter(()))
