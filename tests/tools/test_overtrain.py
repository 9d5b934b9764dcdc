"""A network followed through its training: what is kept and measured on the way."""

import shutil

import numpy as np
import pytest

from deepfakery import samples
from deepfakery.evaluate import baselines
from deepfakery.swapper import FaceSwapper
from tools import overtrain


def test_weights_come_back_as_they_were_kept(tmp_path, facesets):
    kept, other = (FaceSwapper(samples.PEOPLE, "small") for _ in range(2))
    arrays = [w for part in overtrain.parts(kept) for w in part.get_weights()]
    np.savez(
        overtrain.weights(tmp_path, 100), **{str(i): w for i, w in enumerate(arrays)}
    )
    other.adapt(facesets)  # as at the end of a longer training
    overtrain.load(tmp_path, other, 100)
    faces = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for name in samples.PEOPLE:
        made = [one.swap(faces, name)[0] for one in (kept, other)]
        np.testing.assert_array_equal(*made)


def test_the_ground_truth_itself_measures_best(short_clips, facesets, tmp_path):
    (tmp_path / "clips").mkdir()
    for name, clip in short_clips.items():
        shutil.copy(clip, tmp_path / "clips" / f"{name}_unseen.mp4")
    best = baselines.TrueFaces(tmp_path / "clips/hopper_unseen.mp4", 128)
    found = overtrain._measured(tmp_path, best, facesets, "hopper", "collins")
    assert found["ssim"] > 0.85 and found["mouth"] > 0.8
    assert found["distance"] < 0.4 and found["landmark_error"] < 5
    assert found["sharpness"] == pytest.approx(1, abs=0.2)
