"""Notebook 4, executed for real on a workspace whose swapper never trained."""

import json

import pandas as pd
import pytest

from deepfakery.evaluate import metrics


@pytest.fixture(scope="module")
def workspace(demo_workspace, run_notebook):
    return run_notebook("04_evaluation", demo_workspace)


def test_it_runs_and_says_nothing_of_where(workspace, pictures_of):
    assert pictures_of(workspace / "04_evaluation.ipynb") == 4


def test_it_leaves_the_table_and_the_figures(workspace):
    table = pd.read_csv(workspace / "evaluation.csv")
    clips = ["swap", "landmark warp", "upper bound, 128 pixels"]
    clips += [metrics.TARGET, metrics.TRUTH, metrics.PERSON]
    assert list(dict.fromkeys(table["clip"])) == clips
    figures = json.loads((workspace / "evaluation.json").read_text())
    assert len(figures["table"]) == len(table)
    trained = {row["clip"] for row in figures["over_time"]}
    assert {0.0, "over-trained"} < trained
