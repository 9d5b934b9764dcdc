"""The whole method: two faces, one encoder, two decoders, two discriminators.

    python examples/train_a_swap.py [minutes]

Trains on the built-in people, shows sample grids on the way, exports swapped frames.
"""

import sys
from pathlib import Path

import keras

import deepfakery as df

OUT = Path("data/output/example")
TARGET, FACE = "collins", "hopper"  # Hopper's face is generated into Collins' footage


def main(minutes: float = 3) -> None:
    keras.utils.set_random_seed(0)
    clips = {name: df.samples.footage(name, OUT / "clips") for name in (TARGET, FACE)}
    faces = {
        name: df.extract(clip, OUT / "faces" / name) for name, clip in clips.items()
    }
    swapper = df.FaceSwapper.from_preset("light", identities=faces)
    swapper.start_from(df.base_weights("light"))  # it knows faces in general

    # 1. Encoder and decoders learn to reconstruct faces; 2. the discriminators learn to
    # tell real faces from generated ones; 3. both train against each other.
    run = None
    stages = {"autoencoder": 0.6, "discriminator": 0.05, "both": 0.35}
    for stage, share in stages.items():
        if run:
            swapper.start_from(run.folder)
        swapper.compile(train=stage)
        run = df.Run(
            OUT / stage,
            swapper,
            minutes=share * minutes,
            after=run and run.folder,
            decay=0.4 if stage == "both" else 0.0,
        )
        run.fit(faces, [df.Preview(lambda run=run: grid(swapper, faces, run))])

    # A motion that training never saw.
    unseen = df.samples.footage(TARGET, OUT / "clips", unseen=True)
    df.swap_clip(unseen, swapper, FACE, OUT / "swap.mp4", frames_folder=OUT / "frames")
    print(f"{OUT / 'swap.mp4'}; its frames are in {OUT / 'frames'}")


def grid(swapper, faces, run):
    """Real faces, their reconstructions, and the same faces as the other person."""
    real = df.batches.prepare(faces[TARGET].images(limit=10), swapper.size)
    rows = {TARGET: real}
    for name in (TARGET, FACE):
        made, mask = swapper.swap(real, name)
        rows[f"as {name}"] = mask * made + (1 - mask) * real
    figure = df.plots.training(run.history, rows)
    figure.savefig(OUT / f"{run.folder.name}.png")
    return figure


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
