"""What a user gives to `make` reaches the command letter by letter."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest

from deepfakery.notebook.run import ROOT

NAMES = [
    "a clip.mp4",
    "cash$money.mp4",
    "$(HOME) ${HOME} $HOME.mp4",
    'it\'s "quoted".mp4',
    "`touch ran`.mp4",
    "a; touch ran; #.mp4",
    "a&b|c>ran\\d*.mp4",
    "-dash.mp4",
    "Zoë 雪.mp4",
    "%100.mp4",
]

#: Target, what it is given, and the same as the command's arguments; X is a name.
TARGETS = [
    ("swap", "FACE TARGET OUT", "swap --face=X --target=X --minutes=5 --preset=light"),
    (
        "evaluate",
        "SWAP TARGET FACE TRUTH OUT",
        "--swap=X --target=X --face=X --truth=X",
    ),
    ("imagine", "PHOTOS OUT", "run 05_dcgan -p folder=X -p workspace=X"),
    ("enlarge", "PHOTOS OUT", "run 06_upscaling -p folder=X -p workspace=X"),
    ("upscale", "IN OUT SIZE FIT", "upscale --in=X --out=X --size=X --fit=X"),
    ("inspect", "FILE", "inspect -- X"),
    ("detect", "OTHERS", "run 07_detection -p others=X"),
    ("compare", "FACE TARGET OUT", "compare --face=X --target=X --out=X"),
    ("bench", "ONLY", "--only=X"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function: the arguments with which a target calls Python."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("make")
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "pyproject.toml"):
        (folder / name).touch()
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    )
    python.chmod(0o755)
    (folder / ".venv/installed").touch()

    def make(target, given, through_environment=False):
        said = [] if through_environment else [f"{k}={v}" for k, v in given.items()]
        done = subprocess.run(
            ["make", "-s", target, *said],
            cwd=folder,
            env={**os.environ, **(given if through_environment else {})},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not (folder / "ran").exists()
        return json.loads(done.stdout.splitlines()[-1])

    return make


@pytest.mark.parametrize(("target", "variables", "expected"), TARGETS)
def test_every_target_hands_on_what_it_is_given(target, variables, expected, made):
    for i, name in enumerate(NAMES):
        given = dict.fromkeys(variables.split(), name)
        arguments = made(target, given, through_environment=i % 2 == 1)
        words = [word.replace("X", name) for word in expected.split()]
        assert [a for a in arguments if a in words] == words


def test_the_cuda_wheels_are_an_extra_that_is_installed_once(made):
    assert made(".venv/cuda", {})[-2:] == ["-e", ".[gpu]"]
    assert made("demo", {"GPU": "1"}) == ["-m", "deepfakery", "demo"]  # it is there
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = extras["optional-dependencies"]["gpu"]
    (extra,) = re.findall(r"^tensorflow\[(.+)\]>=", asked)
    assert extra in metadata.metadata("tensorflow").get_all("Provides-Extra")


def test_what_is_not_given_is_the_commands_own(made):
    assert made("compare", {}) == [
        *("-m", "deepfakery", "compare", "--out=data/output/compare")
    ]
    assert made("compare", {"MINUTES": "2 5", "KEEP": "1"}) == [
        *("-m", "tools.keep", "compare", "--minutes", "2", "5"),
        "--out=data/output/compare",
    ]
    assert made("bench", {"KEEP": "1"}) == ["-m", "tools.bench", "--keep"]
    assert made("notebooks", {}) == ["-m", "tools.keep", "notebooks", "", ""]
