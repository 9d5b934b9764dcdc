"""Many people, one encoder: eight of them against a pair, and a ninth who comes later.

python -m tools.many --clips <folder of the GRID corpus' clips> --ninth studio_a.mp4
python -m tools.many --speed

Everybody starts from the base weights. Interrupted, the first goes on from there.
`matrix.png` shows who over whom; it stays out of the repository, for the people in it
did not agree to stand there.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
from matplotlib.figure import Figure

from deepfakery import batches
from deepfakery.checkpoints import base_weights
from deepfakery.evaluate import metrics, trials
from deepfakery.faces import detect, extraction, geometry
from deepfakery.notebook.run import ROOT
from deepfakery.swapper import FaceSwapper
from deepfakery.training import Run
from tools.keep import note

PRESET = "light"
#: Lengths in steps, each a training of its own, in which the ninth is added.
LENGTHS = {"frozen": (25, 50, 100, 200), "unfrozen": (25, 50, 100)}
#: How much larger an error may be and still count as the same.
AS_GOOD = 1.02


def measure(clips: Path, ninth: Path, out: Path, steps: int) -> dict:
    """Train, score and draw everything; returns the figures."""
    files = {f.stem.removeprefix("grid_"): f for f in sorted(clips.glob("grid_*.mpg"))}
    eight, late = tuple(files), ninth.stem
    people, unseen = {}, {}
    for name, file in {**files, late: ninth}.items():
        found = extraction.extract(file, out / "faces" / name)
        people[name], unseen[name] = found.spread(75).split(0.2)
    figures = {"steps": steps, "faces of each": {n: len(f) for n, f in people.items()}}

    pair, together = eight[:2], train(out / "eight", eight, people, steps)
    alone = train(out / "pair", pair, people, steps)
    found = matrix(together, eight, people, unseen)
    draw(together, eight, unseen, found).savefig(out / "matrix.png", dpi=110)
    cross = [found[a, b] for a in eight for b in eight if a != b]
    own = [found[a, a] for a in eight]
    figures["within eight, all over all others"] = means(cross)
    figures["within eight, each over themselves"] = means(own)
    for name, swapper in {"within eight": together, "alone": alone}.items():
        seen = matrix(swapper, pair, people, unseen)
        figures[f"pair {name}"] = {
            "one over the other": means([seen[pair], seen[pair[::-1]]]),
            "reconstruction error": error_of(swapper, pair, unseen),
        }
    figures["ninth"] = add(out, eight, late, people, unseen, steps)
    return figures


def train(folder: Path, names, people, steps, start=None, only=None) -> FaceSwapper:
    """An autoencoder of those people, from the base weights or from another run."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    swapper = FaceSwapper(names, PRESET)
    swapper.start_from(start or base_weights(PRESET))
    swapper.compile(only=only)
    run = Run(folder, swapper, steps=steps, every=25)
    run.fit({name: people[name] for name in ([only] if only else names)})
    swapper.seconds = round(run.seconds, 1)
    return swapper


def add(out: Path, eight, late: str, people, unseen, steps: int) -> dict:
    """How long a ninth takes to be as good as trained with the others."""
    nine = (*eight, late)
    whole = train(out / "nine", nine, people, steps)
    best = error_of(whole, [late], unseen)
    figures = {
        "together": {
            "steps": steps,
            "seconds": whole.seconds,
            "error": best,
            "others' error": error_of(whole, eight, unseen),
        }
    }
    for way, lengths in LENGTHS.items():
        only, found = late if way == "frozen" else None, []
        for length in lengths:
            folder = out / f"{way} {length}"
            swapper = train(folder, nine, people, length, out / "eight", only)
            found.append(
                {
                    "steps": length,
                    "seconds": swapper.seconds,
                    "error": error_of(swapper, [late], unseen),
                    "others' error": error_of(swapper, eight, unseen),
                }
            )
        figures[way] = {"runs": found, "as good": first_as_good(found, best)}
    return figures


def first_as_good(runs: list[dict], best: float) -> dict | None:
    """The shortest of some runs whose error is that of the best, or none."""
    return next((run for run in runs if run["error"] <= AS_GOOD * best), None)


def error_of(swapper, names, unseen) -> float:
    """Mean absolute error inside the face of people's own unseen faces, in %."""
    errors = []
    for name in names:
        real = batches.prepare(unseen[name].images(), swapper.size)
        mask = unseen[name].masks(swapper.size)[..., None]
        made, _ = swapper.swap(real, name)
        errors.append((np.abs(made - real) * mask).sum() / (3 * mask.sum()))
    return round(100 * float(np.mean(errors)), 3)


def matrix(swapper, names, people, unseen) -> dict:
    """(whose face, whose motion) → what is measured on unseen faces."""
    known = {name: people[name] for name in names}
    return {
        (face, target): {
            **trials.score(swapper, unseen[target], known, face),
            **expression_error(swapper, unseen[target], face),
        }
        for face in names
        for target in names
    }


def expression_error(swapper, targets, identity: str) -> dict:
    """`expression_error` of `metrics.MEASURES`, on bare crops; and a still face's."""
    real = batches.prepare(targets.images(), swapper.size)
    found, size = [], (geometry.FACE_SIZE, geometry.FACE_SIZE)
    for faces in (swapper.swap(real, identity)[0], real):  # both as the network sees
        pairs = zip(batches.restore(faces), targets.landmarks(), strict=True)
        fitted = (
            detect.fit_landmarks(cv2.resize(face, size), place.min(0), place.max(0))
            for face, place in pairs
        )
        does = np.stack([metrics.expression(points) for points in fitted])
        found.append(does - does.mean(0))
    error, still = np.abs(found[0] - found[1]).mean(), np.abs(found[1]).mean()
    return {"expression": float(error), "expression, a still face": float(still)}


def means(found: list[dict]) -> dict:
    """The means of several measurements."""
    return {k: round(float(np.mean([one[k] for one in found])), 3) for k in found[0]}


def draw(swapper, names, unseen, found) -> Figure:
    """Who over whom: a column a target, above it their real face, a row a decoder."""
    side = len(names)
    figure = Figure(figsize=(1.4 * side, 1.6 * (side + 1)), layout="constrained")
    axes = figure.subplots(side + 1, side)
    for column, target in enumerate(names):
        shown = unseen[target].spread(3).images(swapper.size)[1:2]
        axes[0, column].imshow(shown[0])
        axes[0, column].set_title(f"motion of {target}", fontsize=7)
        real = np.float32(shown) / 255
        for row, face in enumerate(names, 1):
            made, _ = swapper.swap(real, face)
            seen = found[face, target]
            axes[row, column].imshow(batches.restore(made)[0])
            said = f"{seen['distance']:.2f} · {seen['expression']:.1f} %"
            axes[row, column].set_xlabel(said, fontsize=7)
            axes[row, 0].set_ylabel(f"as {face}", fontsize=7)
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    return figure


def speeds() -> dict:
    """`speed` by the number of people, each in a process of its own."""
    command, found = [sys.executable, "-m", "tools.many", "--speed"], {}
    for asked in ("1", "2", "4", "8", "9", "9 frozen"):
        done = subprocess.run(
            [*command, *asked.split()], capture_output=True, text=True, check=True
        )
        found[asked] = json.loads(done.stdout.splitlines()[-1])
        print(asked, found[asked], flush=True)
    return found


def speed(count: int, frozen: bool = False, batch: int = 8) -> dict:
    """Rate and memory of a training step with so many people, without the batches.

    The rate is by processor time, all cores together: others may use the machine.
    """
    names = [f"{i}" for i in range(count)]
    swapper = FaceSwapper(names, PRESET)
    swapper.compile(only=names[-1] if frozen else None)
    random, size = np.random.default_rng(0), swapper.size
    seen = names[-1:] if frozen else names
    x, y = (
        {n: random.random((batch, size, size, c), np.float32) for n in seen}
        for c in (3, 5)
    )
    spent = []
    for _ in range(13):
        started = time.process_time()
        swapper.train_on_batch(x, y)
        spent.append(time.process_time() - started)
    seconds = float(np.median(sorted(spent[1:])[:6]))
    held = sum(int(np.prod(v.shape)) for v in swapper.variables)
    return {
        "images_per_cpu_s": round(len(seen) * batch / seconds, 1),
        "step_cpu_ms": round(1000 * seconds),
        "weights_million": round(held / 1e6, 2),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.many")
    parser.add_argument("--clips", type=Path, help="folder of grid_*.mpg")
    parser.add_argument("--ninth", type=Path, help="a clip of who is added")
    parser.add_argument("--steps", type=int, default=400, help="for each person")
    parser.add_argument("--out", type=Path, default=ROOT / "data/output/many")
    parser.add_argument("--speed", nargs="*", help="time and memory of a step alone")
    given = parser.parse_args()
    if given.speed:
        print(json.dumps(speed(int(given.speed[0]), "frozen" in given.speed)))
        return
    if given.speed is not None:
        note("many", "speed", "python -m tools.many --speed", speeds())
        return
    if not (given.clips and given.ninth):
        parser.error("give --clips and --ninth")
    figures = measure(given.clips, given.ninth, given.out, given.steps)
    print(json.dumps(figures, indent=2))
    command = "python -m tools.many --clips <GRID> --ninth <studio_a.mp4>"
    note("many", PRESET, f"{command} --steps {given.steps}", figures)


if __name__ == "__main__":
    main()
