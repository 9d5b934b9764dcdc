"""What it costs to sign an export: python -m tools.bench --only provenance"""

import tempfile
import time
from pathlib import Path

from deepfakery.convert import export
from deepfakery.media import provenance
from tools.bench.convert import _painter
from tools.bench.extract import wide_clip
from tools.bench.train import _time


def cost(frames: int = 150, repeats: int = 9) -> dict:
    """Time the signatures of an export against the export itself.

    They are timed by themselves, for two exports of the same clip differ by more than a
    signature takes; and summed, though they run beside the painting.

    Args:
        frames: Length of the clip, 1280 × 720, every frame written as PNG too.
        repeats: Times that each signature is made; the faster half counts.

    Returns:
        `provenance.overhead_share`: time of all signatures, the clip's and its
        frames', over that of the same export without any; `.clip_ms` and
        `.picture_ms`, of one signature each.
    """
    swapper = _painter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        clip = wide_clip(folder / "wide.mp4", frames)
        provenance.sign(clip, kind="animated")  # taken along by every signature
        out, pictures = folder / "out.mp4", folder / "frames"
        started = time.perf_counter()
        painted = export.swap_clip(
            clip, swapper, "hopper", out, frames_folder=pictures, credentials=False
        )
        seconds = time.perf_counter() - started
        facts = export.facts_of(swapper, clip)

        def sign_clip():  # and look at the target, once for all its frames
            provenance._ingredient.cache_clear()
            provenance.sign(out, **facts)

        of_clip = _time(sign_clip, repeats)
        picture = pictures / f"{painted[0]:06d}.png"
        of_picture = _time(lambda: provenance.sign(picture, **facts), repeats)
    signing = of_clip + len(painted) * of_picture
    return {
        "provenance.overhead_share": signing / seconds,
        "provenance.clip_ms": 1000 * of_clip,
        "provenance.picture_ms": 1000 * of_picture,
    }
