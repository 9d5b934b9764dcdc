"""Processes that share the work.

    with pool(4) as crew:
        future = crew.submit(faces.detect, image)

They are loky's (https://loky.readthedocs.io): not forked, and without the caller's main
module, so that a script needs no `if __name__ == "__main__":`. They use no GPU.
"""

import ctypes
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress

import cv2
import loky

#: Bytes of pictures that wait for the workers or are with them, at most.
WAITING = 2**28
#: One process that reads and hands out pictures keeps no more than these busy.
FED = 16
#: Of workers: no GPU, no bars of their own, and none that grew by 300 MB is replaced in
#: the middle of a clip.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TQDM_DISABLE": "1",
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
}


def how_many(workers: int | None) -> int:
    """How many workers: as many as asked for, or one a core this process may use."""
    return loky.cpu_count() if workers is None else workers


def own_pages() -> None:
    """Let each picture lie in memory pages of its own, from now on.

    Else the C library puts it among small things, such as its landmarks. Where they are
    kept and the picture is not, holes are left, and memory grows with a clip's length.
    """
    mallopt(mmap_threshold=1 << 17)


def mallopt(**options: int) -> None:
    """Set glibc's `mmap_threshold` or `trim_threshold`, in bytes; else nothing."""
    numbers = {"trim_threshold": -1, "mmap_threshold": -3}
    with suppress(AttributeError, OSError, TypeError):  # another C library
        for name, size in options.items():
            ctypes.CDLL(None).mallopt(numbers[name], size)


@contextmanager
def pool(workers: int, executor: Executor | None = None) -> Iterator[Executor]:
    """Worker processes of this machine, which end with the block or with the caller.

    With 0 `workers` the work is done by who submits it; an `executor` is used as it is
    instead. An OSError says of what a process died.
    """
    if executor or not workers:
        yield executor or _Here()
        return
    crew = loky.ProcessPoolExecutor(
        workers,
        context=loky.backend.get_context("loky"),  # does not import the main module
        initializer=_begin,
        initargs=(os.getpid(),),
        env=ENVIRONMENT,
    )
    is_done = False
    try:
        with _uninterrupted():
            crew.submit(os.getpid)  # the first call starts them all
        yield crew
        is_done = True
    except BrokenProcessPool as error:
        raise OSError(
            f"A process that looked for faces was ended: {_cause(error)}. Run the same "
            "again, with fewer workers if this happens again."
        ) from error
    finally:
        crew.shutdown(kill_workers=not is_done)


def _cause(error: BrokenProcessPool) -> str:
    known = re.search(r"workers are.*?(\w+)\((-?\d+)\)", str(error), re.DOTALL)
    name, code = (known[1], int(known[2])) if known else ("nothing says by what", -1)
    if code == -9:
        return "killed (SIGKILL), for want of memory perhaps"
    return name if code < 0 else f"its exit status was {code}"


def in_order(crew: Executor, workers: int, jobs: Iterable[tuple]) -> Iterator[tuple]:
    """Yield (item, result) of work on pictures, in order, as they come.

    Args:
        crew, workers: As of `pool`.
        jobs: (item, function, picture, further arguments …) each; at most `WAITING`
            bytes of pictures are held.
    """
    waiting, held = deque(), 0
    for item, work, image, *more in jobs:
        waiting.append((item, crew.submit(work, image, *more), image.nbytes))
        held += image.nbytes
        while len(waiting) > 2 * workers or (held > WAITING and len(waiting) > 1):
            done, future, size = waiting.popleft()
            held -= size
            yield done, future.result()
    for item, future, _ in waiting:
        yield item, future.result()


class _Here(Executor):
    """An executor that does its work at once."""

    def submit(self, work, *arguments) -> Future:
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _uninterrupted():
    # A signal that is blocked here is blocked in what is started here: Ctrl-C reaches
    # the caller alone, which ends its workers, and none of them prints a traceback.
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
