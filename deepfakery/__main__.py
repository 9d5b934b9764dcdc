"""The notebooks without a browser.

python -m deepfakery demo                              the built-in people
python -m deepfakery swap --face A.mp4 --target B.mp4  anyone's footage
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
import papermill

from deepfakery import images, networks, samples, video

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
SWAP = ("01_data_generation", "02_training", "03_prediction")


def main(arguments=None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="deepfakery", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the whole way on the built-in people")
    demo.add_argument("--out", type=Path, default=ROOT / "data/output/demo")
    swap = commands.add_parser("swap", help="the whole way on your own footage")
    swap.add_argument("--face", required=True, help="footage of the person to paint")
    swap.add_argument("--target", required=True, help="footage to paint into")
    swap.add_argument("--minutes", type=float, default=5, help="of training")
    swap.add_argument("--preset", default="light", choices=networks.PRESETS)
    swap.add_argument("--out", type=Path, default=ROOT / "data/output/swap")
    given = parser.parse_args(arguments)
    try:
        if given.command == "demo":
            run({}, given.out, "demo.json")
        else:
            _check(given.face, given.target)
            people = {"face": _from_notebooks(given.face)}
            people["target"] = _from_notebooks(given.target)
            training = {"minutes": given.minutes, "preset": given.preset}
            run({**people, **training}, given.out, "swap.json")
    except papermill.PapermillExecutionError as error:
        known = error.ename in ("MediaError", "ValueError", "FileNotFoundError")
        kind = "" if known else f"{error.ename} in cell {error.cell_index}: "
        print(f"Error: {kind}{error.evalue}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def run(parameters: dict, out: Path, report: str) -> dict:
    """Execute the three notebooks of a swap.

    Args:
        parameters: Name → value; each notebook is given those that it knows.
        out: The workspace, where everything is left.
        report: Name of the JSON file of figures in it.

    Returns:
        The figures.

    Raises:
        papermill.PapermillExecutionError: A cell failed. A workspace that this call
            made is removed again.
    """
    out = out.resolve()
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    parameters = {**parameters, "workspace": _from_notebooks(out), "report": report}
    seconds = {}
    for name in SWAP:
        print(f"\n── {name}", flush=True)
        started = time.monotonic()
        try:
            execute(name, parameters, out / f"{name}.ipynb")
        except papermill.PapermillExecutionError:
            if is_new:
                shutil.rmtree(out)
            else:
                (out / f"{name}.ipynb").unlink(missing_ok=True)
            raise
        seconds[name] = round(time.monotonic() - started, 1)
    figures = json.loads((out / report).read_text())
    figures["seconds"] = {**seconds, "total": round(sum(seconds.values()), 1)}
    (out / report).write_text(json.dumps(figures, indent=2) + "\n")
    print("\n" + json.dumps(figures, indent=2))
    shown = Path(os.path.relpath(out))
    print(f"\nThe clip:          {shown / 'swap.mp4'}")
    print(f"Its frames:        {shown / 'frames'}")
    print(f"Contact sheet:     {shown / 'contact_sheet.jpg'}")
    print(f"Figures:           {shown / report}")
    print(f"Notebooks as run:  {shown}/0*.ipynb")
    return figures


def execute(name: str, parameters: dict, path: Path) -> None:
    """Run one notebook and write it, with its outputs, to `path`.

    Parameters that the notebook does not have, or that already have that value, are
    not passed on: a run with its defaults leaves the notebook's cells as they are.
    """
    source = NOTEBOOKS / f"{name}.ipynb"
    known = papermill.inspect_notebook(str(source))
    passed = {
        key: value
        for key, value in parameters.items()
        if key in known and known[key]["default"].strip("\"'") != str(value)
    }
    aside = path.with_name(f".{path.stem}.part.ipynb")
    try:
        papermill.execute_notebook(
            str(source),
            str(aside),
            parameters=passed,
            cwd=str(NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=_Console(),
            extra_arguments=["--log-level=ERROR"],
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
    return "cudart_stub" in line or "absl::InitializeLog" in line


class _Console:
    """The terminal, without TensorFlow's start-up chatter."""

    def write(self, text: str):
        sys.stderr.write(
            "".join(t for t in text.splitlines(True) if not _is_chatter(t))
        )

    def flush(self):
        sys.stderr.flush()


def _check(face: str, target: str) -> None:
    """Fail before any work where footage cannot be used."""
    samples.identities(face, target)
    for who in (face, target):
        if who not in samples.PEOPLE:
            images.count_frames(who)
    if target not in samples.PEOPLE:
        video.probe(target)


def _from_notebooks(path) -> str:
    if str(path) in samples.PEOPLE:
        return str(path)
    return os.path.relpath(Path(path).resolve(), NOTEBOOKS)


if __name__ == "__main__":
    sys.exit(main())
