"""Files and folders, written so that a kill or a full disk leaves them whole."""

import hashlib
import json
import os
import re
import shutil
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

#: Bytes of work to come that are worth a word beforehand.
MUCH = 10**9


def read_lines(
    path: Path, fault: Callable[[dict], str | None] = lambda record: None
) -> list[dict]:
    """The objects of a JSON Lines file; none where it is missing.

    `fault` says what is wrong with an object, or None; bad lines are warned of.
    """
    found, bad = [], []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            wrong = fault(record) if isinstance(record, dict) else "not an object"
        except (ValueError, RecursionError):
            wrong = "not JSON"
        if wrong:
            bad.append(f"line {number}: {wrong}")
        else:
            found.append(record)
    if bad:
        few = ", ".join(bad[:3]) + ", …" * (len(bad) > 3)
        warnings.warn(f"{path}, {few}; left out.", stacklevel=3)
    return found


def is_plain(name) -> bool:
    """Whether a name that a file gives stays in its own folder, on every system."""
    if not isinstance(name, str) or not name.strip(". ") or _FOREIGN.search(name):
        return False
    return len(os.fsencode(name)) <= 255


# Separators, control characters, and halves of characters that no name can hold.
_FOREIGN = re.compile(r"[/\\:\x00-\x1f\ud800-\udc7f\udd00-\udfff]")


def own_file(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder; None if it is missing or lies elsewhere.

    A folder from somebody else must not bring in files of this machine by a link.
    """
    path = folder / name
    if not is_plain(name) or not path.is_file():
        return None
    if path.is_symlink() and path.resolve().parent != folder.resolve():
        warnings.warn(f"{path} is a link out of its folder; left out.", stacklevel=3)
        return None
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file's size and content; of a large one, of sixteen samples."""
    size, sample = path.stat().st_size, 2**20
    total = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= 16 * sample:
            total.update(file.read())
        else:
            for i in range(16):  # the first is its head, the last its tail
                file.seek((size - sample) * i // 15)
                total.update(file.read(sample))
    return total.hexdigest()


def write_lines(path: Path, records: Iterable[dict]) -> None:
    """Write a JSON Lines file."""
    write(path, "".join(json.dumps(record) + "\n" for record in records))


def append(path: Path, text: str) -> None:
    """Add text to a file, all of it or nothing; raises as `write` does."""
    before = path.stat().st_size
    with told(path, lambda: os.truncate(path, before)), path.open("ab") as file:
        file.write(text.encode())


def write(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Write a file, text as UTF-8, under a temporary name, then rename it.

    Raises an OSError if it cannot be written; nothing is left of it then.
    """
    unfinished = aside(path)
    with told(path, lambda: unfinished.unlink(missing_ok=True)):
        with open(unfinished, "wb", opener=partial(os.open, mode=mode)) as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)


@contextmanager
def told(path: Path, undo: Callable = lambda: None) -> Iterator[None]:
    """Say of an OSError which file it befell and what to do, after `undo`."""
    try:
        yield
    except OSError as error:
        undo()
        raise OSError(
            f"{path} could not be written ({error.strerror}); make room or choose "
            "another folder, then run the same again."
        ) from error


def room(place: Path, need: float = 0) -> int:
    """Free bytes where a file or folder is or will be.

    A `need` in bytes that is more, or more than `MUCH`, is printed.
    """
    there = next(p for p in (place, *place.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if need > min(free, MUCH):
        said = f"{place} may take up to about {_size(need)}; {_size(free)} are free"
        more = ". Make room, or it stops on the way; the same again then goes on"
        print(f"{said}{more * (need > free)}.", flush=True)
    return free


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def aside(path: Path) -> Path:
    """The hidden name beside a file or folder that it has until it is whole."""
    return beside(path, f".{path.name}", ".part")


def beside(path: Path, start: str, ending: str) -> Path:
    """The name `start` + `ending` beside a file, made shorter where it is too long."""
    # File systems take 255 bytes; other names of one beginning must stay others.
    if len(os.fsencode(start + ending)) > 255:
        digest = hashlib.sha256(os.fsencode(start)).hexdigest()[:16]
        start = f"{start[:40]}~{digest}"
    return path.with_name(start + ending)


@contextmanager
def one_writer(folder: Path, work: str, wait: float = 0) -> Iterator[None]:
    """Hold a folder, made where it is missing, until the block or the process ends.

    Args:
        folder: Where nobody else may write at the same time.
        work: What is done there, for the message of a second writer.
        wait: Seconds to wait for somebody else.

    Raises:
        BlockingIOError: Another process, or another call of this one, holds it.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    lock = FileLock(file, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        holder = ""
        with suppress(OSError):  # released since
            holder = file.read_text(encoding="utf-8", errors="replace")
        raise BlockingIOError(
            f"{folder} is in use: {holder or 'somebody'}. Wait until that is done, or "
            "choose another folder."
        ) from None
    try:
        said = f"process {os.getpid()} on {socket.gethostname()} {work}"
        with told(file):
            file.write_text(said, encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # Windows unlinks it when it is released
            file.unlink()
        lock.release()
