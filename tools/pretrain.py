"""The weights that the project ships: made once, from photos of thousands of people.

python -m tools.pretrain --faces <folder of photos> --steps 7500
python -m tools.pretrain --upscaler --faces <folder of photos>
"""

import argparse
import json
from functools import partial
from pathlib import Path

import keras
import numpy as np

from deepfakery import training
from deepfakery.batches import restore
from deepfakery.checkpoints import WEIGHTS, base_weights
from deepfakery.faces import extraction
from deepfakery.notebook.run import ROOT
from deepfakery.presets import PRESETS
from deepfakery.studies import photos, scores
from deepfakery.studies.dcgan import DCGAN, invert
from deepfakery.studies.upscaler import STAGES, Upscaler, train
from deepfakery.swapper import FaceSwapper
from tools.keep import note

#: Share of the photos that no upscaler is trained on.
HELD_OUT = 0.08


def pretrain(folder: str, out: Path, preset: str, steps: int) -> None:
    """Teach an encoder and one decoder faces in general, to start swappers from.

    Args:
        folder: Photos of many people.
        out: Workspace for the faces and the run; interrupted, it goes on from there.
        preset: The networks' preset.
        steps: Of 16 faces.
    """
    people = extraction.extract(folder, out / "faces", describe=False)
    keras.utils.set_random_seed(0)
    swapper = FaceSwapper(("base",), preset)
    swapper.compile()
    faces = {"base": people.require()}
    run_ = training.Run(out / "run", swapper, steps=steps, every=100, decay=0.3)
    run_.fit(faces, batch=16, flip=0.5)
    path = WEIGHTS / f"base_{preset}.npz"
    swapper.save_base(path)
    print(f"{path.relative_to(ROOT)} after {run_.step} steps")


def pretrain_upscaler(folder: str, out: Path) -> None:
    """Take the upscaler through its curriculum and keep its weights in the project.

    First photos alone, then against the discriminators, with what the project's own
    autoencoder and a DCGAN make of the same photos among the pairs.

    Args:
        folder: Photos of many people, each side at least 160 pixels; a subfolder is
            taken for a person. 8 % are held out, people as a whole.
        out: For the runs; interrupted, it goes on from there.
    """
    files, _ = photos.split(folder, HELD_OUT, people=True)
    keras.utils.set_random_seed(0)
    upscaler = Upscaler()
    feed = partial(photos.pairs, files, degraded=0.3)
    plain = {n: stage for n, stage in STAGES.items() if n != "adversarial"}
    known = {"photos": photos.fingerprint(files)}
    train(upscaler, out, feed, plain, config=known)
    upscaler.save_base(WEIGHTS / "upscaler_light_l1.npz")
    print("weights/upscaler_light_l1.npz is written.", flush=True)

    gan = DCGAN()
    gan.compile(gan.rates(2e-4, 4e-4), augment=True, average=0.995)
    run_ = training.Run(out / "dcgan", gan, gan.config | known, steps=300, decay=0)
    run_.fit(partial(photos.batches, files, gan.size))
    swapper = FaceSwapper(("base",), "small")
    swapper.start_from(base_weights("small"), keep=1.0)
    made = photos.remake(swapper, "base", files[:: max(1, len(files) // 400)])
    made |= _reimagine(gan, files[5 :: max(1, len(files) // 100)])
    last = {"adversarial": STAGES["adversarial"]}
    feed = partial(feed, made=made)
    train(upscaler, out, feed, last, after=out / "x8", config=known)
    soften(upscaler, WEIGHTS / "upscaler_light_l1.npz")
    upscaler.save_base(WEIGHTS / "upscaler_light.npz")
    print("weights/upscaler_light.npz is written.", flush=True)
    _measure_upscalers(folder)


def _reimagine(gan, files) -> dict:
    """The nearest that a DCGAN comes to photos, and the photos: `made` for `pairs`."""
    large = photos.read(files, gan.size * 4)
    wanted = np.stack([photos.crop(photo, gan.size) for photo in large])
    noise = invert(gan, np.float32(wanted) / 255, steps=150)
    return {4: (restore(gan.imagine(noise)), large)}


def soften(upscaler: Upscaler, plain: str | Path, share: float = 0.2) -> None:
    """Take an upscaler a part of the way back to where its adversaries found it.

    At ×8, where a small picture says least, what they taught made a face less like its
    own than bicubic is; a fifth of the way back it is more like it, and still sharp.

    Args:
        upscaler: Trained against discriminators.
        plain: The file of the same one before them.
        share: Of the way.

    Reference:
        Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial
        Networks", section 3.4 (network interpolation).
    """
    before = Upscaler.from_preset(plain).whole.get_weights()
    after = upscaler.whole.get_weights()
    mixed = [share * b + (1 - share) * a for b, a in zip(before, after, strict=True)]
    upscaler.whole.set_weights(mixed)


def _measure_upscalers(folder: str) -> None:
    """Measure the project's upscalers on people whom they never saw; keep figures."""
    _, held_out = photos.split(folder, HELD_OUT, people=True)
    files = list({file.parent: file for file in held_out}.values())[:200]
    pictures = photos.read(files, 160)
    ways = dict(scores.WAYS)
    for name, file in (("L1", "upscaler_light_l1"), ("adversarial", "upscaler_light")):
        ways[name] = scores.by(Upscaler.from_preset(WEIGHTS / f"{file}.npz"))
    figures = {"people": len(files)}
    for k in (2, 4, 8):
        figures[f"x{k}"] = scores.compare(ways, pictures, k)
    print(json.dumps(figures, indent=2))
    command = "python -m tools.pretrain --upscaler --faces <folder>"
    note("06_upscaling", "project's weights", command, figures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.pretrain")
    parser.add_argument(
        "--faces", required=True, help="folder of photos of many people"
    )
    parser.add_argument("--steps", type=int, default=7500, help="of 16 faces")
    parser.add_argument("--preset", default="light", choices=PRESETS)
    parser.add_argument("--upscaler", action="store_true", help="by its curriculum")
    parser.add_argument("--out", type=Path, default=ROOT / "data/output/base")
    given = parser.parse_args()
    if given.upscaler:
        pretrain_upscaler(given.faces, given.out)
    else:
        pretrain(given.faces, given.out, given.preset, given.steps)


if __name__ == "__main__":
    main()
