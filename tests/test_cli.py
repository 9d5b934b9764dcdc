"""The command line, run as anybody runs it."""

import json
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import papermill
import pytest

from deepfakery import __main__ as cli
from deepfakery.media.images import write_image
from deepfakery.media.video import VideoWriter
from deepfakery.notebook import results, run
from deepfakery.notebook.run import ROOT


def swap(face, target, out, **more):
    options = [f"--{key}={value}" for key, value in more.items()]
    command = [sys.executable, "-m", "deepfakery", "swap", "--face", str(face)]
    command += ["--target", str(target), "--out", str(out), *options]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=600
    )


def assert_refused(done, *words):
    """One sentence says what is wrong and with what; nobody sees a traceback."""
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(said) == 1, done.stderr
    for word in words:
        assert word in said[0]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder of files that are no footage."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("These are words, not pictures.\n" * 100)
    (folder / "photos").mkdir()
    write_image(folder / "album" / "grey.png", np.full((8, 8, 3), 90, np.uint8))
    with VideoWriter(folder / "fog.mp4", fps=25) as writer:
        for _ in range(4):
            writer.write(np.full((120, 160, 3), 90, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "not a video"),
        ("album", "is a folder"),
    ],
)
def test_a_target_that_is_no_clip_is_named_at_once(name, words, bad, tmp_path):
    done = swap("hopper", bad / name, tmp_path / "out")
    assert_refused(done, name, words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.jpg", "photos"])
def test_a_face_that_is_no_footage_is_named_at_once(name, bad, tmp_path):
    done = swap(bad / name, "collins", tmp_path / "out")
    assert_refused(done, name)
    assert not (tmp_path / "out").exists()
    assert "01_data_generation" not in done.stdout  # nothing was begun


def test_a_workspace_within_the_footage_is_refused(bad):
    done = swap(bad / "album", "collins", bad / "album" / "out")
    assert_refused(done, "album/out lies in", "choose a folder outside")
    assert not (bad / "album" / "out").exists()


def test_somebodys_folder_is_no_workspace(tmp_path):
    (tmp_path / "holiday.png").touch()
    for command in ("demo", "imagine", "enlarge", "compare"):
        assert cli.main([command, "--out", str(tmp_path)]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.png"]
    (tmp_path / "holiday.png").unlink()
    for _ in range(2):
        with cli.workspace(tmp_path):
            (tmp_path / "figures.json").touch()
            with pytest.raises(BlockingIOError, match="leaves its results there"):
                with cli.workspace(tmp_path):
                    pass


def test_one_file_twice_is_refused(clips, tmp_path):
    done = swap(clips["hopper"], clips["hopper"], tmp_path / "out")
    assert_refused(done, "hopper.mp4", "two people")
    assert not (tmp_path / "out").exists()


def test_training_for_no_time_is_refused(tmp_path):
    done = swap("hopper", "collins", tmp_path / "out", minutes=0)
    assert done.returncode != 0 and "minutes" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_footage_without_a_face_is_named(bad, short_clips, tmp_path):
    done = swap(short_clips["hopper"], bad / "fog.mp4", tmp_path / "out")
    assert_refused(done, "fog.mp4", "face")
    assert not (tmp_path / "out").exists()


def test_footage_with_too_few_faces_is_named(short_clips, tmp_path):
    (tmp_path / "out").mkdir()  # what was there before stays
    done = swap(short_clips["hopper"], short_clips["collins"], tmp_path / "out")
    assert_refused(done, "collins_short.mp4", "12 faces", "64")
    assert (tmp_path / "out").exists()
    assert not list((tmp_path / "out").rglob("*.ipynb"))
    assert not list((tmp_path / "out").rglob("faces.jsonl"))


def test_other_arguments_are_refused_with_their_usage():
    done = subprocess.run(
        [sys.executable, "-m", "deepfakery", "swap", "--face", "hopper"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr and "--target" in done.stderr


# --- a notebook is given parameters, and keeps what was there -----------------------


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A notebook of two cells that says what it was given, and may fail."""
    parameters = nbformat.v4.new_code_cell(
        "text = 'default'  # a word\nnumber = 5\nnothing = None\nfail = False"
    )
    parameters.metadata["tags"] = ["parameters"]
    work = nbformat.v4.new_code_cell(
        "import json\nprint(json.dumps([text, number, nothing]))\nassert not fail, text"
    )
    notebook = nbformat.v4.new_notebook(cells=[parameters, work])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    folder = tmp_path / "lessons {text}"
    folder.mkdir()
    nbformat.write(notebook, folder / "01_data_generation.ipynb")
    monkeypatch.setattr(run, "NOTEBOOKS", folder)
    return "01_data_generation"


def test_parameters_arrive_letter_by_letter(lesson, tmp_path):
    odd = "a \"b\" 'c' \\n \\ $HOME `d` {e} %s Zo\xeb \u96ea\n'''\"\"\""
    given = {"text": odd, "number": "5", "nothing": "None", "unknown": 1}
    path = tmp_path / "out {text}.ipynb"
    run.execute(lesson, given, path)
    *_, cell = nbformat.read(path, as_version=4).cells
    assert json.loads(cell.outputs[0].text) == [odd, "5", "None"]
    plain = {"text": "default", "number": 5, "nothing": None}
    run.execute(lesson, plain, path)
    assert len(nbformat.read(path, as_version=4).cells) == 2  # nothing was passed on
    with pytest.raises(ValueError, match=r"text='a.udcff' is not written .* rename"):
        run.execute(lesson, {"text": "a\udcff"}, path)


def test_a_failing_call_takes_nothing_of_an_earlier_one(lesson, tmp_path):
    out = tmp_path / "out"
    (out / "frames").mkdir(parents=True)
    (out / ".deepfakery").touch()
    (out / f"{lesson}.ipynb").write_text("an earlier run's")
    with pytest.raises(papermill.PapermillExecutionError):
        cli.run({"fail": True}, out, "swap.json")
    assert (out / f"{lesson}.ipynb").read_text() == "an earlier run's"
    assert (out / "frames").is_dir() and not list(out.glob("*.part*"))


def test_of_a_new_workspace_only_what_a_call_made_is_removed(tmp_path):
    out = tmp_path / "out"
    for folder in ("clips", "faces/hopper"):
        (out / folder).mkdir(parents=True)
        (out / folder / ".lock").touch()
    (out / "clips/hopper_train.mp4").touch()
    (out / "faces/notes.txt").write_text("somebody else's")
    cli._take_back(out)
    assert [f for f in out.rglob("*") if f.is_file()] == [out / "faces/notes.txt"]
    (out / "faces/notes.txt").unlink()
    cli._take_back(out)
    assert not out.exists()


def test_the_demo_is_moved_aside_before_it_is_run_afresh(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    (tmp_path / "data/output/demo").mkdir(parents=True)
    (tmp_path / "data/output/demo/swap.mp4").write_text("hours of work")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", stop)
    assert cli.main(["notebooks"]) == 130
    [kept] = tmp_path.rglob("swap.mp4")
    assert kept.read_text() == "hours of work" and kept.parent.name != "demo"


def test_several_files_may_be_given_in_one_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's one.mp4").touch()
    assert cli._names("it's one.mp4") == ["it's one.mp4"]
    assert cli._names("'a b.mp4' c.mp4") == ["a b.mp4", "c.mp4"]


# --- notebooks as they are kept ---------------------------------------------------


def stream(name, text):
    return nbformat.v4.new_output("stream", name=name, text=text)


def tidied(tmp_path, *outputs):
    cell = nbformat.v4.new_code_cell("work()", outputs=list(outputs))
    cell.metadata = {"papermill": {"duration": 3}, "tags": ["parameters"]}
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["papermill"] = {"output_path": "/home/somebody"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    run.tidy(tmp_path / "a.ipynb")
    return nbformat.read(tmp_path / "a.ipynb", as_version=4)


def test_of_a_progress_bar_the_last_line_stays(tmp_path):
    notebook = tidied(
        tmp_path,
        stream("stderr", "painting: 0%\rpainting: 50%"),
        stream("stderr", "\rpainting: 100%\ndone\r\n"),
    )
    (output,) = notebook.cells[0].outputs
    assert (output.name, output.text) == ("stderr", "painting: 100%\ndone\n")


def test_streams_are_merged_and_pictures_stay(tmp_path):
    picture = nbformat.v4.new_output("display_data", {"text/plain": "a picture"})
    notebook = tidied(
        tmp_path,
        stream("stdout", "one\n"),
        stream("stderr", "a warning\n"),
        picture,
        stream("stdout", "two\n"),
        stream("stderr", "another\n"),
    )
    outputs = notebook.cells[0].outputs
    assert [o.get("name", o.output_type) for o in outputs] == [
        "stdout",
        "stderr",
        "display_data",
    ]
    assert outputs[0].text == "one\ntwo\n"
    assert outputs[1].text == "a warning\nanother\n"


def test_timing_and_paths_are_taken_out(tmp_path):
    notebook = tidied(tmp_path, stream("stdout", "one\n"))
    assert "papermill" not in notebook.metadata
    assert notebook.cells[0].metadata == {"tags": ["parameters"]}


def test_a_notebook_is_tidied_once_and_for_all(tmp_path):
    tidied(tmp_path, stream("stderr", "0%\r100%\n"), stream("stdout", "x"))
    before = (tmp_path / "a.ipynb").read_bytes()
    run.tidy(tmp_path / "a.ipynb")
    assert (tmp_path / "a.ipynb").read_bytes() == before


@pytest.mark.parametrize("name", cli.SWAP)
def test_every_notebook_takes_the_same_parameters(name):
    notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    (cell,) = cells
    names = {line.split("=")[0].strip() for line in cell.source.splitlines()}
    assert {"face", "target", "workspace"} <= names


def test_a_table_is_kept_between_its_marks(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    results.tell("speed", "new")
    assert page.read_text() == "before\n<!-- speed -->\nnew\n<!-- /speed -->\nafter\n"
    with pytest.raises(ValueError, match="README.md has no <!-- size -->"):
        results.tell("size", "new")


def test_one_person_as_face_and_target_is_warned_of(facesets, tmp_path, capsys):
    for name in ("collins", "hopper"):
        shutil.copytree(facesets["collins"].folder, tmp_path / name)
    cli._compare(tmp_path, {})
    assert "seem to show the same person" in capsys.readouterr().err
    cli._compare(facesets["collins"].folder.parent, {"face": "hopper"})
    assert not capsys.readouterr().err
