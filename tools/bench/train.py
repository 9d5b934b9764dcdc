"""How fast the networks train, as a share of what this machine's convolutions can do.

Every step is a whole one: augmentation apart, forward, losses, backward, optimizer.
"""

import itertools
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from deepfakery import batches, networks, samples
from deepfakery.checkpoints import base_weights
from deepfakery.evaluate import trials
from deepfakery.faces import extraction
from deepfakery.presets import PRESETS
from deepfakery.swapper import FaceSwapper

#: Faces of each identity in a step, by preset.
BATCH = {"original": 48, "small": 8, "light": 8, "hd": 4, "hd256": 2}


def speed(presets=tuple(PRESETS), precisions=None, steps=8, frames=72) -> dict:
    """Time the training step of each preset.

    Args:
        presets: Names.
        precisions: Of "float32" and "bfloat16"; by default those that this machine
            has. A processor without bfloat16 computes it step by step in float32, and
            takes minutes to say nothing.
        steps: Steps timed; the fastest half counts, for other work disturbs.
        frames: Faces of each person to train on.

    Returns:
        `train.<preset>.<precision>.images_per_s`; `.peak_share`, the arithmetic of a
        step against `train.peak.<precision>.gflops`, what large convolutions of the
        same type reach; and `train.augmentation_share` of a `light` step.
    """
    if precisions is None:
        both = ("float32", "bfloat16")
        precisions = both if _has_bfloat16() else both[:1]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        facesets = _people(Path(folder), frames)[0]
        for precision in precisions:
            peak = convolution_peak(precision)
            figures[f"train.peak.{precision}.gflops"] = peak / 1e9
            for name in presets:
                swapper, batch = _compiled(name, precision), BATCH[name]
                feed = batches.batches(facesets, swapper.size, batch)
                x, y = next(feed)
                seconds = _time(lambda s=swapper, b=(x, y): s.train_on_batch(*b), steps)
                key = f"train.{name}.{precision}"
                figures[f"{key}.images_per_s"] = 2 * batch / seconds
                flops = 6 * 2 * batch * multiplications(swapper)
                figures[f"{key}.peak_share"] = flops / seconds / peak
                if (name, precision) == ("light", "float32"):
                    feeding = _time(lambda f=feed: next(f), steps)
                    share = feeding / (feeding + seconds)
                    figures["train.augmentation_share"] = share
    return figures


def until_verified(limit: float = 240) -> dict:
    """Time the training until 95 % of the target's unseen faces are verified.

    Args:
        limit: Seconds after which to give up; the figure is then left out.

    Returns:
        `train.verified_s.scratch` and `train.verified_s.base`: seconds of training
        steps, compiling and scoring apart, of `small` on the built-in people.
    """
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        facesets, unseen = _people(Path(folder), 240)
        for start in ("scratch", "base"):
            swapper = _compiled("small", networks.best_precision())
            feed = batches.batches(facesets, swapper.size)
            first = next(feed)
            untrained = swapper.get_weights()
            swapper.train_on_batch(*first)  # compiles
            swapper.set_weights(untrained)
            if start == "base":
                swapper.start_from(base_weights("small"))
            seconds, found = 0.0, 0.0
            while found < 0.95 and seconds < limit:
                started = time.perf_counter()
                for batch in itertools.islice(feed, 10):
                    swapper.train_on_batch(*batch)
                seconds += time.perf_counter() - started
                found = trials.score(swapper, unseen, facesets, "hopper")["verified"]
            if found >= 0.95:
                figures[f"train.verified_s.{start}"] = seconds
    return figures


def multiplications(swapper: FaceSwapper) -> int:
    """Multiply-adds that one image takes through encoder and decoder, forwards."""
    models = (swapper.encoder, next(iter(swapper.decoders.values())))
    return sum(products(model) for model in models)


def products(model: keras.Model) -> int:
    """Multiply-adds that one image takes through a model, forwards."""
    total = 0
    for layer in model.layers:
        # A transposed convolution is a kind of convolution, and begins at its input.
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places = np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            places = np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            places = 1
        else:
            continue
        total += int(places) * int(np.prod(layer.kernel.shape))
    return total


def convolution_peak(precision: str) -> float:
    """Floating-point operations a second of this machine's large convolutions."""
    batch, side, width, depth = 16, 32, 256, 4
    with networks.precision("mixed_bfloat16" if precision == "bfloat16" else precision):
        x = inputs = keras.Input((side, side, width))
        for _ in range(depth):
            x = keras.layers.Conv2D(width, 3, padding="same")(x)
        model = keras.Model(inputs, x)
    data = np.random.default_rng(0).random((batch, side, side, width), np.float32)
    seconds = _time(lambda: model.predict_on_batch(data), 6)
    return 2 * depth * batch * side * side * 9 * width * width / seconds


def _has_bfloat16() -> bool:
    """Whether this machine has instructions for it, be they fast or slow."""
    said = {*Path("/proc/cpuinfo").read_text().split()}
    return networks.has_gpu() or bool({"avx512_bf16", "amx_bf16"} & said)


def _compiled(name, precision):
    keras.utils.set_random_seed(0)
    policy = {"bfloat16": "mixed_bfloat16"}.get(precision, precision)
    swapper = FaceSwapper(samples.PEOPLE, name, policy)
    swapper.compile()
    return swapper


def _people(folder: Path, frames: int):
    found = {}
    for name in samples.PEOPLE:
        moves = samples.motion(frames, seed=0)
        clip = samples.write_clip(folder / f"{name}.mp4", name, moves)
        found[name] = extraction.extract(clip, folder / name)
    moves = samples.motion(frames, seed=1)[::4]
    clip = samples.write_clip(folder / "unseen.mp4", "collins", moves)
    return found, extraction.extract(clip, folder / "unseen")


def _time(do, times: int, limit: float = 30) -> float:
    """Seconds that `do` takes: the median of the faster half, the first apart.

    Fewer times than asked for where they take longer than `limit` seconds together.
    """
    do()
    spent = []
    while len(spent) < times and sum(spent) < limit:
        started = time.perf_counter()
        do()
        spent.append(time.perf_counter() - started)
    return float(np.median(sorted(spent)[: (len(spent) + 1) // 2]))
