"""The notebooks without a browser.

execute("03_prediction", {"workspace": seen_from_there("data/output/demo")}, path)
"""

import ast
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill

from deepfakery import samples
from deepfakery.media import records

HERE = Path(__file__).resolve().parents[1]  # the package
#: A wheel carries the notebooks in the package; what is made then goes where one is.
INSTALLED = (HERE / "notebooks").is_dir()
ROOT = Path.cwd() if INSTALLED else HERE.parent
NOTEBOOKS = (HERE if INSTALLED else ROOT) / "notebooks"


def execute(name: str, parameters: dict, path: Path, study: bool = True) -> None:
    """Run one notebook and write it, with its outputs, to `path`.

    Without `study`, cells tagged so are left out. Parameters that the notebook does
    not have, or that already have that value, are not passed on: a run with its
    defaults leaves the notebook's cells as they are. If a cell fails, what was at
    `path` before stays.

    Raises:
        papermill.PapermillExecutionError: A cell failed.
        ValueError: A name is no text.
    """
    for key, value in parameters.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            said = f"{key}={value!a} is not written in UTF-8; rename the file."
            raise ValueError(said) from None
    source, path = NOTEBOOKS / f"{name}.ipynb", Path(path).resolve()
    known = papermill.inspect_notebook(_plain(source))
    passed = {
        key: value
        for key, value in parameters.items()
        if key in known and not _is_same(value, known[key]["default"])
    }
    _execute(source, passed, path, study)


def _plain(path: Path) -> str:
    """A path for papermill, which would fill in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _is_same(value, default: str) -> bool:
    """Whether a parameter has the value that the notebook's cell gives it."""
    try:
        written = ast.literal_eval(default)
    except (SyntaxError, ValueError):
        return False
    return type(written) is type(value) and written == value


def _execute(source: Path, passed: dict, path: Path, study: bool) -> None:
    aside = records.beside(path, f".{path.stem}", ".part.ipynb")
    notebook = nbformat.read(source, as_version=4)
    if not study:
        cells = notebook.cells
        notebook.cells = [c for c in cells if "study" not in c.metadata.get("tags", ())]
    nbformat.write(notebook, aside)
    try:
        with _console() as console:
            papermill.execute_notebook(
                _plain(aside),
                _plain(aside),
                parameters=passed,
                cwd=str(NOTEBOOKS),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=console,
            )
        tidy(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def tidy(path: Path) -> None:
    """Take out of an executed notebook what only its run cared about.

    Timing and paths go; of a progress bar's thousand lines, each overwriting the one
    before, the last one stays.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.source = cell.source.rstrip()  # papermill's own cell ends in a blank line
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        outputs, streams = [], {}
        for output in cell.get("outputs", []):
            if output.output_type != "stream":
                outputs.append(output)
            elif output.name in streams:
                streams[output.name].text += output.text
            else:
                streams[output.name] = output
                outputs.append(output)
        for stream in streams.values():
            lines = stream.text.replace("\r\n", "\n").split("\n")
            lines = [line.split("\r")[-1] for line in lines if not _is_chatter(line)]
            stream.text = "\n".join(lines)
        outputs = [o for o in outputs if o.get("text") != ""]
        if "outputs" in cell:
            cell.outputs = outputs
    nbformat.write(notebook, path)


def _is_chatter(line: str) -> bool:
    # TensorFlow says this before it reads the setting that would silence it.
    words = ("cudart_stub", "absl::InitializeLog", "oneDNN custom operations")
    return any(word in line for word in words)


@contextmanager
def _console():
    """A terminal for the kernel's words, without TensorFlow's start-up chatter.

    The kernel inherits this process's own error stream, and TensorFlow writes there
    past Python; for as long as the kernel runs that stream leads nowhere.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    class Console:
        def write(self, text: str):
            kept = (t for t in text.splitlines(True) if not _is_chatter(t))
            os.write(terminal, "".join(kept).encode(errors="backslashreplace"))

        def flush(self):
            pass

    try:
        yield Console()
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def seen_from_there(path) -> str:
    """A path as a notebook names it; a built-in person stays a name."""
    if str(path) in samples.PEOPLE:
        return str(path)
    return os.path.relpath(path, NOTEBOOKS)
