"""After how many seconds of training is a swap better than another tool's?

python -m tools.race --seconds 5 10 20 40

A swapper is trained for each of those times, the autoencoder alone, once from random
weights and once from base weights; it swaps the same clip, and its mean SSIM, identity
distance, landmark error and mouth opening error are compared with those of
DeepFaceLab's clips. Kept in data/results/04_evaluation.json. Interrupted, it goes on.
"""

import argparse
import sys
from pathlib import Path

import keras
import pandas as pd

from deepfakery import samples
from deepfakery.convert import export
from deepfakery.evaluate import measure, tables
from deepfakery.faces import extraction
from deepfakery.notebook import compare
from tools import keep, peers

#: What must be better, and the sign of what is better.
ASKED = {"ssim": 1, "identity_distance": -1, "landmark_error": -1, "mouth_error": -1}
TOOL, FACE, OVER = "DeepFaceLab", "hopper", "collins"


def main(arguments: list[str]) -> int:
    """Train, swap, measure, keep; returns the exit status."""
    parser = argparse.ArgumentParser("tools.race")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--preset", default="light")
    parser.add_argument("--peers", type=Path, default=keep.ROOT / "../shared/peers")
    parser.add_argument("--out", type=Path, default=keep.ROOT / "data/output/race")
    given = parser.parse_args(arguments)
    if not (pair := peers.pair_in(given.peers)):
        return 0
    target, truth = pair
    sets = {}
    for name in (OVER, FACE):
        clip = samples.footage(name, given.out / "clips")
        sets[name] = extraction.extract(clip, given.out / "faces" / name)
    swaps = {n: given.peers / f for n, f in peers.PEERS.items() if n.startswith(TOOL)}
    for start in ("nothing", "base"):
        for seconds in given.seconds:
            name = f"{seconds:g} s from {start}"
            swaps[name] = given.out / f"{name}.mp4"
            if swaps[name].exists():
                continue
            keras.utils.clear_session()
            folder, way = given.out / name, compare.WAYS["plain"]
            how = given.preset, seconds / 60, way, start == "base"
            swapper = compare.train(sets, folder, *how)
            over = {FACE: sets[OVER].descriptors()}
            export.swap_clip(target, swapper, over, swaps[name])
    frames = measure.measure(swaps, target, sets[FACE].descriptors(), truth)
    table = tables.summarise(frames)
    table = table[table["measure"].isin(ASKED)]
    values = table.pivot(index="clip", columns="measure", values="value")
    print(values.loc[list(swaps), list(ASKED)].round(3).to_string())
    times = " ".join(f"{seconds:g}" for seconds in given.seconds)
    command = f"python -m tools.race --seconds {times} --preset {given.preset}"
    found = {"clips": keep.figures_of(table), "better": better(values, swaps)}
    keep.note("04_evaluation", "race", command, found)
    return 0


def better(values, clips) -> dict:
    """Clip → the other tool's clips that it beats in all that is asked."""
    theirs, beaten = [name for name in clips if name.startswith(TOOL)], {}
    for name in (n for n in clips if n not in theirs):
        lead = (values.loc[name] - values.loc[theirs]) * pd.Series(ASKED)
        beaten[name] = [*lead.index[(lead > 0).all(axis=1)]]
    return beaten


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
