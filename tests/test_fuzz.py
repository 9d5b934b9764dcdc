"""Damaged files give an answer: a result, or one sentence that helps.

The sentence is a ValueError's or OSError's; it names the file and says what to do. No
other exception, no crash, no minute of waiting, no 3 GB of memory. A case is known by
its seed: `pytest tests/test_fuzz.py -k seed017` tries that one again.
"""

import json
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*passed over, which are no images:UserWarning"
)


class Worker:
    """One process for many cases; started anew when a case ends it."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        fuzz.make(folder / "whole")

    def ask(self, seed):
        """(fault or "", what was said, seconds, bytes) of a seed."""
        said = self.folder / "said.txt"
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-X", "faulthandler", fuzz.__file__]
            with said.open("w") as errors:
                self.process = subprocess.Popen(
                    [*command, self.folder / "whole"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        print(seed, file=self.process.stdin, flush=True)
        if line := self.process.stdout.readline():
            return json.loads(line)
        code = self.process.wait()
        return f"the process ended ({code}): {said.read_text()[-1500:]}", "", 0, 0

    def close(self):
        if self.process:
            self.process.communicate()


@pytest.fixture(scope="module")
def worker(signer, tmp_path_factory):
    one = Worker(Path(tmp_path_factory.mktemp("fuzz")))
    yield one
    one.close()


SHORT = range(30)  # every kind of damage


def is_answered(worker, seed):
    fault, *_ = worker.ask(seed)
    assert not fault, fault


@pytest.mark.parametrize("seed", SHORT, ids=fuzz.name_of)
def test_a_damaged_file_is_answered(worker, seed):
    is_answered(worker, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30, 330), ids=fuzz.name_of)
def test_many_damaged_files_are_answered(worker, seed):
    is_answered(worker, seed)
