"""Presets, minutes and ways of training beside each other, on one pair of people."""

import itertools
import os
from pathlib import Path

import keras
import pandas as pd

from deepfakery import samples, training
from deepfakery.checkpoints import base_weights
from deepfakery.convert import export
from deepfakery.evaluate import baselines, measure
from deepfakery.faces import extraction, faceset
from deepfakery.media import images
from deepfakery.notebook import plots
from deepfakery.presets import PRESETS
from deepfakery.swapper import FaceSwapper

#: What trains, each for what share of the time.
WAYS = {
    "plain": {"autoencoder": 1.0},
    "adversarial": {"autoencoder": 0.6, "discriminator": 0.05, "both": 0.35},
}


def compare(
    face: str, target: str, workspace: str | os.PathLike, presets, minutes
) -> pd.DataFrame:
    """Train every combination from one start for just as long; swap and measure.

    Interrupted, it goes on from there.

    Args:
        face: Whose face to generate: a built-in person, a clip or a folder of either.
        target: The footage that it goes into: a built-in person or a clip.
        workspace: For a folder a combination, with its runs and `swap.mp4`, and
            `frames.png`, the same frames of all of them.
        presets: Names in `presets.PRESETS`.
        minutes: Of training.

    Returns:
        As `measure.measure`, with the landmark warp and, between built-in people, the
        upper bounds and the ground truth.
    """
    workspace, sets = Path(workspace), {}
    clips = workspace / "clips"
    for name, who in samples.identities(face, target).items():
        source, folder = samples.footage(who, clips), workspace / "faces" / name
        sets[name] = extraction.extract(source, folder, minimum=faceset.MINIMUM)
    target_name, face_name = sets
    clip = samples.footage(target, clips, unseen=True)
    truth = samples.true_swap(face, target, clips)
    over, swaps = {face_name: sets[target_name].descriptors()}, {}
    for preset, length, way in itertools.product(presets, minutes, WAYS):
        name = f"{preset}, {way}, {length:g} min"
        print(f"\n── {name}")
        keras.utils.clear_session()  # else every swapper before it stays in memory
        folder = workspace / name.replace(", ", "_").replace(" ", "_")
        swapper = train(sets, folder, preset, length, WAYS[way])
        swaps[name] = folder / "swap.mp4"
        export.swap_clip(clip, swapper, over, swaps[name])
    warp = baselines.LandmarkWarp({face_name: sets[face_name]})
    swaps["landmark warp"] = workspace / "landmark_warp.mp4"
    export.swap_clip(clip, warp, over, swaps["landmark warp"], colour="poisson")
    for size in sorted({PRESETS[preset]["size"] for preset in presets if truth}):
        name, best = f"upper bound, {size} px", baselines.TrueFaces(truth, size)
        swaps[name] = workspace / f"upper_bound_{size}.mp4"
        export.swap_clip(clip, best, face_name, swaps[name])
    shown = {"target": clip, **swaps} | ({"ground truth": truth} if truth else {})
    rows = {name: images.stills(source) for name, source in shown.items()}
    sheet = plots.strips(rows, size=256, width=16)
    export.save_figure(sheet, workspace / "frames.png", list(swaps.values()), clip)
    return measure.measure(swaps, clip, sets[face_name].descriptors(), truth)


def train(
    facesets: dict, folder: Path, preset: str, minutes: float, way: dict, base=True
) -> FaceSwapper:
    """Train a swapper, a run a stage in `folder`.

    Args:
        facesets: Identity → faces.
        minutes: Of all stages together.
        way: Stage → share of the time, as in `WAYS`.
        base: Start from base weights where the preset has some; else from random ones.
    """
    keras.utils.set_random_seed(0)
    swapper = FaceSwapper.from_preset(preset, identities=facesets)
    if base and (weights := base_weights(preset)):
        swapper.start_from(weights)
    before = None
    for stage, share in way.items():
        swapper.compile(train=stage)
        # What is refined before the end, the discriminator undoes.
        decay = 0.4 if stage == list(way)[-1] else 0.0
        length = {"minutes": share * minutes, "decay": decay}
        run = training.Run(folder / stage, swapper, after=before, **length)
        run.fit(facesets)
        before = run.folder
    return swapper
