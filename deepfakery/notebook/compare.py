"""Presets, minutes and ways of training beside each other, on one pair of people.

    frames = compare("hopper", "collins", "data/output/compare", minutes=(2, 5, 10))
    tables.side_by_side(tables.summarise(frames))

Every combination is trained by itself from the same start, for just as long, and
paints the same clip; what the figures mean is said in `metrics.MEASURES`.
"""

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
from deepfakery.networks import PRESETS
from deepfakery.notebook import plots
from deepfakery.swapper import FaceSwapper

#: What trains, each for what share of the time and on which losses.
WAYS = {
    "plain": {"autoencoder": (1.0, {})},
    "adversarial": {
        "autoencoder": (0.55, {}),
        "discriminator": (0.1, {}),
        "both": (0.35, {"emphasis": 1.0}),
    },
}


def compare(
    face: str,
    target: str,
    workspace: str | os.PathLike,
    *,
    presets=("light", "hd"),
    minutes=(10,),
    ways=tuple(WAYS),
    seed: int = 0,
) -> pd.DataFrame:
    """Train, paint and measure every combination; interrupted, it goes on from there.

    Args:
        face: Whose face to paint: a built-in person, a clip or a folder of either.
        target: The footage to paint into: a built-in person or a clip.
        workspace: Where everything is left: a folder a combination, with its run and
            `swap.mp4`, and `painted.png`, the same frames of all of them.
        presets: Names in `presets.PRESETS`.
        minutes: Of training.
        ways: Names in `WAYS`.
        seed: The only source of randomness.

    Returns:
        As `measure.measure`, floors and ceilings included: the landmark warp, and
        between built-in people the true swap and a network that makes no mistake.
    """
    workspace = Path(workspace)
    clips = workspace / "clips"
    sets = {
        name: extraction.extract(
            samples.footage(who, clips),
            workspace / "faces" / name,
            minimum=faceset.MINIMUM,
        )
        for name, who in samples.identities(face, target).items()
    }
    target_name, face_name = sets
    clip = samples.footage(target, clips, unseen=True)
    truth = samples.true_swap(face, target, clips)
    over = {face_name: sets[target_name].descriptors()}
    swaps = {}
    for preset, length, way in itertools.product(presets, minutes, ways):
        name = f"{preset}, {way}, {length:g} min"
        print(f"\n── {name}")
        keras.utils.clear_session()  # else every swapper before it stays in memory
        folder = workspace / name.replace(", ", "_").replace(" ", "_")
        swapper = train(sets, folder, preset, length, way, seed)
        swaps[name] = folder / "swap.mp4"
        export.swap_clip(clip, swapper, over, swaps[name])
    warp = baselines.LandmarkWarp({face_name: sets[face_name]})
    swaps["landmark warp"] = workspace / "landmark_warp.mp4"
    export.swap_clip(clip, warp, over, swaps["landmark warp"], colour="poisson")
    if truth:
        for size in sorted({PRESETS[preset]["size"] for preset in presets}):
            path = workspace / f"perfect_{size}.mp4"
            swaps[f"no mistake, {size} px"] = measure.perfect(clip, truth, path, size)
    sheet = look(clip, swaps, truth)
    export.save_figure(sheet, workspace / "painted.png", list(swaps.values()), clip)
    known = sets[face_name].descriptors()
    return measure.measure(swaps, clip, known, truth)


def train(
    facesets: dict,
    folder: Path,
    preset: str,
    minutes: float,
    way: str = "plain",
    seed: int = 0,
) -> FaceSwapper:
    """A swapper, trained for some minutes in one of the `WAYS`.

    Args:
        facesets: Identity → faces.
        folder: For a run a stage; interrupted, it goes on from there.
        preset: A name in `presets.PRESETS`; it starts from base weights where the
            project has some.
        minutes: Of all stages together.
        way: A name in `WAYS`.
        seed: The only source of randomness.
    """
    keras.utils.set_random_seed(seed)
    swapper = FaceSwapper.from_preset(preset, identities=facesets)
    if base := base_weights(preset):
        swapper.start_from(base)
    before, (*_, last) = None, WAYS[way]
    for stage, (share, losses) in WAYS[way].items():
        swapper.compile(train=stage, **losses)
        run = training.Run(
            folder / stage,
            swapper,
            minutes=share * minutes,
            after=before,
            # What is refined before the end, the discriminator undoes.
            decay=0.4 if stage == last else 0.0,
        )
        run.fit(facesets, seed=seed)
        before = run.folder
    return swapper


def look(clip: Path, swaps: dict[str, Path], truth: Path | None = None):
    """A figure of the same moments of all of them."""
    sources = {"target": clip, **swaps} | ({"true swap": truth} if truth else {})
    rows = {name: images.stills(source) for name, source in sources.items()}
    return plots.strips(rows, size=256, width=16)
