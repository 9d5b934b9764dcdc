import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import coverage
from deepfakery.faces.faceset import FaceSet
from deepfakery.notebook import plots


def test_measures_follow_the_commanded_motion(facesets):
    moves = dict(zip(samples.MOTION, samples.motion(72, 0).T, strict=True))
    measured = coverage.measure(facesets["collins"])
    assert set(measured) == set(coverage.KINDS)
    assert all(values.shape == (72,) for values in measured.values())
    for name, column in (("yaw", "yaw"), ("pitch", "pitch"), ("mouth", "mouth_open")):
        assert np.corrcoef(measured[name], moves[column])[0, 1] > 0.7, name
    assert np.corrcoef(measured["eyes"], moves["blink"])[0, 1] < -0.4
    assert np.corrcoef(measured["light"], moves["light"])[0, 1] > 0.5


def test_what_only_the_other_has_is_said(facesets):
    whole = facesets["collins"]
    shut = coverage.measure(whole)["mouth"] < 0.08
    quiet = [r for r, is_shut in zip(whole.records, shut, strict=True) if is_shut]
    silent = FaceSet(whole.folder, quiet)
    lacking = coverage.lacking({"talker": whole, "silent": silent})
    assert lacking["talker"] == []
    (sentence,) = [s for s in lacking["silent"] if s.startswith("mouth half open")]
    assert f"0 of {len(quiet)} faces, talker has" in sentence


def test_figures_show_what_was_found(facesets, tmp_path):
    measured = {name: coverage.measure(found) for name, found in facesets.items()}
    plots.coverage(measured, coverage.KINDS).savefig(tmp_path / "coverage.png")
    turned = {name: (len(f), f.rejected()) for name, f in facesets.items()}
    turned["noise"] = (3, {"blurred": (9, np.zeros((2, 256, 256, 3), np.uint8))})
    plots.rejections(turned).savefig(tmp_path / "rejections.png")
    for name in ("coverage", "rejections"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("name", coverage.KINDS)
def test_every_kind_has_a_name(name):
    _, edges, kinds = coverage.KINDS[name]
    assert len(kinds) == len(edges) + 1 and list(edges) == sorted(edges)
