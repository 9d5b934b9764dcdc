"""Work that goes on where it was interrupted, if it is whole and asked for again."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepfakery import __version__
from deepfakery.media import provenance, records


@contextmanager
def unfinished(path: Path, source: Path, settings: dict) -> Iterator[tuple]:
    """The folder of what is under way to a file or a folder.

    It stays if the work is interrupted, and goes when it is finished or when nothing
    was done.

    Args:
        path: The file or folder.
        source, settings: What is read, and what else the work depends on: it goes on
            only where both are as they were.

    Yields:
        (the folder, a list of what is done, a function that adds a dict to the list);
        the `part_file` of that number is to be whole by then, if it has one.

    Raises:
        BlockingIOError: Somebody else is at work on it.
    """
    aside = records.aside(path)
    state = aside / "state.jsonl"
    stat = os.stat(source)
    read = [os.path.realpath(source), stat.st_size, stat.st_mtime_ns]
    settings = {"version": __version__, "read": read, **settings}
    settings = json.loads(json.dumps(settings, default=_plain))
    with records.one_writer(aside, f"writes {path}"):
        first, *lines = records.read_lines(state) or [None]
        done = []
        for line in lines if first == settings else ():
            if line.get("sha256") != _seal(aside, line, len(done)):
                break  # damaged: from there on the work is done again
            done.append(line)
        if not done:
            shutil.rmtree(aside / "frames", ignore_errors=True)
        records.write_lines(state, [settings, *done])

        def keep(entry):
            entry = entry | {"sha256": _seal(aside, entry, len(done))}
            records.append(state, json.dumps(entry) + "\n")
            done.append(entry)

        try:
            yield aside, done, keep
            done.clear()
        except provenance.SigningError:  # but all is written
            done.clear()
            raise
        finally:
            if not done:
                shutil.rmtree(aside, ignore_errors=True)


def _plain(value) -> str:
    """What stands for a path, a network or descriptors among settings."""
    if hasattr(value, "sha256"):
        return value.sha256()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return hashlib.sha256(np.float32(value).tobytes()).hexdigest()


def _seal(aside, entry, number) -> str:
    """Of an entry of the list, its place, and the part of a clip that it stands for."""
    digest = hashlib.sha256(json.dumps(entry | {"sha256": number}).encode())
    part = part_file(aside, number)
    digest.update(part.read_bytes() if part.exists() else b"")
    return digest.hexdigest()


def part_file(folder: Path, number: int) -> Path:
    """Where a part of a clip lies in the folder of what is under way."""
    return folder / f"{number:06d}.mp4"
