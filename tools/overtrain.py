"""One network followed from its first seconds to far too many steps.

python -m tools.overtrain --steps 102400

Preset `small` (64 pixels), the autoencoder alone, from random weights, on the built-in
people. Its weights are kept at 100, 200, 400 … steps and measured on bare crops of a
motion that it never saw. Interrupted, it goes on from there; `--measure` stops at what
is trained. Figures and picture are kept in data/results.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import keras
import numpy as np

from deepfakery import batches, samples
from deepfakery.convert import export, merge
from deepfakery.evaluate import baselines, eyes, metrics
from deepfakery.faces import detect, extraction, geometry
from deepfakery.media import images, records
from deepfakery.notebook import plots
from deepfakery.swapper import FaceSwapper
from deepfakery.training import SETTINGS, Run
from tools import keep

PRESET, FIRST = "small", 100

#: Steps between looks at the held-out faces; steps that the picture shows.
EVERY, SHOWN = 100, (100, 400, 1600, 6400, 25600, 102400)

#: Side of the compared faces, as in `metrics`.
SIZE = metrics.SIZE


def main(arguments: list[str]) -> int:
    """Train, measure, draw, keep; returns the exit status."""
    parser = argparse.ArgumentParser("tools.overtrain")
    parser.add_argument("--steps", type=int, default=102400)
    parser.add_argument("--out", type=Path, default=keep.ROOT / "data/output/overtrain")
    parser.add_argument("--measure", action="store_true", help="train no further")
    given = parser.parse_args(arguments)
    clips, people, unseen = given.out / "clips", {}, {}
    for name in samples.PEOPLE:
        found = extraction.extract(
            samples.footage(name, clips), given.out / "faces" / name
        )
        people[name], unseen[name] = found.split()
    keras.utils.set_random_seed(0)
    swapper = FaceSwapper(people, PRESET)
    swapper.compile()
    marks = [FIRST * 2**i for i in range(30) if FIRST * 2**i <= given.steps]
    if not given.measure:
        train(given.out, swapper, people, unseen, marks)
    kept = [mark for mark in marks if weights(given.out, mark).exists()]
    points = [measure(given.out, swapper, people, mark) for mark in kept]
    history = json.loads((given.out / "history.json").read_text())
    seen = {entry["step"]: entry for entry in history}
    for point in points:
        entry = seen[point["steps"]]
        for key in ("seconds", "loss", "held_out_loss"):
            point[key] = round(entry[key], 4)
    # A point a tenth of a doubling is as fine as a logarithmic axis shows.
    fine = {round(np.log2(e["step"]) * 10): e for e in history if "held_out_loss" in e}
    course = [[e["step"], e["loss"], e["held_out_loss"]] for e in fine.values()]
    figures = {"preset": PRESET, "batch": SETTINGS["batch"], "points": points}
    figures["history"] = [[s, round(a, 4), round(b, 4)] for s, a, b in course]
    command = f"python -m tools.overtrain --steps {given.steps}"
    keep.note("04_evaluation", "overtraining", command, figures)
    draw(given.out, swapper, [mark for mark in SHOWN if mark in kept])
    return 0


def weights(out: Path, mark: int) -> Path:
    return out / f"after_{mark:06d}.npz"


def train(out: Path, swapper, people, unseen, marks) -> None:
    """Train from mark to mark and keep the weights at each."""
    for mark in marks:
        run = Run(
            out / "run", swapper, steps=mark, held_out=unseen, every=EVERY // 5, decay=0
        )
        run.fit(people)
        if not weights(out, mark).exists():
            arrays = enumerate(w for part in parts(swapper) for w in part.get_weights())
            np.savez(weights(out, mark), **{str(i): array for i, array in arrays})
        records.write(out / "history.json", json.dumps(run.history))


def parts(swapper) -> list[keras.Model]:
    """The networks that a swap needs."""
    return [swapper.encoder, *swapper.decoders.values()]


def load(out: Path, swapper, mark: int) -> None:
    """Give the networks the weights of a mark."""
    with np.load(weights(out, mark), allow_pickle=False) as file:
        arrays = [file[key] for key in file.files]
    for part in parts(swapper):
        count = len(part.get_weights())
        part.set_weights(arrays[:count])
        arrays = arrays[count:]


def measure(out: Path, swapper, people, mark: int) -> dict:
    """Both people generated from the other's unseen motion, as bare crops."""
    file = out / f"figures_{mark:06d}.json"
    if not file.exists():
        load(out, swapper, mark)
        found = {"steps": mark}
        for face in people:
            (target,) = set(people) - {face}
            found[face] = _measured(out, swapper, people, face, target)
        records.write(file, json.dumps(found))
        print(found, flush=True)
    return json.loads(file.read_text())


def _measured(out: Path, swapper, people, face: str, target: str) -> dict:
    own, true = (
        baselines.faces_of(samples.footage(name, out / "clips", unseen=True))
        for name in (target, face)
    )
    shut, size, rows = eyes.fit(face), swapper.size, []
    pairs = [(*a, *b) for a, b in zip(own, true, strict=True)]
    crops = [
        geometry.crop(image, geometry.alignment(place, size), size)
        for image, place, *_ in pairs
    ]
    made, _ = swapper.swap(batches.prepare(crops, size), face)
    mean = people[face].descriptors().mean(0)
    for small, (_, place, picture, points) in zip(
        batches.restore(made), pairs, strict=True
    ):
        real, inside = metrics.align(picture, points)
        large = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        at = geometry.transform_points(place, geometry.alignment(place, SIZE))
        finer = cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC)
        there = geometry.transform_points(place, geometry.alignment(place, 256))
        seen = detect.fit_landmarks(finer, there.min(0), there.max(0))
        rows.append(
            {
                "ssim": metrics.ssim(large, real, inside),
                "distance": np.linalg.norm(detect.descriptor(finer, seen) - mean),
                "sharpness": metrics.detail(large, inside)
                / metrics.detail(real, inside),
                "landmark_error": metrics.landmark_error(seen, there, points),
                "mouth": metrics.expression(seen)[1],
                "true_mouth": metrics.expression(points)[1],
                "shut": shut(large, at) > eyes.SHUT,
                "true_shut": shut(picture, points) > eyes.SHUT,
            }
        )
    column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    closed = column["true_shut"]
    found = {
        "ssim": column["ssim"].mean(),
        "distance": np.median(column["distance"]),
        "sharpness": column["sharpness"].mean(),
        "landmark_error": column["landmark_error"].mean(),
        "mouth": np.corrcoef(column["mouth"], column["true_mouth"])[0, 1],
        "eyes": column["shut"][closed].mean(),
        "eyes_wrong": column["shut"][~closed].mean(),
    }
    return {key: round(float(value), 4) for key, value in found.items()}


def draw(out: Path, swapper, marks) -> None:
    """Finished faces of both people after so many steps; a row a number of steps."""
    rows = {"target": [], **{f"{m:,} steps": [] for m in marks}, "true swap": []}
    stills = {
        name: images.stills(samples.footage(name, out / "clips", unseen=True), 4)
        for name in samples.PEOPLE
    }
    for face in samples.PEOPLE[::-1]:
        (target,) = set(samples.PEOPLE) - {face}
        rows["target"] += stills[target]
        rows["true swap"] += stills[face]
        for mark in marks:
            load(out, swapper, mark)
            rows[f"{mark:,} steps"] += [
                merge.paint_image(image, swapper, face) for image in stills[target]
            ]
    sheet = plots.strips(rows, size=192, width=14)
    export.save_figure(sheet, keep.RESULTS / "overtraining.jpg", swapper)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
