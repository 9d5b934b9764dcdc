"""A small moving picture for a page, out of a finished clip."""

import os
from pathlib import Path

import cv2
from PIL import Image

from deepfakery.media import images, provenance, video


def animate(
    source: str | os.PathLike, path: str | os.PathLike, *, width=480, fps: float = 12
) -> None:
    """Make a small moving picture of a finished clip; its credentials travel on.

    Args:
        source: The clip.
        path: The file to write, ending in `.webp`, as for `provenance.signing`.
        width: In pixels; a smaller clip keeps its own.
        fps: Frames a second.
    """
    if Path(path).suffix.lower() != ".webp":
        raise ValueError(f"{path} must end in .webp.")
    pictures, origin = [], None
    for frame in video.read_frames(source):
        origin = frame.time if origin is None else origin
        if (frame.time - origin) * fps < len(pictures) - 1e-6:
            continue
        scale = min(1, width / frame.image.shape[1])
        small = cv2.resize(
            frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        pictures.append(Image.fromarray(small))
    said, facts = provenance.inspect(source), None
    made = {name: kind for kind, (name, _) in provenance.KINDS.items()}
    if provenance.is_intact(said) and said["source_type"] in made:
        facts = {key: said[key] for key in provenance.FACTS}
        facts |= {"kind": made[said["source_type"]], "target": source}
    with provenance.signing(path, facts, source) as aside:
        pictures[0].save(
            aside,
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / fps),
            loop=0,
            quality=80,
            method=4,
            **images.noted(provenance.NAME),
        )
