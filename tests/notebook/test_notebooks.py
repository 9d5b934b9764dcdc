"""The notebooks, executed for real and shrunk to seconds."""

import io
import json
from contextlib import redirect_stdout
from functools import partial

import nbformat
import numpy as np
import pytest
from PIL import Image

from deepfakery import __main__ as cli
from deepfakery import training
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, provenance, video
from deepfakery.swapper import FaceSwapper

HTML = "text/html"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo's workspace, and what it printed; its notebooks with studies."""
    out, said = tmp_path_factory.mktemp("demo") / "demo", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setenv("DEEPFAKERY_SMOKE", "1")
        patch.setattr(cli, "swap_in", partial(cli.swap_in, study=True))
        assert cli.main(["demo", "--out", str(out)]) == 0
    return out, said.getvalue()


def test_the_demo_leaves_a_whole_clip(made):
    out, _ = made
    before = video.probe(out / "clips" / "collins_unseen.mp4")
    after = video.probe(out / "swap.mp4")
    assert (after.width, after.height) == (before.width, before.height)
    assert after.frames == before.frames and after.fps == before.fps
    names = sorted(f.name for f in (out / "frames").iterdir())
    assert names == [f"{i:06d}.png" for i in range(before.frames)]
    picture = images.read_image(out / "frames" / names[0])
    assert picture.shape == (after.height, after.width, 3)
    sheet = images.read_image(out / "contact_sheet.jpg")
    assert sheet.shape[1] > 1000 and sheet.std() > 10
    assert {f.name for f in out.rglob(".*")} <= {".lock", ".deepfakery"}


def test_the_frames_are_as_notebook_3_says(made):
    """Format, names, size, label and credentials: in the files and in the listing."""
    out, _ = made
    clip = out / "clips" / "collins_unseen.mp4"
    targets, info = video.read_frames(clip), video.probe(clip)
    files = sorted((out / "frames").iterdir())
    height = round(0.08 * info.height)
    for target, file in zip(targets, files, strict=True):
        with Image.open(file) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            assert picture.size == (info.width, info.height)
            shown = np.asarray(picture)
        said = provenance.inspect(file)
        if not said["signed"]:  # nobody was found in it
            assert (shown == target.image).all()
            continue
        assert said["state"] == "Valid" and not said["tampered"]
        assert said["label"] == provenance.LABEL and said["preset"] == "light"
        assert said["ingredients"] == [clip.name]
        corner = np.s_[-height:, : info.width // 3]
        plain = target.image[corner]
        assert np.abs(np.int16(shown[corner]) - plain).max() > 60  # the label
    notebook = nbformat.read(out / "03_prediction.ipynb", as_version=4)
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    listed = "".join(o.get("text", "") for o in outputs)
    size = f"{info.width} × {info.height}"
    for name in (files[0].name, files[-1].name):
        line = next(line for line in listed.split("\n") if line.startswith(name))
        assert f"PNG, RGB, {size}" in line and "Valid" in line
        assert provenance.LABEL in line
    moving = [o for o in outputs if "webp;base64," in o.get("data", {}).get(HTML, "")]
    assert len(moving) == 1


def test_the_demo_says_how_good_it_is(made):
    out, said = made
    figures = json.loads((out / "demo.json").read_text())
    assert figures["generated"] == "hopper" and figures["target"] == "collins"
    count = images.count_frames(out / "swap.mp4")
    assert 0.9 * count <= figures["swapped_frames"] == figures["frames"] <= count
    assert figures["frames_per_s"] > 0
    for share in ("found_fraction", "verified_fraction", "nearer_fraction"):
        assert 0 <= figures[share] <= 1
    for distance in ("identity_distance", "distance_target"):
        assert 0 < figures[distance] < 1.5
    for key in ("truth", "truth_unswapped"):
        assert 0 < figures[key]["ssim"] < 1 and figures[key]["psnr"] > 0
    assert set(figures["seconds"]) == {*cli.SWAP, "total"}
    for name in ("swap.mp4", "frames", "contact_sheet.jpg", "demo.json"):
        assert name in said


@pytest.mark.parametrize("name", cli.SWAP)
def test_notebooks_run_without_error_and_say_nothing_of_where(name, made, pictures_of):
    out, _ = made
    notebook = nbformat.read(out / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert pictures_of(out / f"{name}.ipynb") > 0


def test_two_face_folders_are_left(made):
    out, _ = made
    for name in ("collins", "hopper"):
        count = images.count_frames(out / "clips" / f"{name}_train.mp4")
        found = FaceSet.load(out / "faces" / name).require()
        assert 0.9 * count <= len(found) <= count


@pytest.fixture(scope="module")
def again(made, run_notebook):
    """Notebooks 1 and 2 once more: what was there before, and after."""
    out, _ = made

    def there():
        times = {n: f.stat().st_mtime_ns for n, f in faces_of(out).items()}
        newest = training.latest(out / "run").stat().st_mtime_ns
        return training.read(out / "run"), newest, times

    before = there()
    run_notebook("01_data_generation", out)
    run_notebook("02_training", out, study=False)
    return before, there()


def test_the_demo_again_trains_nothing_new(again):
    before, after = again
    assert after == before and before[0]["step"] == 6


def test_the_studies_and_the_solutions_run_too(made, run_notebook, pictures_of):
    out, _ = made
    assert {"alone", "together"} < set(json.loads((out / "training.json").read_text()))
    said = provenance.inspect(out / "training.jpg")
    assert said["source_type"] == "trainedAlgorithmicMedia" and not said["tampered"]
    (out / "solutions").mkdir()
    run_notebook("solutions/02_training", out)
    run_notebook("solutions/03_prediction", out)
    given = {"preset": "small", "base": False, "seeds": 1, "tried": 1}
    given["left_out"] = ["MAE alone", "DSSIM alone", "no warp"]
    run_notebook("02b_choices", out, **given)
    run_notebook("solutions/02b_choices", out)
    solved = "solutions/02_training", "solutions/03_prediction"
    for name in ("02_training", *solved, "02b_choices"):
        assert pictures_of(out / f"{name}.ipynb") > 0
    assert not pictures_of(out / "solutions/02b_choices.ipynb")
    choices = json.loads((out / "choices/figures.json").read_text())
    assert {"hull", "skin", "poisson"} < set(choices)
    figures = json.loads((out / "training_choices.json").read_text())
    tried = {"complete", "separate", "tuned", "adversarial", "not normalized"}
    assert tried < set(figures["choices"]).difference(given["left_out"])
    assert FaceSwapper(["a"], figures["tuned"]).size == 64


def faces_of(out):
    return {str(f): f for f in (out / "faces").rglob("*.jpg")}
