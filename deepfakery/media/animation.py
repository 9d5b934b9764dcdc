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
    kind = path.suffix.lower()
    if kind not in (".webp", ".gif"):
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
        small = Image.fromarray(small)
        if kind == ".gif":
            small = small.quantize(dither=Image.Dither.NONE)
        pictures.append(small)
    if not pictures:
        raise ValueError(f"{source} is over before {start} seconds.")
    options = {"quality": 80, "method": 4} if kind == ".webp" else {"optimize": True}
    options |= images.noted(kind, provenance.NAME)
    with provenance.signing(path, _facts(source), source) as aside:
        pictures[0].save(
            aside,
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / fps),
            loop=0,
            **options,
        )


def _facts(source):
    """What the clip says of itself, to be said again; None where it says nothing."""
    said = provenance.inspect(source)
    made = {name: kind for kind, (name, _) in provenance.KINDS.items()}
    if not provenance.is_intact(said) or said["source_type"] not in made:
        return None
    facts = {key: said[key] for key in provenance.FACTS}
    return {"kind": made[said["source_type"]], "target": source, **facts}
