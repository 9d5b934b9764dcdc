"""How long it takes to score a swap: python -m tools.bench --only evaluate"""

import tempfile
import time
from pathlib import Path

import numpy as np

from deepfakery import samples
from deepfakery.convert import export
from deepfakery.evaluate import baselines, measure, tables
from deepfakery.faces import detect
from deepfakery.media import video


def speed(frames: int = 300) -> dict:
    """Time the whole table of one swap of the built-in people, intervals included.

    Args:
        frames: Length of the clip.

    Returns:
        `evaluate.300_frames_s`, seconds; the swap is scored beside its target and the
        ground truth, all three looked through from their beginning.
    """
    with tempfile.TemporaryDirectory() as folder:
        moves = samples.motion(frames, seed=1)
        clips = {}
        for who, name in (("collins", "target"), ("hopper", "truth")):
            path = Path(folder) / f"{name}.mp4"
            clips[name] = samples.write_clip(path, who, moves)
        # The best of swaps: as much is found in it as in any.
        swap = Path(folder) / "swap.mp4"
        best = baselines.TrueFaces(clips["truth"], 64)
        export.swap_clip(clips["target"], best, "hopper", swap)
        own = samples.write_clip(Path(folder) / "own.mp4", "hopper", moves[::10])
        found = detect.detect_each(video.read_frames(own), describe=True)
        painted = np.stack([faces[0].descriptor for _, faces in found])
        started = time.perf_counter()
        measured = measure.measure(swap, clips["target"], painted, clips["truth"])
        tables.summarise(measured)
        return {f"evaluate.{frames}_frames_s": time.perf_counter() - started}
