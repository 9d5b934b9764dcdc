import os
import sys
import time
from argparse import Namespace

import pytest

from deepfakery.media import images, video
from tools import scale


@pytest.fixture
def given(clips, tmp_path):
    """Options, with a clip of 2.4 seconds."""
    options = {"clip": clips["collins"], "out": tmp_path, "run": "run"}
    return Namespace(**options, identity="hopper", minutes=[0.05], seconds=3.0)


def test_footage_is_at_least_as_long_as_asked_for(given):
    clip = scale.footage(given, 3)
    assert images.count_frames(clip) == 144 == sum(1 for _ in video.read_frames(clip))
    assert images.count_frames(scale.footage(given, 2.4)) == 72
    assert not list(given.out.glob("unfinished*"))


def test_memory_is_that_of_a_process_and_its_workers(given):
    own = scale.resident(os.getpid())
    assert own > 50e6
    work = scale.Work.on("extract", given.clip, given.out / "faces", given)
    child = "import time; held = bytearray(10**8); time.sleep(0.7)"
    program = "import subprocess, sys; "
    program += f"subprocess.run([sys.executable, '-c', '{child}'])"
    work.command = [sys.executable, "-c", program]
    assert work.run()
    assert work.memory > 1e8


def test_killed_work_says_what_is_kept_and_goes_on(given, short_clips):
    work = scale.Work.on("extract", short_clips["hopper"], given.out / "faces", given)
    started = time.monotonic()
    assert not work.run(0.2)
    assert time.monotonic() - started < 2
    assert (work.kept(), work.counted()) == (0, 0)
    assert work.run()
    assert work.kept() == 12 == work.counted()
    before = work.digest()
    next(work.out.glob("*.jpg")).unlink()
    assert work.digest() != before
    assert work.disk > 12 * 5000
    work.remove()
    assert not work.out.exists() and work.kept() == 0


def test_work_that_fails_is_named(given):
    work = scale.Work.on("convert", given.clip, given.out / "swap.mp4", given)
    work.command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(OSError, match=r"convert failed; .*swap.log says why"):
        work.run()


@pytest.mark.long
def test_measuring_a_longer_clip_takes_hardly_more_memory(given, demo_workspace):
    given.run, given.minutes = demo_workspace / "run", [0.1, 0.8]
    short, long = scale.evaluate(given)
    looks = 3 * (long["frames"] - short["frames"])  # of swap, target and truth
    grown = long["memory_mb"] - short["memory_mb"]
    # What is known of a face is kept, some kilobytes; a frame's 440 must not be.
    assert looks > 3500 and grown < 150, grown
