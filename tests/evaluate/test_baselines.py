import numpy as np
import pytest

from deepfakery import batches
from deepfakery.convert import export
from deepfakery.evaluate import measure
from deepfakery.evaluate.baselines import LandmarkWarp
from deepfakery.faces import detect


@pytest.fixture(scope="module")
def warp(facesets):
    return LandmarkWarp(facesets, size=128, limit=24)


def test_the_warp_puts_one_persons_features_where_the_others_were(warp, facesets):
    collins = batches.prepare(facesets["collins"].images(256, limit=2), 128)
    painted, mask = warp.swap(collins, "hopper")
    assert painted.shape == (2, 128, 128, 3) and painted.dtype == np.float32
    assert 0 <= painted.min() and painted.max() <= 1
    assert mask.min() == 0 and mask.max() == 1  # the face alone
    means = {n: f.descriptors().mean(0) for n, f in facesets.items()}
    for before, after in zip(collins, painted, strict=True):
        [old], [new] = (
            detect.detect((picture * 255).astype(np.uint8), describe=True)
            for picture in (before, after)
        )
        shift = np.linalg.norm(old.landmarks - new.landmarks, axis=1)
        assert np.median(shift) < 0.03 * 128
        to = {n: np.linalg.norm(new.descriptor - mean) for n, mean in means.items()}
        assert to["hopper"] < to["collins"]


def test_a_face_that_cannot_be_found_is_swapped_all_the_same(warp, noise):
    picture = batches.prepare([noise], 128)
    painted, _ = warp.swap(picture, "hopper")
    assert painted.std() > 0.05


def test_who_has_no_faces_is_named(warp):
    with pytest.raises(ValueError, match="lovelace"):
        warp.swap(np.zeros((1, 128, 128, 3), np.float32), "lovelace")


def test_a_baseline_swaps_a_whole_clip(warp, short_clips, facesets, tmp_path):
    out = tmp_path / "warp.mp4"
    painted = export.swap_clip(
        short_clips["collins"], warp, "hopper", out, colour="poisson", workers=0
    )
    assert painted == list(range(12))
    faces = facesets["hopper"].descriptors()
    frames = measure.measure(out, short_clips["collins"], faces, workers=0)
    assert (frames.query("clip == 'swap'").margin > 0).mean() > 0.8
