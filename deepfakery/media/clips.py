"""The same work on many clips: on the cores of one machine, or on a cluster."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from contextlib import suppress

from tqdm import tqdm

from deepfakery.media import images, video
from deepfakery.media.workers import how_many, pool


def each(
    work: Callable,
    jobs: dict[str, tuple],
    kept: Callable,
    executor: Executor | None = None,
    workers: int | None = None,
) -> tuple[dict, dict[str, str]]:
    """Do the same with many clips, several at once; one that fails stops no other.

    One bar shows the frames of all clips, as far as files tell, wherever they are made.

    Args:
        work: What to do with each.
        jobs: Name → arguments of `work`: a source, and what is made of it.
        kept: What is made of a source → how many frames of it are on the disk.
        executor, workers: As of `workers.pool`; one a core by default.

    Returns:
        {name: result} and {name: what went wrong}, in the order of the jobs.
    """
    done, failed, total = {}, {}, {}
    for name, (source, _) in jobs.items():
        total[name] = 0
        with suppress(video.MediaError):  # `work` says so, too
            total[name] = images.count_frames(source) or 0

    def seen() -> int:
        """Frames of all clips that are done."""
        over = done.keys() | failed.keys()
        return sum(
            count if name in over else min(kept(jobs[name][1]), count)
            for name, count in total.items()
        )

    bar = tqdm(total=sum(total.values()), initial=seen(), unit="frame")
    with pool(min(how_many(workers), len(jobs)), executor) as crew, bar:
        running = {crew.submit(work, *given): name for name, given in jobs.items()}
        while running:
            for future in wait(running, 1, FIRST_COMPLETED).done:
                name = running.pop(future)
                try:
                    done[name] = future.result()
                except Exception as error:  # whatever befell one clip, the rest goes on
                    failed[name] = str(error) or type(error).__name__
            said = f"{len(done)} of {len(jobs)} clips, {len(failed)} failed"
            bar.set_postfix_str(said, refresh=False)
            bar.update(seen() - bar.n)
    return tuple({n: part[n] for n in jobs if n in part} for part in (done, failed))
