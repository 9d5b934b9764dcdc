"""The order of the package: what may import what."""

import ast
import importlib
from pathlib import Path

import deepfakery

PACKAGE = Path(deepfakery.__file__).parent
#: Each may import those before it, and no others.
ORDER = (
    *("media", "networks", "presets", "losses", "adversarial", "faces"),
    *("samples", "batches", "checkpoints", "training", "swapper"),
    *("convert", "evaluate", "studies", "notebook", "__main__"),
)


def part_of(file):
    """The folder or the module at the top of the package."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file):
    """Parts of the package that a module imports, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            first, *rest = node.module.split(".")
            if first == "deepfakery":
                yield from rest[:1] or [name.name for name in node.names]


def test_nothing_imports_what_comes_later():
    files = [f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py"]
    assert {part_of(file) for file in files} == set(ORDER)
    for file in files:
        mine = part_of(file)
        later = set(ORDER[ORDER.index(mine) + 1 :])
        assert not later & set(imported(file)), f"{file} imports what comes later"


def test_every_folder_offers_all_its_modules():
    for folder in (f.parent for f in PACKAGE.glob("*/__init__.py")):
        modules = {f.stem for f in folder.glob("*.py")} - {"__init__"}
        room = importlib.import_module(f"deepfakery.{folder.name}")
        assert modules <= {*dir(room)}


def test_every_folder_says_what_it_is_for():
    for file in PACKAGE.glob("*/__init__.py"):
        assert ast.get_docstring(ast.parse(file.read_text())).splitlines()[0][-1] == "."
