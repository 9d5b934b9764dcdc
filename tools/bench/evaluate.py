"""How long it takes to score a swap: python -m tools.bench --only evaluate"""

import tempfile
import time
from pathlib import Path

from deepfakery import samples
from deepfakery.evaluate import looks, measure, tables


def speed(frames: int = 300) -> dict:
    """Time the whole table of one swap of the built-in people, intervals included.

    Args:
        frames: Length of the clip.

    Returns:
        `evaluate.300_frames_s`, seconds; the swap is scored beside its target and the
        true swap, all three looked through from their beginning.
    """
    with tempfile.TemporaryDirectory() as folder:
        moves = samples.motion(frames, seed=1)
        clips = {}
        for who, name in (("collins", "target"), ("hopper", "truth")):
            path = Path(folder) / f"{name}.mp4"
            clips[name] = samples.write_clip(path, who, moves)
        # The best of swaps: as much is found in it as in any.
        swap = measure.perfect(*clips.values(), Path(folder) / "swap.mp4", 64)
        own = samples.write_clip(Path(folder) / "own.mp4", "hopper", moves[::10])
        painted = looks.look([own], None, None)[own].descriptors
        started = time.perf_counter()
        measured = measure.measure(swap, clips["target"], painted, clips["truth"])
        tables.summarise(measured)
        return {f"evaluate.{frames}_frames_s": time.perf_counter() - started}
