"""One network followed from its first seconds to far too many steps.

python -m tools.overtrain --steps 102400

Preset `small` (64 pixels), the autoencoder alone, from random weights, on the built-in
people. Its weights are kept at 100, 200, 400 … steps and measured on a motion that it
never saw: on bare crops, and laid over the target's. Interrupted, it goes on from
there; `--measure` stops at what is trained. Figures and picture are kept in
data/results.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd

from deepfakery import batches, samples
from deepfakery.convert import export, merge
from deepfakery.evaluate import baselines, eyes, metrics
from deepfakery.faces import detect, extraction, geometry
from deepfakery.media import images, records
from deepfakery.notebook import plots
from deepfakery.swapper import FaceSwapper
from deepfakery.training import SETTINGS, Run
from tools import keep
from tools.peers import head

PRESET, FIRST = "small", 100

#: Steps between looks at the held-out faces; steps that the picture shows.
EVERY, SHOWN = 100, (100, 400, 1600, 6400, 25600, 102400)

#: Side of the aligned faces in which landmarks are looked for.
FACE = geometry.FACE_SIZE


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
    """Give the networks the weights of a mark, and no bounds of a later one."""
    swapper.adapt(None)
    with np.load(weights(out, mark), allow_pickle=False) as file:
        arrays = [file[key] for key in file.files]
    for part in parts(swapper):
        count = len(part.get_weights())
        part.set_weights(arrays[:count])
        arrays = arrays[count:]


def measure(out: Path, swapper, people, mark: int) -> dict:
    """Both people generated from the other's unseen motion."""
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
    own, true = (_faces_of(out / "clips", name) for name in (target, face))
    shut, size, rows = eyes.fit(face), swapper.size, []
    pairs = [(*a, *b) for a, b in zip(own, true, strict=True)]
    crops = [
        geometry.crop(image, geometry.alignment(place, FACE), FACE)
        for image, place, *_ in pairs
    ]
    made, masks = swapper.swap(batches.prepare(crops, size), face)
    mean = people[face].descriptors().mean(0)
    stream = zip(batches.restore(made), masks, crops, pairs, strict=True)
    for small, mask, crop, (_, place, picture, points) in stream:
        real, inside = metrics.align(picture, points)
        bare, large = (_enlarged(small, side) for side in (metrics.SIZE, FACE))
        at, there = (
            geometry.transform_points(place, geometry.alignment(place, side))
            for side in (metrics.SIZE, FACE)
        )
        alpha = _enlarged(mask[..., 0], FACE)[..., None].clip(0, 1)
        laid = (alpha * large + (1 - alpha) * crop).astype(np.uint8)
        row = {
            "ssim": metrics.ssim(bare, real, inside),
            "sharpness": metrics.detail(bare, inside) / metrics.detail(real, inside),
            "shut": shut(bare, at) > eyes.SHUT,
            "true_shut": shut(picture, points) > eyes.SHUT,
        }
        for seen in detect.detect(laid)[:1]:
            who = detect.descriptor(laid, seen.landmarks)
            places = seen.landmarks, there, points
            row["distance"] = np.linalg.norm(who - mean)
            row["landmark_error"] = metrics.landmark_error(*places)
            row["mouth"] = metrics.expression(seen.landmarks)[1]
            row["true_mouth"] = metrics.expression(points)[1]
        rows.append(row)
    frames = pd.DataFrame(rows)
    closed = frames.true_shut
    found = {
        **frames[["ssim", "sharpness", "landmark_error"]].mean(),
        "distance": frames.distance.median(),
        "mouth": frames.mouth.corr(frames.true_mouth),
        "eyes": frames.shut[closed].mean(),
        "eyes_wrong": frames.shut[~closed].mean(),
    }
    return {key: round(float(value), 4) for key, value in found.items()}


@cache
def _faces_of(clips: Path, name: str) -> list:
    return list(baselines.faces_of(samples.footage(name, clips, unseen=True)))


def _enlarged(picture, side: int):
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)


def draw(out: Path, swapper, marks) -> None:
    """Finished faces of both people after so many steps; a row a number of steps."""
    rows = {"target": [], **{f"{m:,}\nsteps": [] for m in marks}, "ground\ntruth": []}
    stills = {
        name: images.stills(samples.footage(name, out / "clips", unseen=True), 4)
        for name in samples.PEOPLE
    }
    titles = []
    for face in samples.PEOPLE[::-1]:
        (target,) = set(samples.PEOPLE) - {face}
        places = [detect.detect(image)[0].landmarks for image in stills[target]]
        side = max(round(1.2 * np.ptp(place, axis=0).max()) for place in places)
        shown = {"target": stills[target], "ground\ntruth": stills[face]}
        for mark in marks:
            load(out, swapper, mark)
            shown[f"{mark:,}\nsteps"] = [
                merge.paint_image(image, swapper, face) for image in stills[target]
            ]
        for name, pictures in shown.items():
            pairs = zip(pictures, places, strict=True)
            rows[name] += [head(image, place, side) for image, place in pairs]
        titles += [f"{face} over {target}, {n + 1}" for n in range(len(places))]
    sheet = plots.strips(rows, size=192, width=14, columns=titles)
    export.save_figure(sheet, keep.RESULTS / "overtraining.jpg", swapper)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
