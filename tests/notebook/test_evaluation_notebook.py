"""Notebook 4, executed for real on a workspace whose swapper never trained."""

import json

import nbformat
import pandas as pd
import pytest

from deepfakery.evaluate import metrics
from deepfakery.notebook.run import ROOT


@pytest.fixture(scope="module")
def workspace(demo_workspace, run_notebook):
    return run_notebook("04_evaluation", demo_workspace)


def test_it_runs_and_says_nothing_of_where(workspace):
    notebook = nbformat.read(workspace / "04_evaluation.ipynb", as_version=4)
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    pictures = [o for o in outputs if "image/jpeg" in o.get("data", {})]
    assert len(pictures) == 4
    said = json.dumps([o for o in outputs if "image/jpeg" not in o.get("data", {})])
    assert str(workspace) not in said and str(ROOT) not in said


def test_it_leaves_the_table_and_the_figures(workspace):
    table = pd.read_csv(workspace / "evaluation.csv")
    clips = ["swap", "landmark warp", "perfect, 64 pixels"]
    clips += [metrics.TARGET, metrics.TRUTH, metrics.PERSON]
    assert list(dict.fromkeys(table["clip"])) == clips
    figures = json.loads((workspace / "evaluation.json").read_text())
    assert len(figures["table"]) == len(table)
    trained = {row["clip"] for row in figures["over_time"]}
    assert {0.0, "over-trained"} < trained
