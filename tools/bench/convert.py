"""How fast a clip is swapped, where the time goes, and how much memory that takes.

python -m tools.bench.convert
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deepfakery import batches, samples
from deepfakery.convert import export, merge
from deepfakery.faces import geometry, tracking
from deepfakery.media import provenance, video
from tools.bench.extract import peak_memory, wide_clip


def speed(frames: int = 600) -> dict:
    """Time a swap at 1280 × 720, one face, with an untrained `light` network.

    Args:
        frames: Length of the clip.

    Returns:
        `convert.720p.frames_per_s`, from file to file with start-up and signature;
        `.codec_ratio`, its time over that of decoding and encoding alone; and
        `.ms.<stage>`, milliseconds a frame that each stage takes by itself.
    """
    swapper = _painter()
    with tempfile.TemporaryDirectory() as folder:
        clip = wide_clip(Path(folder) / "wide.mp4", frames)
        out = Path(folder) / "out.mp4"
        started = time.perf_counter()
        export.swap_clip(clip, swapper, "hopper", out)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        with video.VideoWriter(out, like=video.probe(clip)) as writer:
            for frame in video.read_frames(clip):
                writer.write(frame.image, frame.pts)
        codec = time.perf_counter() - started
        stages = _stages(clip, out, swapper, min(frames, 120))
    return {
        "convert.720p.frames_per_s": frames / seconds,
        "convert.720p.codec_ratio": seconds / codec,
        **{f"convert.720p.ms.{name}": value for name, value in stages.items()},
    }


def memory(minutes: tuple[float, float] = (0.5, 3)) -> dict:
    """Compare the memory that swapping a short clip and a long one takes.

    Args:
        minutes: Lengths of the two, at 30 frames a second.

    Returns:
        `convert.memory_ratio`, long to short, and `convert.memory_mib` of the long one.
    """
    short, long = peak_memory("tools.bench.convert", minutes)
    return {"convert.memory_ratio": long / short, "convert.memory_mib": long}


def _painter():
    from deepfakery.swapper import FaceSwapper  # workers need no TensorFlow

    swapper = FaceSwapper(samples.PEOPLE, "light")
    size = swapper.size
    for count in (1, 16):  # compiling is not swapping
        swapper.swap(np.zeros((count, size, size, 3), np.float32), "hopper")
    return swapper


def _stages(clip, out, swapper, count):
    """Milliseconds a frame of each stage, one after another, nothing beside it."""
    spent, started = {}, time.perf_counter()

    def done(name):
        nonlocal started
        spent[name] = 1000 * (time.perf_counter() - started) / count
        started = time.perf_counter()

    frames = [f for f, _ in zip(video.read_frames(clip), range(count), strict=False)]
    done("decode")
    found = list(tracking.follow(frames))
    done("detect")
    size = swapper.size
    places = [faces_[0].landmarks if faces_ else None for _, faces_ in found]
    places = [p if p is not None else places[0] for p in places]
    crops = [
        geometry.crop(f.image, geometry.alignment(p, size), size)
        for f, p in zip(frames, places, strict=True)
    ]
    done("align")
    painted = swapper.swap(batches.prepare(crops, size), "hopper", batch=16)
    done("network")
    layers = [
        merge.lay(f.image, p, *face)
        for f, p, *face in zip(frames, places, *painted, strict=True)
    ]
    images = [
        merge.blend(f.image, [one]) for f, one in zip(frames, layers, strict=True)
    ]
    done("merge")
    images = [provenance.label(image) for image in images]
    done("label")
    with video.VideoWriter(out, like=video.probe(clip)) as writer:
        for frame, image in zip(frames, images, strict=True):
            writer.write(image, frame.pts)
    done("encode")
    provenance.sign(out, target=clip)
    done("sign")
    return spent


def _peak(clip: str) -> None:
    export.swap_clip(clip, _painter(), "hopper", Path(clip).with_suffix(".swap.mp4"))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print((own + 2 * largest_child) / 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        _peak(sys.argv[2])
    else:
        print(json.dumps({**speed(), **memory()}, indent=2))
