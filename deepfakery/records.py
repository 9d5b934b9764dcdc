"""Files and folders, written so that a kill or a full disk leaves them whole."""

import json
import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON Lines file; torn lines are warned of and left out."""
    records = []
    if not path.exists():
        return records
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                warnings.warn(f"{path}, line {number}: not JSON, skipped", stacklevel=3)
    return records


def write_lines(path: Path, records: Iterable[dict]) -> None:
    """Write a JSON Lines file."""
    write(path, "".join(json.dumps(record) + "\n" for record in records))


def append(path: Path, text: str) -> None:
    """Add text to a file, all of it or nothing.

    Raises:
        OSError: It cannot be written.
    """
    before = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(text.encode())
    except OSError as error:
        os.truncate(path, before)
        raise _unwritten(path, error) from error


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> OSError:
    return OSError(
        f"{path} could not be written ({error.strerror}); make room or choose another "
        "folder, then run the same again."
    )


@contextmanager
def one_writer(folder: Path, work: str) -> Iterator[None]:
    """Hold a folder, so that nobody else writes into it at the same time.

    The operating system lets go of it when the process ends, however it ends.

    Args:
        folder: Made where it is missing.
        work: What is done there, for the message of a second writer.

    Raises:
        BlockingIOError: Another process, or another call of this one, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        holder = file.read_text(encoding="utf-8", errors="replace") or "somebody"
        raise BlockingIOError(
            f"{folder} is in use: {holder}. Wait until that is done, or choose "
            "another folder."
        ) from None
    try:
        said = f"process {os.getpid()} on {socket.gethostname()} {work}"
        file.write_text(said, encoding="utf-8")
        yield
    finally:
        lock.release()
