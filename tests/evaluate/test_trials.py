"""Quick figures of painted faces."""

import cv2
import numpy as np
import pytest

from deepfakery.evaluate import trials


class Painter:
    """Paints what it is shown, changed by a function."""

    def __init__(self, change=lambda faces: faces, size=64):
        self.size, self.change = size, change

    def swap(self, faces, identity):
        return self.change(faces), np.ones_like(faces[..., :1])


def test_who_paints_the_person_as_they_are_scores_best(facesets):
    same = trials.score(Painter(), facesets["hopper"], facesets, "hopper", 8)
    assert same["verified"] == 1 and same["distance"] < 0.35
    assert same["sharpness"] == pytest.approx(1, abs=0.25)
    # Who leaves the target's face as it is swaps nothing.
    other = trials.score(Painter(), facesets["collins"], facesets, "hopper", 8)
    assert other["verified"] == 0 and other["distance"] > same["distance"] + 0.15

    def blur(faces):
        return np.stack([cv2.GaussianBlur(face, None, 2) for face in faces])

    soft = trials.score(Painter(blur), facesets["hopper"], facesets, "hopper", 8)
    assert soft["sharpness"] < 0.5 * same["sharpness"]


@pytest.mark.parametrize(("off", "decibels"), [(0.1, 20), (0.01, 40)])
def test_rebuilding_is_measured_inside_the_face(facesets, off, decibels):
    painter = Painter(lambda faces: faces + off)
    found = trials.rebuilt(painter, facesets["hopper"], "hopper", 4)
    assert found == pytest.approx(decibels, abs=0.1)

    def spoil(faces):  # outside of every face
        faces = faces + off
        faces[:, :3] = 0
        return faces

    assert trials.rebuilt(Painter(spoil), facesets["hopper"], "hopper", 4) == found


def test_faces_are_scored_at_the_networks_size(facesets):
    shown = []
    painter = Painter(lambda faces: shown.append(faces.shape) or faces, size=32)
    trials.score(painter, facesets["hopper"], facesets, "hopper", 3)
    assert shown == [(3, 32, 32, 3)]
