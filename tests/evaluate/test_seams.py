import cv2
import numpy as np
import pytest

from deepfakery.convert import merge
from deepfakery.evaluate import seams
from deepfakery.evaluate.baselines import IdentityCopy


class Tinted(IdentityCopy):
    """Paints faces as they are, but darker; and anew in each frame if moody."""

    def __init__(self, gain, mood=0.0):
        super().__init__(64)
        self.gain, self.mood = gain, mood

    def swap(self, pictures, identity):
        moods = self.gain + self.mood * np.cos(np.pi * np.arange(len(pictures)))
        return pictures * np.float32(moods)[:, None, None, None], super().swap(
            pictures, identity
        )[1]


def compare(clip, painter):
    # Drawn in, the edge runs over skin, where nothing else is steep.
    look = {"colour": "none", "erode": 0.08, "feather": 0.02}
    return seams.compare(
        merge.paint_frames(clip, painter, "anybody", workers=0, **look)
    )


def test_a_face_painted_as_it_was_shows_neither_seam_nor_flicker(short_clips):
    figures = compare(short_clips["collins"], IdentityCopy())
    assert figures["frames"] == 12
    assert figures["seam"] == pytest.approx(1, abs=0.15)
    assert figures["flicker"] == pytest.approx(1, abs=0.1)


def test_a_darker_face_shows_a_seam_and_an_unsteady_one_flickers(short_clips):
    clip = short_clips["collins"]
    steady, moody = compare(clip, Tinted(0.6)), compare(clip, Tinted(0.6, 0.15))
    assert steady["seam"] > 1.5
    assert moody["flicker"] > 1.3 * steady["flicker"]


def test_edge_strength_counts_what_lies_across_the_edge():
    alpha = np.zeros((64, 64), np.float32)
    alpha[:, 32:] = 1
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2)
    across, along = np.zeros((2, 64, 64, 3), np.uint8)
    across[:, 32:], along[32:] = 100, 100
    assert seams.edge_strength(across, alpha) > 5
    assert seams.edge_strength(along, alpha) < 0.1
    assert seams.edge_strength(across, 0 * alpha) == 0


def test_jitter_is_blind_to_smooth_motion():
    random = np.random.default_rng(0)
    face = random.uniform(0, 100, (68, 2))
    t = np.arange(30)[:, None, None]
    moving = face + 0.5 * t + 0.05 * t**2
    assert seams.jitter(moving) < 1e-9
    assert seams.jitter(moving + random.normal(0, 0.5, moving.shape)) > 0.01


def test_frames_without_a_face_are_nothing_to_compare():
    with pytest.raises(ValueError, match="No frame"):
        seams.compare(iter(()))
