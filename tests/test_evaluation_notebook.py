"""Notebook 4, executed for real on a workspace whose swapper never trained."""

import json
import shutil

import nbformat
import pandas as pd
import pytest

from deepfakery import __main__ as cli
from deepfakery import export, metrics, runs, samples
from deepfakery.swapper import FaceSwapper


@pytest.fixture(scope="module")
def workspace(facesets, tmp_path_factory, run_notebook):
    """What notebooks 1 to 3 leave behind."""
    folder = tmp_path_factory.mktemp("workspace")
    for name, people in facesets.items():
        shutil.copytree(people.folder, folder / "faces" / name)
    moves = samples.motion(10, seed=1)
    for name in samples.PEOPLE:
        samples.write_clip(folder / "clips" / f"{name}_unseen.mp4", name, moves)
    swapper = FaceSwapper(samples.PEOPLE, "light")
    swapper.compile("adam")
    run = runs.Run(folder / "run", swapper, swapper.config, steps=1)
    run._save()
    clip = folder / "clips" / "collins_unseen.mp4"
    export.swap_clip(clip, swapper, "hopper", folder / "swap.mp4", workers=0)
    return run_notebook("04_evaluation", folder)


def test_it_runs_and_says_nothing_of_where(workspace):
    notebook = nbformat.read(workspace / "04_evaluation.ipynb", as_version=4)
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    pictures = [o for o in outputs if "image/jpeg" in o.get("data", {})]
    assert len(pictures) == 4
    said = json.dumps([o for o in outputs if "image/jpeg" not in o.get("data", {})])
    assert str(workspace) not in said and str(cli.ROOT) not in said


def test_it_leaves_the_table_and_the_figures(workspace):
    table = pd.read_csv(workspace / "evaluation.csv")
    clips = ["swap", "landmark warp", "perfect, 64 pixels"]
    clips += [metrics.TARGET, metrics.TRUTH, metrics.PERSON]
    assert list(dict.fromkeys(table["clip"])) == clips
    figures = json.loads((workspace / "evaluation.json").read_text())
    assert len(figures["table"]) == len(table)
    trained = {row["clip"] for row in figures["over_time"]}
    assert {0.0, "over-trained"} < trained
