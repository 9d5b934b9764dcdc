"""Work that goes on where it was interrupted."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from deepfakery import __version__
from deepfakery.media import provenance, records

#: About how much a pixel takes in a clip of CRF 17, and in a PNG.
CLIP_BYTES, PNG_BYTES = 1 / 32, 1.5


@contextmanager
def unfinished(path: Path, source: Path, settings: dict) -> Iterator[tuple]:
    """Hold the hidden folder of what is under way; it stays where that is interrupted.

    Args:
        path: The file or folder to be made.
        source, settings: What is read, and what else the work depends on: it goes on
            only where both are as they were.

    Yields:
        (the folder, a list of what is done, a function that adds a dict to it, whose
        `part_file`, if any, is whole).

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


def kept(path: Path) -> float:
    """Frames of a clip that lie in finished parts; infinite where it is whole."""
    parts = []
    with suppress(OSError):  # finished at this moment
        parts = records.read_lines(records.aside(path) / "state.jsonl")[1:]
    done = sum(part.get("frames", 0) for part in parts)
    return done or (math.inf if path.exists() else 0)


def _plain(value) -> str:
    """What stands for a path, a network or descriptors among settings."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "sha256"):
        return value.sha256()
    return hashlib.sha256(np.float32(value).tobytes()).hexdigest()


def _seal(aside, entry, number) -> str:
    """SHA-256 of an entry of the list, its place, and its part of a clip."""
    digest = hashlib.sha256(json.dumps(entry | {"sha256": number}).encode())
    part = part_file(aside, number)
    digest.update(part.read_bytes() if part.exists() else b"")
    return digest.hexdigest()


def part_file(folder: Path, number: int) -> Path:
    """Where a part of a clip lies in the folder of what is under way."""
    return folder / f"{number:06d}.mp4"


def needed(pixels, done=0, crf=None, frames=False) -> float:
    """Bytes still to be written for a clip of so many pixels, `done` of them made."""
    clip = CLIP_BYTES * 2 ** ((17 - (17 if crf is None else crf)) / 6)
    # In the end its parts, these joined, and the signed copy lie beside each other.
    return clip * (3 * pixels - done) + PNG_BYTES * (pixels - done) * bool(frames)
