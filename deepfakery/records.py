"""Files of face folders, written so that a kill or a full disk leaves them whole."""

import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path


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
