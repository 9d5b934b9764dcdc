"""Notebook 4, executed for real on a workspace whose swapper never trained."""

import json

import pandas as pd
import pytest

from deepfakery.evaluate import metrics
from deepfakery.notebook.run import ROOT


@pytest.fixture(scope="module")
def workspace(demo_workspace, run_notebook):
    return run_notebook("04_evaluation", demo_workspace)


@pytest.fixture(scope="module")
def figures(workspace):
    return json.loads((workspace / "evaluation.json").read_text())


def test_it_runs_and_says_nothing_of_where(workspace, pictures_of):
    kept = json.loads((ROOT / "data/results/04_evaluation.json").read_text())
    course = "overtraining" in kept  # one picture more, where it is kept
    assert pictures_of(workspace / "04_evaluation.ipynb") == 3 + course
    assert (workspace / "04_evaluation.jpg").exists()


def test_it_leaves_the_table_and_the_figures(workspace, figures):
    table = pd.read_csv(workspace / "evaluation.csv")
    clips = ["swap", "landmark warp", "upper bound, 128 pixels"]
    clips += [metrics.TARGET, metrics.TRUTH, metrics.PERSON]
    assert list(dict.fromkeys(table["clip"])) == clips
    assert len(figures["table"]) == len(table)


def test_two_networks_are_compared_on_faces_that_they_know_and_do_not(figures):
    trained = {"all faces", "sixteen faces"}
    few = figures["too_little_data"]
    assert {row["clip"] for row in few["table"]} == trained == set(few["losses"])
    for losses in few["losses"].values():
        assert losses["known"] > 0 and losses["held_out"] > 0
