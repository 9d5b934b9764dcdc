"""Figures that the project keeps in git, each with the command that makes it again."""

import json
import os
import platform
import time
from importlib import metadata

from deepfakery.notebook.run import ROOT

RESULTS = ROOT / "data/results"


def note(name: str, key: str, command: str, figures) -> None:
    """Keep figures in the project, with what they were made by; others stay."""
    path = RESULTS / f"{name}.json"
    packages = ("tensorflow", "keras", "numpy", "opencv-python-headless", "dlib-bin")
    made = {
        "command": command,
        "machine": _machine(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: metadata.version(name) for name in packages},
        "seed": 0,
    }
    kept = json.loads(path.read_text()) if path.exists() else {}
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
