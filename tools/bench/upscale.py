"""How fast pictures are enlarged, and how much memory that takes.

python -m tools.bench --only upscale
"""

import resource
import subprocess
import sys

import numpy as np

from deepfakery import samples
from deepfakery.convert import tiles
from deepfakery.studies.upscaler import shipped
from tools.bench import train

#: What becomes 1920 × 1080 at ×4: its height and width.
SHAPE = (270, 480)


def speed(rounds: int = 3) -> dict:
    """Time an enlargement to 1920 × 1080, and look for seams in it.

    Args:
        rounds: How often.

    Returns:
        `upscale.x4.megapixels_per_s`, of the large picture; and
        `upscale.x4.seam_levels`, the largest difference, of 255, between a picture
        enlarged in tiles and as a whole.
    """
    upscaler, picture = shipped(), _picture()
    seconds = train._time(lambda: tiles.enlarge(picture, upscaler, 4), rounds)
    small = picture[:120, 100:260]
    parts = tiles.enlarge(small, upscaler, 4, side=2 * tiles.reach(upscaler, 4) + 32)
    whole = upscaler.enlarge(small[None] / np.float32(255), 4)[0]
    seam = np.abs(parts - (whole * 255).round()).max()
    return {
        "upscale.x4.megapixels_per_s": 16 * SHAPE[0] * SHAPE[1] / 1e6 / seconds,
        "upscale.x4.seam_levels": float(seam),
    }


def memory() -> dict:
    """Enlarge a picture to 1920 × 1080 in a process of its own.

    Returns:
        `upscale.1080p.peak_mib`, the most memory it ever held, TensorFlow included.
    """
    command = [sys.executable, "-m", "tools.bench.upscale", "peak"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"upscale.1080p.peak_mib": float(done.stdout.split()[-1])}


def _picture():
    large = samples.portrait("collins", 512).image
    return np.ascontiguousarray(large[: SHAPE[0], : SHAPE[1]])


if __name__ == "__main__":
    tiles.resize(_picture(), shipped(), (1920, 1080))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
