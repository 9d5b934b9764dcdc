"""A small moving picture for a page, out of a finished clip."""

import os
from pathlib import Path

import cv2
from PIL import Image

from deepfakery.media import images, provenance, video


def animate(
    source: str | os.PathLike,
    path: str | os.PathLike,
    *,
    width: int = 480,
    fps: float = 12,
    start: float = 0,
    seconds: float | None = None,
) -> None:
    """Make a small moving picture of a finished clip; its credentials travel on.

    Args:
        source: The clip.
        path: The file to write, ending in `.webp` or `.gif`.
        width: In pixels; a smaller clip keeps its own.
        fps: Frames a second.
        start: Where in the clip to begin, in seconds.
        seconds: How much of it; all that is left by default.

    Raises:
        ValueError: The name ends otherwise, nothing is left of the clip, or as for
            `provenance.signing`.
    """
    path = Path(path)
    if path.suffix.lower() not in (".webp", ".gif"):
        raise ValueError(f"{path} must end in .webp or .gif.")
    pictures, origin = [], None
    for frame in video.read_frames(source):
        origin = frame.time if origin is None else origin
        passed = frame.time - origin - start
        if seconds is not None and passed >= seconds:
            break
        if passed * fps < len(pictures) - 1e-6:
            continue
        scale = min(1, width / frame.image.shape[1])
        small = cv2.resize(
            frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        pictures.append(small)
    if not pictures:
        raise ValueError(f"{source} is over before {start} seconds.")
    write(pictures, path, fps, _facts(source), source)


def write(pictures, path: Path, fps: float, facts: dict | None, *sources) -> None:
    """Write pictures, (H, W, 3) uint8 RGB, as a `.webp` or `.gif` that moves.

    `facts` and `sources` are those of `provenance.signing`.
    """
    kind, pictures = path.suffix.lower(), [Image.fromarray(one) for one in pictures]
    options = {"quality": 80, "method": 4} if kind == ".webp" else {"optimize": True}
    if kind == ".gif":
        pictures = [one.quantize(dither=Image.Dither.NONE) for one in pictures]
    options |= images.noted(kind, provenance.NAME)
    rate = {"duration": round(1000 / fps), "loop": 0}
    with provenance.signing(path, facts, *sources) as aside:
        first, *rest = pictures
        first.save(aside, save_all=True, append_images=rest, **rate, **options)


def _facts(source):
    """What the clip says of itself, to be said again; None where it says nothing."""
    said = provenance.inspect(source)
    made = {name: kind for kind, (name, _) in provenance.KINDS.items()}
    if not provenance.is_intact(said) or said["source_type"] not in made:
        return None
    facts = {key: said[key] for key in provenance.FACTS}
    return {"kind": made[said["source_type"]], "target": source, **facts}
