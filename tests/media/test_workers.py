"""Worker processes: whoever calls, and however either ends."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepfakery.media.workers import WAITING, in_order, pool

SCRIPT = """
print("main runs")
import os, sys
from types import SimpleNamespace
import numpy as np
from deepfakery.faces import detect, tracking
frames = [SimpleNamespace(image=np.zeros((64, 64, 3), np.uint8)) for _ in range(3)]
print(len(list(detect.detect_each(frames, workers=2))), "frames")
print(sum(len(found) for _, found in tracking.follow_clip(sys.argv[1])), "faces")
"""
ENDLESS = """
import itertools, os
from types import SimpleNamespace
import numpy as np
from deepfakery.faces import detect
frame = SimpleNamespace(image=np.zeros((64, 64, 3), np.uint8))
stream = detect.detect_each(itertools.repeat(frame), workers=2)
for number, _ in enumerate(stream):
    if number == 0:
        print("going", flush=True)
"""


def children(pid):
    """Processes started by one, as Linux tells."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.fixture
def at_work():
    """A script that looks for faces for ever, and the processes it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout.readline() == "going\n"
        workers = children(process.pid)
        assert len(workers) >= 2
        yield process, workers
    finally:
        process.kill()
        process.communicate()


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_a_script_needs_no_guard(tmp_path, short_clips):
    (tmp_path / "plain.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "plain.py", str(short_clips["collins"])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=600,
    )
    assert done.stdout.split("\n")[:3] == ["main runs", "3 frames", "12 faces"], done


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs Linux")
def test_workers_end_with_their_parent(at_work):
    process, workers = at_work
    process.kill()
    process.wait(10)
    for _ in range(100):
        if not alive(workers):
            break
        time.sleep(0.1)
    assert not alive(workers)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs Linux")
def test_an_interrupt_is_told_once_and_leaves_nobody(at_work):
    process, workers = at_work
    os.killpg(process.pid, signal.SIGINT)  # as a terminal and a notebook do
    _, said = process.communicate(timeout=600)
    assert said.count("KeyboardInterrupt") == 1 and "Process" not in said
    for _ in range(50):
        if not alive(workers):
            break
        time.sleep(0.1)
    assert not alive(workers)


@pytest.mark.parametrize(
    ("work", "argument", "said"),
    [
        (os.kill, signal.SIGKILL, "killed .* for want of memory perhaps"),
        (os.kill, signal.SIGSEGV, "SIGSEGV"),
        (os._exit, 3, "exit status was 3"),
    ],
)
def test_what_ended_a_worker_is_said(work, argument, said):
    with pytest.raises(OSError, match=said) as raised:
        with pool(1) as crew:
            pid = crew.submit(os.getpid).result()
            job = (pid, argument) if work is os.kill else (argument,)
            crew.submit(work, *job).result()
    assert ("memory" in str(raised.value)) == (argument == signal.SIGKILL)


def test_workers_use_no_gpu_and_load_no_framework():
    code = "[os.environ['CUDA_VISIBLE_DEVICES'], 'tensorflow' in sys.modules]"
    with pool(1) as crew:
        crew.submit(exec, "import deepfakery.faces.detect").result()
        said = crew.submit(eval, code, {"os": os, "sys": sys}).result()
    assert said == ["-1", False]


@pytest.mark.parametrize(("workers", "size"), [(64, 2**25), (64, 2**31), (2, 100)])
def test_pictures_that_wait_are_bounded(workers, size):
    taken, most = [], min(2 * workers, max(1, WAITING // size))

    def jobs():
        for number in range(200):
            taken.append(number)
            yield number, len, np.broadcast_to(np.uint8(0), size)  # takes no memory

    with ThreadPoolExecutor(2) as crew:
        for done, (number, found) in enumerate(in_order(crew, workers, jobs())):
            assert (number, found) == (done, size)
            assert len(taken) <= done + most + 1
    assert len(taken) == 200


def test_a_worker_that_has_grown_goes_on():
    # Replaced, it would begin to read its clip again.
    def grow():
        grown.append(b"x" * 4 * 10**8)
        time.sleep(1.1)
        return os.getpid()

    grown = []
    with pool(1) as crew:
        assert len({crew.submit(grow).result() for _ in range(2)}) == 1
