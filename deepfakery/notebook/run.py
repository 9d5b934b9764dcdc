"""The notebooks without a browser.

execute("03_prediction", {"workspace": "data/output/demo"}, "as_run.ipynb")
"""

import ast
import builtins
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

#: Parameters that name files and folders: given as seen from where the caller is.
PATHS = {
    *("workspace", "folder", "face", "target", "face_who", "target_who"),
    *("portrait", "imagined", "base", "other", "others", "gallery"),
}


class NotebookError(RuntimeError):
    """A cell of a notebook failed."""


def parameters(name: str) -> dict:
    """A notebook's parameters: name → the value that its own cell gives."""
    found = papermill.inspect_notebook(_read(name))
    return {key: ast.literal_eval(one["default"]) for key, one in found.items()}


def execute(name: str, given: dict, path, study: bool = True) -> None:
    """Run a notebook and write it, with its outputs, to `path`.

    Args:
        name: Of the notebook, without suffix, such as "solutions/02_training".
        given: Parameters. Those that the notebook does not have, or that already have
            that value, are not passed on: with its defaults its cells stay as they are.
        path: The notebook to write. If a cell fails, what was there before stays.
        study: Also run the cells tagged `study`.

    Raises:
        NotebookError: A cell failed.
        ValueError: A value is no text.
    """
    for key, value in given.items():
        if str(value) != str(value).encode(errors="ignore").decode():
            said = f"{key}={value!a} is not written in UTF-8; rename the file."
            raise ValueError(said)
    own, notebook = parameters(name), _read(name)
    home = (NOTEBOOKS / name).parent
    seen = {key: seen_from_there(key, value, home) for key, value in given.items()}
    passed = {k: v for k, v in seen.items() if k in own and repr(v) != repr(own[k])}
    if not study:
        cells = notebook.cells
        notebook.cells = [c for c in cells if "study" not in c.metadata.get("tags", ())]
    try:
        with _console() as console:
            notebook = papermill.execute_notebook(
                notebook,
                None,
                parameters=passed,
                cwd=str(home),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=console,
                # Of a progress bar the last line stays; of C++ libraries none.
                coalesce_streams=True,
                extra_arguments=["--IPKernelApp.capture_fd_output=False"],
            )
    except papermill.PapermillExecutionError as error:
        said = error.evalue
        for key in PATHS.intersection(given):
            said = said.replace(str(seen[key]), str(given[key]))
        raise NotebookError(_where(error) + said) from error
    # Times and paths of this run are nobody's business.
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    for cell in notebook.cells:
        cell.source = cell.source.rstrip()  # papermill's own ends in a blank line
    records.write(Path(path), nbformat.writes(notebook) + "\n")


def seen_from_there(key: str, value, home: Path | None = None):
    """A parameter as a notebook is given it: a path as seen from its folder."""
    if isinstance(value, list):
        return [seen_from_there(key, one, home) for one in value]
    if key not in PATHS or not isinstance(value, str | os.PathLike):
        return value
    is_number = key.endswith("who") and (value == "most" or str(value).isdecimal())
    if is_number or value in ("", *samples.PEOPLE):
        return value
    return os.path.relpath(value, home or NOTEBOOKS)


def _read(name: str):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def _where(error: papermill.PapermillExecutionError) -> str:
    """What stands before an error that is none of the user's: its kind and cell."""
    kind = getattr(builtins, error.ename, Exception)
    is_known = error.ename in ("MediaError", "SigningError")
    if is_known or issubclass(kind, (ValueError, OSError)):
        return ""
    return f"{error.ename} in cell {error.cell_index}: "


@contextmanager
def _console():
    """A terminal for what the kernel says.

    The kernel inherits this process's own error stream, and TensorFlow writes there
    past Python; for as long as the kernel runs that stream leads nowhere.
    """
    sys.stderr.flush()
    with (
        open(os.dup(2), "w", errors="backslashreplace") as terminal,
        open(os.devnull, "w") as nowhere,
    ):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(terminal.fileno(), 2)
