"""Footage → a folder of aligned faces that a person can look through and weed.

A face folder is plain images plus `faces.jsonl`, one JSON object a face. The images
are the truth: delete one in a file manager and that face is gone.
"""

import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from deepfakery import faces, images, video

#: Fewer faces than this teach a decoder nothing that holds up.
MINIMUM = 64


@dataclass(frozen=True)
class FaceSet:
    """The faces of one identity, read from a face folder.

    Attributes:
        folder: Where the images lie.
        records: One dict a face, in order of extraction, as in `faces.jsonl`:
            `image` (file name in the folder), `source` (file name), `frame` (index),
            `time` (seconds), `landmarks` (68 pairs, pixels of the source frame),
            `transform` (2×3, source pixels → pixels of the image), `score`,
            `sharpness`, `pose` (yaw, pitch, roll in degrees), `descriptor` (128).
    """

    folder: Path
    records: list[dict]

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "FaceSet":
        """Read a face folder.

        Raises:
            FileNotFoundError: It is not a face folder.
        """
        folder = Path(folder)
        index = folder / "faces.jsonl"
        if not index.exists():
            raise FileNotFoundError(
                f"{folder} is not a face folder: it holds no faces.jsonl. "
                "Make one with faceset.extract (notebook 01)."
            )
        records = [r for r in _read_lines(index) if (folder / r["image"]).exists()]
        return cls(folder, records)

    def __len__(self) -> int:
        return len(self.records)

    def images(self, size: int = faces.FACE_SIZE, limit: int | None = None):
        """The aligned faces, or `limit` of them spread evenly.

        Args:
            size: Side in pixels to scale them to.
            limit: At most this many.

        Returns:
            (N, size, size, 3) uint8 RGB.
        """
        records = self.records
        if limit is not None and limit < len(records):
            chosen = np.linspace(0, len(records) - 1, limit).round().astype(int)
            records = [records[i] for i in chosen]
        shape = (len(records), size, size, 3)
        out = np.empty(shape, np.uint8)
        for i, record in enumerate(records):
            image = images.read_image(self.folder / record["image"])
            if image.shape[0] != size:
                image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            out[i] = image
        return out

    def landmarks(self, size: int = faces.FACE_SIZE) -> np.ndarray:
        """(N, 68, 2) float32 landmarks in pixels of the aligned faces at `size`."""
        points = [
            faces.transform_points(
                np.float32(r["landmarks"]), np.float32(r["transform"])
            )
            for r in self.records
        ]
        return np.float32(points).reshape(-1, 68, 2) * (size / faces.FACE_SIZE)

    def descriptors(self) -> np.ndarray:
        """(N, 128) float32 identity descriptors."""
        return np.float32([r["descriptor"] for r in self.records]).reshape(-1, 128)

    def require(self, minimum: int = MINIMUM) -> "FaceSet":
        """This face set, if it holds enough faces to train on.

        Raises:
            ValueError: It holds fewer than `minimum`.
        """
        if len(self) < minimum:
            raise ValueError(
                f"{self.folder} holds {len(self)} faces; training needs at least "
                f"{minimum}. Extract from more footage."
            )
        return self


def extract(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    minimum: int = 1,
    describe: bool = True,
    workers: int | None = None,
) -> FaceSet:
    """Find, align and describe the largest face of every frame or photo.

    Interrupted and called again, it goes on after the last face written.

    Args:
        source: A clip, a photo, or a folder of photos.
        folder: The face folder to fill, made if missing.
        minimum: Fewer faces than this are an error.
        describe: Also compute identity descriptors, a tenth of a second each.
        workers: Processes; one a core by default.

    Returns:
        The finished face set.

    Raises:
        video.MediaError: The source cannot be read.
        ValueError: It shows too few faces, or the folder holds faces of something
            else. A folder that this call made is removed again.
    """
    source, folder = Path(source), Path(folder)
    is_new = not folder.exists()
    progress = folder / "extraction.json"
    size_on_disk = source.stat().st_size if source.is_file() else None
    origin = {"source": source.name, "bytes": size_on_disk}
    state = json.loads(progress.read_text()) if progress.exists() else None
    if state and {key: state[key] for key in origin} != origin:
        raise ValueError(
            f"{folder} holds faces of {state['source']}, not of {source.name}; "
            "choose another folder or delete it."
        )
    if state and state["frames"] is not None:
        return _enough(FaceSet.load(folder), source, minimum)

    # Opening the source comes first: a bad file leaves no folder behind.
    total = images.count_frames(source)
    index = folder / "faces.jsonl"
    done = _read_lines(index) if index.exists() else []
    start = done[-1]["frame"] + 1 if done else 0
    frames = images.read_source(source, start=start)
    first = next(frames, None)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(progress, json.dumps({**origin, "frames": None}))
    # Written afresh without the torn last line that a kill can leave.
    _write_atomically(index, "".join(json.dumps(r) + "\n" for r in done))
    seen, found = start, len(done)
    frames = _chain(first, frames)
    bar = tqdm(total=total, initial=start, unit="frame", desc=f"faces of {folder.name}")
    with bar, index.open("a") as lines:
        for frame, seen_faces in faces.detect_each(frames, describe, workers):
            seen = frame.index + 1
            if seen_faces:
                record = _store(frame, seen_faces[0], folder)
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                found += 1
            bar.update()
            bar.set_postfix(found=found, refresh=False)
    _write_atomically(progress, json.dumps({**origin, "frames": seen}))
    try:
        return _enough(FaceSet.load(folder), source, minimum)
    except ValueError:
        if is_new:
            shutil.rmtree(folder)
        raise


def _enough(faceset: FaceSet, source: Path, minimum: int) -> FaceSet:
    if len(faceset) >= minimum:
        return faceset
    if not len(faceset):
        raise ValueError(f"{source} shows no face; use footage in which one is seen.")
    raise ValueError(
        f"{source} shows only {len(faceset)} faces; training needs at least {minimum}. "
        "Use longer footage, or add photos."
    )


def _store(frame: video.Frame, face: faces.Face, folder: Path) -> dict:
    transform = faces.alignment(face.landmarks)
    image = faces.crop(frame.image, transform)
    name = f"{frame.file.stem}_{frame.index:06d}.jpg"
    # Full colour resolution at quality 95: a third of a PNG, and no visible loss.
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(folder / name), bgr, flags):
        raise OSError(f"{folder / name} could not be written; is the disk full?")
    height, width = frame.image.shape[:2]
    return {
        "image": name,
        "source": frame.file.name,
        "frame": frame.index,
        "time": round(frame.time, 6),
        "landmarks": [_rounded(point) for point in face.landmarks],
        "transform": [_rounded(row) for row in transform],
        "score": round(face.score, 4),
        "sharpness": round(faces.sharpness(image), 2),
        "pose": _rounded(faces.pose(face.landmarks, (width, height))),
        "descriptor": None if face.descriptor is None else _rounded(face.descriptor),
    }


def _rounded(values) -> list:
    return [round(float(v), 5) for v in values]


def _chain(first, rest):
    if first is not None:
        yield first
        yield from rest


def _read_lines(path: Path) -> list[dict]:
    records = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            warnings.warn(f"{path}, line {number}: not JSON, skipped", stacklevel=3)
    return records


def _write_atomically(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)
