"""What other tools made of the built-in pair, scored and shown beside our own:

python -m tools.peers --peers ../shared/peers --compare data/output/compare
python -m tools.peers --ours "light, 3 min=data/output/mine/swap.mp4"

The pair's clip and the other tools' swaps of it lie in `--peers`, the baselines that
`make compare` left in `--compare`. Table and picture are kept in data/results, and a
part of the table in the README.
"""

import argparse
import io
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepfakery.convert import export
from deepfakery.evaluate import measure, tables
from deepfakery.evaluate.metrics import TARGET
from deepfakery.faces import detect
from deepfakery.media import images, provenance
from tools import keep

#: What the clips in `--peers` are called.
PEERS = {
    "DeepFaceLab Quick96, 3 min": "deepfacelab_quick96_3min.mp4",
    "DeepFaceLab Quick96, 10 min": "deepfacelab_quick96_10min.mp4",
    "DeepFaceLab Quick96, 30 min": "deepfacelab_quick96_30min.mp4",
    "faceswap original, 3 min": "faceswap_original_3min.mp4",
    "faceswap lightweight, 3 min": "faceswap_lightweight_3min.mp4",
}

#: What the README shows of it.
GLANCE = [
    *("identity distance ↓", "SSIM ↑", "landmark error, % ↓"),
    *("mouth opening error, % ↓", "eye opening error, % ↓", "sharpness ratio → 1"),
]

#: Moments of the picture, the side of a face in pixels, and the most bytes.
MOMENTS, SIDE, BYTES = 6, 192, 300_000


def main(arguments: list[str]) -> int:
    """Score, show, keep; returns the exit status."""
    parser = argparse.ArgumentParser("tools.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=keep.ROOT / "../shared/peers")
    compared = keep.ROOT / "data/output/compare"
    parser.add_argument("--compare", type=Path, default=compared)
    parser.add_argument("--ours", nargs="+", default=[], metavar="NAME=CLIP")
    given = parser.parse_args(arguments)
    if not (pair := pair_in(given.peers)):
        return 0
    target, truth = pair
    refuse_others(given.compare / "clips/collins_unseen.mp4", target)
    mine = dict(one.split("=", 1) for one in given.ours) or {
        "light, adversarial, 3 min": given.compare / "light_adversarial_3_min/swap.mp4"
    }
    swaps = {f"ours, {name}": Path(clip) for name, clip in mine.items()}
    swaps |= {name: given.peers / file for name, file in PEERS.items()}
    swaps["landmark warp"] = given.compare / "landmark_warp.mp4"
    swaps["upper bound, 128 px"] = given.compare / "upper_bound_128.mp4"
    frames = measure.measure(swaps, target, given.compare / "faces/hopper", truth)
    table = tables.summarise(frames)
    shown = tables.side_by_side(table)
    print(shown.T.to_string())
    names = [f"{name}=<clip>" for name in mine] if given.ours else []
    command = shlex.join(["--ours", *names]) if names else ""
    command = f"python -m tools.peers {command}".strip()
    keep.note("04_evaluation", "peers", command, keep.figures_of(table))
    listed = [*swaps, TARGET]
    keep.tell("peers", keep.markdown(shown[listed], GLANCE, intervals=True))
    rows = {TARGET: target, **swaps, "ground truth": truth}
    draw(rows, keep.RESULTS / "peers.jpg", list(swaps.values()), target)
    return 0


def pair_in(folder: Path) -> list[Path]:
    """The target's clip and the ground truth in a folder; none, and why, without it."""
    if not folder.is_dir():
        print(f"Skipped: there is no {folder}, where other tools' clips lie.")
        return []
    return [folder / file for file in ("target_collins.mp4", "truth_hopper.mp4")]


def refuse_others(clip: Path, target: Path) -> None:
    """A ValueError, unless both clips show the same motion."""
    pairs = zip(*(images.stills(source, 3) for source in (clip, target)), strict=True)
    if not all(np.abs(np.int16(a) - b).mean() < 2 for a, b in pairs):
        raise ValueError(f"{clip} is not {target}; run `make compare` anew.")


def head(image: np.ndarray, face: np.ndarray, side: int) -> np.ndarray:
    """A square of a frame, `side` pixels wide, around a face's landmarks."""
    centre = face.mean(0) - (0, 0.12 * np.ptp(face[:, 1]))
    return cv2.getRectSubPix(image, (side, side), tuple(map(float, centre)))


def draw(rows: dict, path: Path, made: list[Path], target: Path) -> None:
    """Write the same moments of every clip, a clip a row under its name."""
    stills = {name: images.stills(clip, MOMENTS) for name, clip in rows.items()}
    faces = [detect.detect(image)[0].landmarks for image in stills[TARGET]]
    side = max(SIDE, *(round(1.2 * np.ptp(face, axis=0).max()) for face in faces))
    high, font = 24, ImageFont.load_default(16)
    sheet = Image.new("RGB", (MOMENTS * side, len(rows) * (side + high)), "white")
    for row, (name, pictures) in enumerate(stills.items()):
        top = row * (side + high)
        ImageDraw.Draw(sheet).text((4, top + 2), name, "black", font)
        for column, (image, face) in enumerate(zip(pictures, faces, strict=True)):
            part = Image.fromarray(head(image, face, side))
            sheet.paste(part, (column * side, top + high))
    below = provenance.label(np.full((20, sheet.width, 3), 40, np.uint8))
    sheet = Image.fromarray(np.vstack([sheet, below]))
    for quality in range(90, 30, -5):
        written = io.BytesIO()
        sheet.save(written, "jpeg", quality=quality, optimize=True)
        if written.tell() < BYTES - 70_000:  # the credentials come on top
            break
    path.write_bytes(written.getvalue())
    facts = {"kind": "composite", "label": provenance.LABEL}
    provenance.sign(path, **facts, **export.facts_of(made, target))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
