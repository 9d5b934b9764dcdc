"""The command line, run as anybody runs it."""

import json
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from deepfakery import __main__ as cli
from deepfakery.media.images import write_image
from deepfakery.media.video import VideoWriter
from deepfakery.notebook import run
from deepfakery.notebook.run import ROOT


@pytest.fixture
def refused(capfd):
    """A function: a command that one sentence refuses, with these words in it."""

    def refuse(*arguments, words):
        assert cli.main([*map(str, arguments)]) == 1
        out, err = capfd.readouterr()
        said = [line for line in err.splitlines() if line.startswith("Error:")]
        assert len(said) == 1, err
        assert all(word in said[0] for word in words), said
        assert "Traceback" not in out + err
        return out

    return refuse


def swap(face, target, out):
    return "swap", "--face", face, "--target", target, "--out", out


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
def test_a_target_that_is_no_clip_is_named_at_once(name, words, bad, tmp_path, refused):
    refused(*swap("hopper", bad / name, tmp_path / "out"), words=(name, words))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.jpg", "photos"])
def test_a_face_that_is_no_footage_is_named_at_once(name, bad, tmp_path, refused):
    said = refused(*swap(bad / name, "collins", tmp_path / "out"), words=(name,))
    assert not (tmp_path / "out").exists()
    assert "01_data_generation" not in said  # nothing was begun


def test_a_workspace_within_the_footage_is_refused(bad, refused):
    out = bad / "album" / "out"
    words = "album/out lies in", "choose a folder outside"
    refused(*swap(bad / "album", "collins", out), words=words)
    assert not out.exists()


def test_somebodys_folder_is_no_workspace(tmp_path, refused):
    (tmp_path / "holiday.png").touch()
    for command in ("demo", "compare"):
        refused(command, "--out", tmp_path, words=("holiday.png", "empty folder"))
    given = "run", "05_dcgan", "-p", f"workspace={tmp_path}"
    refused(*given, words=("holiday.png",))
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.png"]
    (tmp_path / "holiday.png").unlink()
    for _ in range(2):
        with cli.workspace(tmp_path):
            (tmp_path / "figures.json").touch()
            with pytest.raises(BlockingIOError, match="leaves its results there"):
                with cli.workspace(tmp_path):
                    pass


def test_one_file_twice_is_refused(clips, tmp_path, refused):
    words = "hopper.mp4", "two people"
    refused(*swap(clips["hopper"], clips["hopper"], tmp_path / "out"), words=words)
    assert not (tmp_path / "out").exists()


def test_training_for_no_time_is_refused(tmp_path, refused):
    given = swap("hopper", "collins", tmp_path / "out")
    refused(*given, "--minutes=0", words=("minutes", "above 0"))
    assert not (tmp_path / "out").exists()


def test_footage_without_a_face_is_named(bad, short_clips, tmp_path, refused):
    given = swap(short_clips["hopper"], bad / "fog.mp4", tmp_path / "out")
    refused(*given, words=(str(bad / "fog.mp4"), "face"))
    assert not (tmp_path / "out").exists()


def test_footage_with_too_few_faces_is_named(short_clips, tmp_path, refused):
    (tmp_path / "out").mkdir()  # what was there before stays
    given = swap(short_clips["hopper"], short_clips["collins"], tmp_path / "out")
    refused(*given, words=("collins_short.mp4", "12 faces", "64"))
    assert (tmp_path / "out").exists()
    assert not list((tmp_path / "out").rglob("*.ipynb"))
    assert not list((tmp_path / "out").rglob("faces.jsonl"))


@pytest.mark.parametrize("given", [("--face", "hopper"), ("--target", "fog.mp4")])
def test_other_arguments_are_refused_with_their_usage(given):
    done = subprocess.run(
        [sys.executable, "-m", "deepfakery", "swap", *given],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr and "--target" in done.stderr


def test_faces_are_extracted_into_a_folder(short_clips, tmp_path, capsys):
    out = tmp_path / "faces"
    assert cli.main(["extract", str(short_clips["hopper"]), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"12 faces in {out}\n"
    assert len(list(out.glob("*.jpg"))) == 12


def test_a_folder_of_faces_is_made_of_each_clip(short_clips, bad, tmp_path, refused):
    out = tmp_path / "faces"
    clips = [*short_clips.values(), bad / "text.mp4"]
    command = "extract", *clips, "--each", "--out", out
    said = refused(*command, words=("1 of 3 clips failed", "tries again"))
    assert f"12 faces in {out / 'hopper'}" in said and "failed: " in said
    made = {f: f.stat().st_mtime_ns for f in out.rglob("*.jpg")}
    assert len(made) == 24
    refused(*command, words=("1 of 3 clips failed",))
    assert {f: f.stat().st_mtime_ns for f in out.rglob("*.jpg")} == made


def test_clips_of_one_name_are_told_apart_by_the_user(short_clips, tmp_path, refused):
    one = short_clips["hopper"]
    other = tmp_path / one.name
    other.write_bytes(one.read_bytes())
    command = "extract", one, other, "--each", "--out", tmp_path / "faces"
    refused(*command, words=("share a name", str(other)))


# --- a notebook is given parameters, and keeps what was there -----------------------


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A notebook of two cells that says what it was given, and may fail."""
    parameters = nbformat.v4.new_code_cell(PARAMETERS)
    parameters.metadata["tags"] = ["parameters"]
    work = nbformat.v4.new_code_cell(WORK)
    notebook = nbformat.v4.new_notebook(cells=[parameters, work])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    folder = tmp_path / "lessons {text}"
    folder.mkdir()
    nbformat.write(notebook, folder / "01_data_generation.ipynb")
    monkeypatch.setattr(run, "NOTEBOOKS", folder)
    return "01_data_generation"


PARAMETERS = """text = "default"  # a word
number = 5
share = 0.5
nothing = None
others = []
is_shown = True
fail = False
workspace = "../data/output/lesson"
"""

WORK = """
import json, os, sys, warnings
print(json.dumps([text, number, share, nothing, others, is_shown]))
for share in ("0 %", "50 %", "100 %"):
    print(f"\\rpainting: {share}", end="", file=sys.stderr, flush=True)
    display(share)
print("two", flush=True)
os.write(2, b"chatter")
warnings.warn("of something")
assert not fail, f"{text} in {workspace}"
"""


def outputs_of(path):
    *_, cell = nbformat.read(path, as_version=4).cells
    return cell.outputs


def test_parameters_arrive_letter_by_letter(lesson, tmp_path):
    odd = "a \"b\" 'c' \\n \\ $HOME `d` {e} %s Zo\xeb \u96ea\n'''\"\"\""
    given = {"text": odd, "number": "5", "nothing": "None", "unknown": 1}
    path = tmp_path / "out {text}.ipynb"
    run.execute(lesson, given, path)
    assert json.loads(outputs_of(path)[0].text.splitlines()[0])[:2] == [odd, "5"]
    plain = {"text": "default", "number": 5, "nothing": None}
    run.execute(lesson, plain, path)
    assert len(nbformat.read(path, as_version=4).cells) == 2  # nothing was passed on
    with pytest.raises(ValueError, match=r"text='a.udcff' is not written .* rename"):
        run.execute(lesson, {"text": "a\udcff"}, path)


def test_a_notebook_is_left_tidy(lesson, tmp_path, capfd):
    run.execute(lesson, {}, tmp_path / "a.ipynb")
    notebook = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert "papermill" not in notebook.metadata
    first, last = notebook.cells
    assert first.metadata == {"tags": ["parameters"]} and last.metadata == {"tags": []}
    said = [(o.get("name", o.output_type), o.get("text")) for o in last.outputs]
    shown = ("display_data", None)
    assert [name for name, _ in said] == ["stdout", "stderr", *[shown[0]] * 3]
    texts = dict(said)
    # Streams are whole; of a progress bar the last line stays.
    assert texts["stdout"].endswith("]\ntwo\n")
    assert texts["stderr"].startswith("painting: 100 %")
    out, err = capfd.readouterr()
    assert out.endswith("two\n") and "\rpainting: 50 %" in err
    # What somebody is warned of is seen at once, and libraries of C++ are not.
    assert "UserWarning: of something" in err and "chatter" not in err + texts["stderr"]


def test_a_failing_call_takes_nothing_of_an_earlier_one(lesson, tmp_path):
    out = tmp_path / "out"
    (out / "frames").mkdir(parents=True)
    (out / ".deepfakery").touch()
    (out / f"{lesson}.ipynb").write_text("an earlier run's")
    with pytest.raises(run.NotebookError, match=f"AssertionError in .* in {out}"):
        cli.swap_in(out, {"fail": True}, "swap.json")
    assert (out / f"{lesson}.ipynb").read_text() == "an earlier run's"
    assert (out / "frames").is_dir() and not list(out.glob("*.part*"))


def test_of_a_new_workspace_only_what_a_call_made_is_removed(tmp_path):
    for name in ("notes.txt", ".lock"):
        out = tmp_path / name / "out"
        with pytest.raises(KeyboardInterrupt), cli.workspace(out):
            (out / "faces/hopper").mkdir(parents=True)
            (out / "faces" / name).write_text("somebody else's")
            raise KeyboardInterrupt
        assert out.exists() == (name == "notes.txt")


def test_a_notebook_is_run_with_parameters(lesson, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    (tmp_path / "it's one.mp4").touch()
    given = ["text=None", "number=7", "share=1", "is_shown=False"]
    given.append("others=it's one.mp4")
    options = [word for text in given for word in ("-p", text)]
    assert cli.main(["run", lesson, *options]) == 0
    said = outputs_of(tmp_path / f"data/output/lesson/{lesson}.ipynb")[0].text
    seen = ["../it's one.mp4"]
    assert json.loads(said.splitlines()[0]) == [None, 7, 1.0, None, seen, False]
    for text, words in (
        ("number=many", ("number=many", "int")),
        ("color=red", ("no color", "text, number")),
        ("others='gone.mp4' it's", ("No closing quotation",)),
        ("others='gone.mp4'", ("gone.mp4 does not exist",)),
    ):
        refused("run", lesson, "-p", text, words=words)


def test_paths_alone_are_named_from_the_notebooks(monkeypatch):
    monkeypatch.chdir(ROOT)
    for key, value, seen in (
        ("face", "a/b.mp4", "../a/b.mp4"),
        ("face", "hopper", "hopper"),
        ("face", "2", "../2"),
        ("face_who", "2", "2"),
        ("face_who", "most", "most"),
        ("face_who", "me.jpg", "../me.jpg"),
        ("folder", "", ""),
        ("others", ["a", ROOT / "b"], ["../a", "../b"]),
        ("base", False, False),
        ("gallery", None, None),
        ("preset", "light", "light"),
    ):
        assert run.seen_from_there(key, value) == seen


def test_several_files_may_be_given_in_one_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's one.mp4").touch()
    assert cli.in_kind("others", "it's one.mp4", []) == ["it's one.mp4"]
    assert cli.in_kind("others", "'a b.mp4' c.mp4", []) == ["a b.mp4", "c.mp4"]


@pytest.mark.parametrize("name", cli.SWAP)
def test_every_notebook_takes_the_same_parameters(name):
    notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    (cell,) = cells
    names = {line.split("=")[0].strip() for line in cell.source.splitlines()}
    assert {"face", "target", "workspace"} <= names


def test_a_command_is_not_kept_waiting_for_what_it_does_without():
    """Keras and pandas take seconds to load; most commands never ask for them."""
    code = "import sys, deepfakery.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert not {"keras", "tensorflow", "pandas"} & {*done.stdout.split()}
