"""Notebook 5, executed for real and shrunk to seconds."""

import json

import nbformat
import pytest

from deepfakery.media import provenance, video
from deepfakery.notebook.run import ROOT


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, run_notebook):
    return run_notebook("05_dcgan", tmp_path_factory.mktemp("imagine"), study=False)


def test_it_runs_and_says_nothing_of_where(workspace):
    notebook = nbformat.read(workspace / "05_dcgan.ipynb", as_version=4)
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    assert len([o for o in outputs if "image/jpeg" in o.get("data", {})]) >= 9
    said = json.dumps([o for o in outputs if "image/jpeg" not in o.get("data", {})])
    assert str(workspace) not in said and str(ROOT) not in said


def test_it_leaves_signed_clips_and_figures(workspace):
    made, beside_photos = ("walk.mp4", "walk.webp", "faces.jpg"), ("nearest", "found")
    for name in (*made, *(f"{name}.png" for name in beside_photos)):
        said = provenance.inspect(workspace / name)
        alone = said["source_type"] == "trainedAlgorithmicMedia"
        assert alone == (name in made), name
        assert len(said["weights_sha256"]) == 64 and not said["tampered"]
    said = provenance.inspect(workspace / "moving.mp4")
    assert said["source_type"] == "compositeSynthetic"
    assert video.probe(workspace / "moving.mp4").frames == 300
    figures = json.loads((workspace / "imagine.json").read_text())["figures"]
    small, large = figures.pop("photos (floor)"), figures.pop("photos, 64 px")
    assert set(figures) == {"corrected", "improved", "for longer"}
    for name, row in figures.items():
        floor = large if name == "for longer" else small
        assert floor["frechet"] < row["frechet"]
