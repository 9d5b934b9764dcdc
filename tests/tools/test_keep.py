"""What the project keeps of its own results."""

import json
from functools import partial

import nbformat
import numpy as np
import pytest
from PIL import Image

from deepfakery.evaluate.metrics import MEASURES
from deepfakery.media import provenance
from deepfakery.notebook.run import NOTEBOOKS
from tools import keep


def test_a_table_is_kept_between_its_marks(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    monkeypatch.setattr(keep, "ROOT", tmp_path)
    keep.tell("speed", "new")
    assert page.read_text() == "before\n<!-- speed -->\nnew\n<!-- /speed -->\nafter\n"
    with pytest.raises(ValueError, match="README.md has no <!-- size -->"):
        keep.tell("size", "new")


def test_the_demo_is_moved_aside_before_it_is_run_afresh(tmp_path, monkeypatch):
    demo = tmp_path / "data/output/demo"
    monkeypatch.setattr(keep, "DEMO", demo)
    demo.mkdir(parents=True)
    (demo / "swap.mp4").write_text("hours of work")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(keep.cli, "swap_in", stop)
    with pytest.raises(KeyboardInterrupt):
        keep.main(["notebooks"])
    [kept] = tmp_path.rglob("swap.mp4")
    assert kept.read_text() == "hours of work" and kept.parent.name != "demo"


def test_every_notebook_is_kept_with_its_studies(tmp_path, monkeypatch):
    demo, ran = tmp_path / "demo", {}
    (tmp_path / "notebooks/solutions").mkdir(parents=True)
    (tmp_path / "notebooks/solutions/02_training.ipynb").touch()
    monkeypatch.setattr(keep, "DEMO", demo)
    monkeypatch.setattr(keep, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(keep, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(keep, "side_by_side", lambda *clips: clips[-1].touch())

    def execute(name, given, path, study=True):
        ran[name] = study
        path.write_text(f"{name} as run")
        (demo / "choices").mkdir(exist_ok=True)
        for picture in keep.PICTURES:
            (demo / picture).touch()
        for report in (*keep.REPORTS.values(), "choices/figures.json"):
            (demo / report).write_text("{}")

    def run(given):
        execute(given[1], {}, demo / f"{given[1]}.ipynb")
        return 0

    monkeypatch.setattr(keep.cli.notebooks, "execute", execute)
    monkeypatch.setattr(keep.cli, "main", run)
    assert keep.main(["notebooks"]) == 0
    names = [*keep.cli.SWAP, *keep.FURTHER]
    assert ran == dict.fromkeys([*names, "solutions/02_training"], True)
    names.append("solutions/02_training")
    for name in names:
        kept = tmp_path / "notebooks" / f"{name}.ipynb"
        assert kept.read_text() == f"{name} as run"
    assert all((tmp_path / "results" / name).exists() for name in keep.PICTURES)
    assert not (demo / "kept.txt").exists()
    # The demo leaves the studies out: they take longer than all the rest.
    keep.cli.swap_in(demo, {}, "demo.json")
    assert not any(ran[name] for name in keep.cli.SWAP)


def test_a_run_of_all_notebooks_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    demo, ran = tmp_path / "demo", []
    monkeypatch.setattr(keep, "DEMO", demo)

    def step(name):
        ran.append(name)
        (demo / name).mkdir(parents=True)
        return name == "third" and len(ran) == 3

    names = ("first", "second", "third")
    steps = {name: partial(step, name) for name in names}
    monkeypatch.setattr(keep, "_steps", lambda *folders: steps)
    monkeypatch.setattr(keep, "_keep_demo", lambda: ran.append("kept"))
    assert keep.main(["notebooks"]) == 1
    (demo / "third").rmdir()
    assert keep.main(["notebooks"]) == 0
    assert ran == [*names, "third", "kept"]
    assert [folder.name for folder in tmp_path.iterdir()] == ["demo"]


def test_photos_that_are_given_add_notebooks_5_and_6():
    def added(*folders):
        steps = keep._steps(*folders).items()
        return {name: step.args[0] for name, step in steps if name[:2] in ("05", "06")}

    assert added("", "") == {}
    assert added("celeba", "lfw") == {
        "05_dcgan": ["run", "05_dcgan", "-p", "folder=celeba", "-p", "steps=1000"],
        "06_upscaling": ["run", "06_upscaling", "-p", "folder=lfw"],
    }


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A function: run a command that leaves these files; the figures that are kept."""
    (tmp_path / "results").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("<!-- comparison -->\n<!-- /comparison -->\n")
    for name, path in (
        ("RESULTS", "results"),
        ("NOTEBOOKS", "notebooks"),
        ("ROOT", ""),
    ):
        monkeypatch.setattr(keep, name, tmp_path / path)
    seen = []

    def run(arguments, files):
        def leave(given):
            seen[:] = given
            for file, text in files.items():
                (tmp_path / "out").mkdir(exist_ok=True)
                (tmp_path / "out" / file).write_text(text)
            return 0

        monkeypatch.setattr(keep.cli, "main", leave)
        assert (
            keep.main([a.replace("OUT", str(tmp_path / "out")) for a in arguments]) == 0
        )
        (file,) = (tmp_path / "results").glob("*.json")
        return seen, file.name, json.loads(file.read_text())

    return run


def test_a_study_of_photos_is_kept_without_them(kept, tmp_path):
    given = ["run", "05_dcgan", "-p", "steps=9", "-p", "folder=/home/me/photos"]
    pictures = {"faces.jpg": "", "05_dcgan.jpg": ""}
    files = {"05_dcgan.ipynb": "{}", "imagine.json": "[1]", **pictures}
    seen, name, figures = kept([*given, "-p", "workspace=OUT"], files)
    assert "show_photos=False" in seen and name == "05_dcgan.json"
    assert figures["photos"]["figures"] == [1] and "me" not in str(figures).split("/")
    command = "python -m tools.keep run 05_dcgan -p steps=9 -p folder=<photos>"
    assert figures["photos"]["command"] == command
    assert (tmp_path / "notebooks/05_dcgan.ipynb").exists()
    assert all((tmp_path / "results" / picture).exists() for picture in pictures)


def test_a_kept_notebook_tells_its_parameters_and_does_not_set_them():
    tags = {"tags": ["injected-parameters"]}
    given = {"cell_type": "code", "metadata": tags, "outputs": [], "execution_count": 2}
    given |= {"id": "a", "source": ["# Parameters\n", 'folder = "photos"']}
    notebook = {"cells": [given], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook = keep.with_parameters_as_text(notebook)
    nbformat.validate(notebook)
    [cell] = notebook["cells"]
    assert cell["cell_type"] == "markdown" and "folder =" in "".join(cell["source"])


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("0*.ipynb")))
def test_no_notebook_sets_a_folder_that_only_its_run_had(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert "injected-parameters" not in cell["metadata"].get("tags", ())


def test_of_other_people_figures_alone_are_kept(kept, tmp_path):
    given = ["run", "07_detection", "-p", "others=them.mp4", "-p", "workspace=OUT"]
    files = {"07_detection.ipynb": "{}", "detection.json": "[2]"}
    _, _, figures = kept(given, files | {"07_detection.jpg": "", "faces.jpg": ""})
    assert figures["others"]["figures"] == [2] and "them" not in str(figures)
    assert not (tmp_path / "notebooks/07_detection.ipynb").exists()
    assert not [*(tmp_path / "results").glob("*.jpg")]


def test_a_comparison_is_kept_in_the_readme_too(kept, tmp_path):
    table = "clip,measure,value,low,high\n"
    for name in MEASURES:
        table += f"target,{name},0.5,0.4,0.6\n"
    given = ["compare", "--minutes", "2", "--out", "OUT"]
    _, name, figures = kept(given, {"comparison.csv": table})
    assert name == "04_evaluation.json"
    assert figures["hopper → collins"]["figures"]["target"]["ssim"] == [0.5, 0.4, 0.6]
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[1].startswith("|  | verified, share ↑ | identity distance ↓ | SSIM")
    assert "| target | 0.50 | 0.50 | 0.50 | 0.5 | 0.5 | 0.5 | 0.50 |" in lines


def test_target_swap_and_ground_truth_move_side_by_side(short_clips, tmp_path):
    target, truth, path = *short_clips.values(), tmp_path / "swap.webp"
    keep.side_by_side(target, target, truth, path, every=2, count=3, side=64)
    with Image.open(path) as moving:
        assert moving.size == (192, 64) and moving.n_frames == 3
        shown = np.asarray(moving.convert("RGB"), np.int16)
    left, middle, right = np.split(shown, 3, axis=1)
    assert np.abs(left - middle).mean() < 3 < np.abs(left - right).mean()
    said = provenance.inspect(path)
    assert said["state"] == "Valid" and said["label"] == provenance.LABEL
