"""Run a command, and keep what it measured in the project with what it was made by.

python -m tools.keep notebooks [<photos> <people>]         all of them, in full
python -m tools.keep compare --minutes 2 5
python -m tools.keep run 05_dcgan -p steps=1000 -p folder=<photos>
"""

import itertools
import json
import os
import platform
import shlex
import shutil
import sys
import time
from functools import partial
from importlib import metadata
from pathlib import Path

import cv2
import nbformat
import numpy as np

from deepfakery import __main__ as cli
from deepfakery import samples
from deepfakery.notebook.run import NOTEBOOKS, ROOT

RESULTS = ROOT / "data/results"
DEMO = ROOT / "data/output/demo"

#: Notebook → the file of figures that it leaves in its workspace.
REPORTS = {
    "02_training": "training.json",
    "02b_choices": "training_choices.json",
    "03_prediction": "demo.json",
    "04_evaluation": "evaluation.json",
    "05_dcgan": "imagine.json",
    "06_upscaling": "upscaling.json",
    "07_detection": "detection.json",
}

#: Notebooks that go on from the demo, in this order.
FURTHER = ("02b_choices", "04_evaluation", "07_detection")

#: What they begin with.
PICTURES = ("contact_sheet.jpg", "training.jpg", "training_choices.jpg")

#: What the README's comparison shows.
GLANCE = [
    *("verified, share ↑", "identity distance ↓", "SSIM ↑", "PSNR, dB ↑"),
    *("landmark error, % ↓", "pose error, ° ↓", "sharpness ratio → 1"),
]


def main(arguments: list[str]) -> int:
    """Run a command, keep its figures; returns the exit status."""
    if arguments[:1] == ["notebooks"]:
        return keep_notebooks(*arguments[1:])
    given = cli.read(arguments)
    if given["command"] not in ("compare", "run"):
        raise SystemExit("There is nothing to keep but of compare, run and notebooks.")
    if any(text.startswith("folder=") for text in given.get("texts", ())):
        arguments = [*arguments, "-p", "show_photos=False"]  # other people's faces
    status = cli.main(arguments)
    if status == 0 and given["command"] == "compare":
        keep_comparison(given, "python -m tools.keep " + shlex.join(arguments))
    elif status == 0:
        keep_notebook(given["notebook"], given["texts"])
    return status


def keep_notebooks(photos: str = "", people: str = "") -> int:
    """Run all notebooks in full and keep them; goes on where it was stopped.

    The demo is run afresh: a workspace that is there is moved aside.

    Args:
        photos: Folder of CelebA's photos, for notebook 5; "" leaves it out.
        people: Folder of LFW's people, for notebook 6; "" leaves it out.
    """
    kept = DEMO / "kept.txt"  # a line for each that is done; gone at the end
    if DEMO.exists() and not kept.exists():
        aside = DEMO.with_name(f"demo before {time.strftime('%Y-%m-%d %H.%M.%S')}")
        os.rename(DEMO, aside)
        print(f"What was in {os.path.relpath(DEMO)} is now in {os.path.relpath(aside)}")
    with cli.workspace(DEMO):
        kept.touch()
    print("On two cores: 45 minutes; notebook 5 adds 80, notebook 6 adds 10.")
    for name, step in _steps(photos, people).items():
        if name in kept.read_text().splitlines():
            print(f"{name}: done before")
            continue
        if status := step():
            return status
        with kept.open("a") as file:
            file.write(f"{name}\n")
    _keep_demo()
    kept.unlink()
    return 0


def _steps(photos: str, people: str) -> dict:
    """What `keep_notebooks` does: {name: a function that returns the exit status}."""
    steps = {"demo": partial(cli.swap_in, DEMO, {}, "demo.json", study=True)}
    steps |= {name: partial(cli.main, ["run", name]) for name in FURTHER}
    for name, given in (
        ("05_dcgan", photos and [f"folder={photos}", "steps=1000"]),
        ("06_upscaling", people and [f"folder={people}"]),
    ):
        texts = [word for text in given for word in ("-p", text)]
        if given:
            steps[name] = partial(main, ["run", name, *texts])
    for file in sorted(NOTEBOOKS.glob("solutions/0*.ipynb")):
        name = f"solutions/{file.stem}"
        steps[name] = partial(cli.notebooks.execute, name, {"workspace": DEMO}, file)
    return steps


def _keep_demo() -> None:
    """Pictures, figures and notebooks of the demo, into the project."""
    RESULTS.mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copy(DEMO / name, RESULTS)
    clips = [DEMO / f"clips/{name}_unseen.mp4" for name in ("collins", "hopper")]
    side_by_side(clips[0], DEMO / "swap.mp4", clips[1], RESULTS / "swap.webp")
    for name in (*cli.SWAP, *FURTHER):
        shutil.copy(DEMO / f"{name}.ipynb", NOTEBOOKS)
        for picture in DEMO.glob(f"{name}.jpg"):  # the first one that it shows
            shutil.copy(picture, RESULTS)
        if name in REPORTS:
            key = "built-in" if name == "07_detection" else "notebook"
            note(name, key, "make notebooks", _read(DEMO / REPORTS[name]))
    choices = _read(DEMO / "choices/figures.json")
    note("03_prediction", "choices", "make notebooks", choices)


def side_by_side(target, swap, truth, path: Path, every=3, count=20, side=256) -> None:
    """A small moving picture of three clips in step: target, swap, ground truth."""
    from deepfakery.convert import export
    from deepfakery.media import animation, provenance, video

    trios = zip(*map(video.read_frames, (target, swap, truth)), strict=True)
    how = {"dsize": (side, side), "interpolation": cv2.INTER_AREA}
    pictures = (
        np.hstack([cv2.resize(frame.image, **how) for frame in trio])
        for trio in itertools.islice(trios, 0, every * count, every)
    )
    facts = {"kind": "composite", "label": provenance.LABEL}
    facts |= export.facts_of(swap, target)
    animation.write(pictures, path, video.probe(swap).fps / every, facts, target)


def keep_notebook(name: str, texts: list[str]) -> None:
    """Keep a notebook as it was run; with other people's clips, its figures alone."""
    given = dict(text.split("=", 1) for text in texts)
    own = cli.notebooks.parameters(name)["workspace"]
    out = Path(given.pop("workspace", ROOT / own.removeprefix("../")))
    command, key = f"python -m tools.keep run {name}", "built-in"
    for parameter, word in (("folder", "photos"), ("others", "others")):
        if given.get(parameter):
            key, given[parameter] = word, f"<{word}>"
    command += "".join(f" -p {one}={value}" for one, value in given.items())
    if key != "others":
        told = with_parameters_as_text(_read(out / f"{name}.ipynb"))
        text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        (NOTEBOOKS / f"{name}.ipynb").write_text(text)
        for picture in (*out.glob("faces.jpg"), *out.glob(f"{name}.jpg")):
            shutil.copy(picture, RESULTS)
    note(name, key, command, _read(out / REPORTS[name]))


def with_parameters_as_text(notebook: dict) -> dict:
    """A notebook that tells the values that its run was given, and does not set them:
    whoever runs it has other folders, or none."""
    for place, cell in enumerate(notebook.get("cells", ())):
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            values = "".join(cell["source"]).removeprefix("# Parameters\n")
            told = f"The run shown here was given\n\n```python\n{values}\n```"
            told = nbformat.v4.new_markdown_cell(told.splitlines(True), id=cell["id"])
            notebook["cells"][place] = told
    return notebook


def keep_comparison(given: dict, command: str) -> None:
    """Keep a comparison's table; that of the built-in people in the README too."""
    import pandas as pd

    from deepfakery.evaluate import tables

    table = pd.read_csv(given["out"] / "comparison.csv")
    target, face = samples.identities(given["face"], given["target"])
    is_built_in = {face, target} <= {*samples.PEOPLE}
    command = command.replace(given["face"], face).replace(given["target"], target)
    name = "04_evaluation" if is_built_in else "02_training"
    note(name, f"{face} → {target}", command, figures_of(table))
    if is_built_in:
        tell("comparison", markdown(tables.side_by_side(table)))


def figures_of(table) -> dict:
    """A table of `summarise` to keep: {clip: {measure: [value, low, high]}}."""
    figures = {}
    for row in table.round(4).itertuples():
        shown = figures.setdefault(row.clip, {})
        shown[row.measure] = [row.value, row.low, row.high]
    return figures


def markdown(shown, columns=GLANCE, intervals: bool = False) -> str:
    """A table of `side_by_side` as Markdown: some of its rows, turned."""
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    for clip, cells in shown.loc[columns].T.iterrows():
        texts = cells if intervals else (cell.partition(" (")[0] for cell in cells)
        lines.append([clip, *texts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def note(name: str, key: str, command: str, figures) -> None:
    """Keep figures in data/results, with what they were made by; others stay."""
    path = RESULTS / f"{name}.json"
    packages = ("tensorflow", "keras", "numpy", "opencv-python-headless", "dlib-bin")
    made = {
        "command": command,
        "machine": _machine(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: metadata.version(name) for name in packages},
        "seed": 0,
    }
    kept = _read(path) if path.exists() else {}
    kept[key] = {**made, "figures": figures}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def _machine() -> str:
    from deepfakery import networks  # Keras: most commands do without

    device = "a GPU" if networks.has_gpu() else "no GPU used"
    said = f"{os.cpu_count()} cores, {platform.machine()}, {device}, "
    return said + networks.best_precision()


def tell(name: str, text: str) -> None:
    """Put a text into the README, between the marks of that name."""
    path, marks = ROOT / "README.md", (f"<!-- {name} -->", f"<!-- /{name} -->")
    before, _, rest = path.read_text().partition(marks[0])
    _, mark, after = rest.partition(marks[1])
    if not mark:
        raise ValueError(f"{path.name} has no {marks[0]} … {marks[1]} to write into.")
    path.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
