"""Notebook 7, executed for real on a workspace whose swapper never trained."""

import json

import pytest

from deepfakery import __main__ as cli
from deepfakery.media import provenance


@pytest.fixture(scope="module")
def workspace(demo_workspace, run_notebook):
    return run_notebook("07_detection", demo_workspace, frames=40)


def test_it_runs_and_says_nothing_of_where(workspace, pictures_of):
    assert pictures_of(workspace / "07_detection.ipynb") == 9


def test_it_leaves_a_row_for_every_case_and_detector(workspace):
    figures = json.loads((workspace / "detection.json").read_text())
    cases = ["same kind", "other network", "other blending", "other method"]
    cases += ["other person", "JPEG 50", "half size", "blur"]
    detectors = ["naive", "careful", "augmented", "spectrum"]
    found = [(row["case"], row["detector"]) for row in figures["table"]]
    assert found == [(case, name) for case in cases for name in detectors]
    for row in figures["table"]:
        assert 0 <= row["low"] <= row["high"] <= 1 and row["faces"] == 10
    assert figures["by_pose"] and figures["thresholds"].keys() == set(detectors)


def test_what_was_done_to_the_files_is_what_they_say(workspace):
    told = {
        path.name: provenance.inspect(path)
        for path in (workspace / "detection").glob("*.*g")
    }
    assert told["signed.png"]["state"] == "Valid"
    assert told["one_bit.png"]["tampered"]
    for name in ("saved_again_as_JPEG.jpg", "cropped.jpg", "a_screenshot_of_it.jpg"):
        assert told[name] == {"signed": False}


def test_a_workspace_without_a_swapper_is_named(tmp_path, capsys):
    given = ["run", "07_detection", "-p", f"workspace={tmp_path / 'empty'}"]
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert said.count("Error:") == 1 and "empty holds no trained swapper" in said
    assert cli.main([*given, "-p", "others=gone.mp4"]) == 1
    assert "gone.mp4 does not exist" in capsys.readouterr().err
