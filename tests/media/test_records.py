import resource
import shutil
from collections import namedtuple
from contextlib import contextmanager

import pytest

from deepfakery.media import records

Usage = namedtuple("Usage", "total used free")


@contextmanager
def largest_file(size):
    """No file can grow beyond so many bytes: a full disk, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("need", "free", "said"),
    [
        (5e6, 1e9, None),
        (5e6, 4e6, "about 5.0 MB; 4.0 MB are free. Make room"),
        (3e9, 9e9, "about 3.0 GB; 9.0 GB are free."),
        (0, 0, None),
    ],
)
def test_what_is_much_or_more_than_is_free_is_said(
    need, free, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, free))
    place = tmp_path / "not" / "there yet"
    assert records.room(place, need) == free
    printed = capsys.readouterr().out
    assert printed.count("\n") == bool(said)
    assert said is None or (f"{place} may take" in printed and said in printed)


def test_room_is_that_of_the_disk(tmp_path):
    assert 0 < records.room(tmp_path / "file") < shutil.disk_usage(tmp_path).total


def test_a_folder_on_a_full_disk_cannot_be_held(tmp_path):
    with largest_file(0), pytest.raises(OSError, match=r"\.lock could not .*make room"):
        with records.one_writer(tmp_path / "out", "works there"):
            pass
    with records.one_writer(tmp_path / "out", "works there"):
        pass
