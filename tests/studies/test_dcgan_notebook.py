"""Notebook 5, executed for real and shrunk to seconds."""

import json

import pytest

from deepfakery.media import provenance, video


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, run_notebook):
    return run_notebook("05_dcgan", tmp_path_factory.mktemp("imagine"), study=False)


def test_it_runs_and_says_nothing_of_where(workspace, pictures_of):
    assert pictures_of(workspace / "05_dcgan.ipynb") >= 9


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
    small, large = figures.pop("photos (baseline)"), figures.pop("photos, 64 px")
    assert set(figures) == {"corrected", "improved", "for longer"}
    for name, row in figures.items():
        photos = large if name == "for longer" else small
        assert photos["frechet"] < row["frechet"]
