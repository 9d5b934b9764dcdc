"""Which faces are worth keeping: large, sharp, well lit, turned not too far, and new.

`filter_clip` looks through footage in one process, `filter_piece` through one of many
pieces at once. What is turned away is counted by reason, and a few examples are kept.
"""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import dlib
import numpy as np

from deepfakery.faces import detect, geometry, search
from deepfakery.media import images, records, video

#: What a face must be to be kept. `None` switches a limit off.
LIMITS = {
    "size": 32,  # pixels across the landmarks, at least
    "sharpness": 4,  # variance of the Laplacian of the aligned face, at least
    "score": -0.5,  # the detector's confidence, at least; -1: it was followed unseen
    "yaw": 75,  # degrees to either side, at most
    "pitch": 50,  # degrees up or down, at most
    "dark": 30,  # mean grey level of 255, at least
    "bright": 230,  # mean grey level of 255, at most
    "alike": 6,  # grey levels by which some part must differ from each face kept
}

#: As long as fewer faces are kept, a new one may be more alike to them.
PLENTY = 500

#: Frames of a clip that are looked through in one go, and photos.
FRAMES, PHOTOS = 64, 16
#: Pictures of rejected faces that are kept for each reason.
EXAMPLES = 12

#: What a face's record holds in numbers → their shape.
NUMBERS = {
    "frame": (),
    "time": (),
    "landmarks": (68, 2),
    "transform": (2, 3),
    "score": (),
    "size": (),
    "sharpness": (),
    "light": (),
    "pose": (3,),
    "descriptor": (128,),
    "number": (),
}


@dataclass(frozen=True)
class Piece:
    """A part of the footage that can be read by itself.

    Attributes:
        files: One clip, or several photos.
        start: Index of the first frame or photo.
        part: Of a clip, the pts of the frames, as `video.read_frames` takes them.
    """

    files: tuple[Path, ...]
    start: int
    part: tuple[int, ...] | None = None


@dataclass
class Candidate:
    """A face that may be kept."""

    record: dict
    jpeg: bytes
    chip: np.ndarray  # (150, 150, 3) uint8, as the descriptor wants it


@dataclass
class Filtered:
    """What was found in a piece of footage."""

    frames: int = 0
    with_face: int = 0
    kept: list[Candidate] = field(default_factory=list)
    rejected: Counter = field(default_factory=Counter)
    examples: dict = field(default_factory=lambda: defaultdict(list))
    warnings: list[str] = field(default_factory=list)

    def reject(self, reason: str, image: np.ndarray) -> None:
        self.rejected[reason] += 1
        if len(self.examples[reason]) < 2:
            self.examples[reason].append(encode(image))


class Novelty:
    """Remembers the faces kept, to tell a new one from a near-duplicate."""

    def __init__(self, alike: float | None):
        self.alike, self.count = alike, 0
        self.seen = np.empty((256, 144), np.float32)

    def add(self, looks: np.ndarray) -> bool:
        """Whether (144,) looks are new; if so they are remembered."""
        seen = self.seen[: self.count]
        if self.alike and self.count:
            least = self.alike * min(1, self.count / PLENTY)
            if np.abs(seen - looks).max(1).min() < least:
                return False
        if self.count == len(self.seen):
            self.seen = np.concatenate([self.seen, np.empty_like(self.seen)])
        self.seen[self.count] = looks
        self.count += 1
        return True


def read_faces(folder: Path) -> list[dict]:
    """The records in a face folder's index, one an image, of those that are sound."""
    found = records.read_lines(folder / "faces.jsonl", _unfit)
    # Of two that name one image, the later one wrote it.
    return list({record["image"]: record for record in found}.values())


def _unfit(record: dict) -> str | None:
    """What is wrong with a record that was read from a file."""
    name = record.get("image")
    if not records.is_plain(name) or not images.is_image(name) or name[0] == ".":
        return f"{str(name)[:80]!r} is no plain name of an image"
    if not isinstance(record.get("source"), str):
        return "no source"
    for field_, shape in NUMBERS.items():
        if field_ == "descriptor" and record.get(field_, 0) is None:
            continue
        try:
            value = np.array(record.get(field_))
        except (ValueError, RecursionError):  # rows of several lengths
            return f"bad {field_}"
        whole = field_ in ("frame", "number")
        if value.shape != shape or value.dtype.kind not in ("i" if whole else "if"):
            return f"bad {field_}"
        if not (np.abs(np.float64(value)) < 1e9).all() or whole and value < 0:
            return f"bad {field_}"
    return None


def piles(folder: Path) -> list[Path]:
    """A face folder and those that lie beside it, see `people`."""
    beside = folder / "others"
    named = re.compile(r"person_\d+|unsure|removed").fullmatch
    found = [] if beside.is_symlink() else sorted(beside.glob("*"))
    return [
        folder,
        *(p for p in found if named(p.name) and p.is_dir() and not p.is_symlink()),
    ]


def pieces(source: Path | tuple[Path, ...], place: int = 0) -> list[Piece] | None:
    """Cut footage into pieces.

    Args:
        source: A clip, or photos.
        place: The index of the first photo.

    Returns:
        The pieces, in order; None for a clip that can only be read from its beginning.

    Raises:
        video.MediaError: The clip cannot be read.
    """
    if isinstance(source, tuple):
        starts = range(0, len(source), PHOTOS)
        return [Piece(source[i : i + PHOTOS], place + i) for i in starts]
    listed = video.index(source)
    if listed is None:
        return None
    # Cut at keyframes where they come often; elsewhere decoding starts further back.
    cuts = [0]
    for i, (_, is_keyframe) in enumerate(listed):
        length = i - cuts[-1]
        if length >= 2 * FRAMES or (is_keyframe and length >= FRAMES):
            cuts.append(i)
    times = [pts for pts, _ in listed]
    ends = [*cuts[1:], len(times)]
    return [
        Piece((source,), a, tuple(times[a:b])) for a, b in zip(cuts, ends, strict=True)
    ]


def filter_piece(piece: Piece, limits: dict) -> Filtered:
    """Look through one piece to its end; made to be called in another process."""
    total = Filtered()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        novelty = Novelty(limits["alike"])
        try:
            for frame, found in _looked_at(piece):
                _add(total, frame, found, limits, novelty)
        except video.MediaError as error:
            total.warnings.append(str(error))
    total.warnings += [str(w.message) for w in said]
    return total


def filter_clip(clip: Path, limits: dict, start: int = 0) -> Iterator[Filtered]:
    """Look through a clip from a frame on; what was found every `FRAMES` frames."""
    part, novelty = Filtered(), Novelty(limits["alike"])
    frames = video.read_frames(clip, start, quick=True)
    for frame, found in search.follow(frames):
        _add(part, frame, found, limits, novelty)
        if part.frames == FRAMES:
            yield part
            part, novelty = Filtered(), Novelty(limits["alike"])
    if part.frames:
        yield part


def _looked_at(piece: Piece) -> Iterator[tuple]:
    if not images.is_image(piece.files[0]):
        part = list(piece.part) if piece.part else None
        yield from search.follow(
            video.read_frames(piece.files[0], piece.start, part, quick=True)
        )
        return
    for i, file in enumerate(piece.files, piece.start):
        try:
            image = images.read_image(file)
        except video.MediaError as error:
            warnings.warn(f"Left out: {error}", stacklevel=2)
            continue
        yield from search.follow([video.Frame(i, 0.0, i, image, file)])


def _add(total: Filtered, frame, found, limits: dict, novelty: Novelty) -> None:
    total.frames += 1
    total.with_face += bool(found)
    for number, face in enumerate(found):
        transform = geometry.alignment(face.landmarks)
        image = geometry.crop(frame.image, transform)
        record = _record(frame, face, number, transform, image)
        reason = _fault(record, limits)
        if reason is None and not novelty.add(looks(image)):
            reason = "near-duplicate"
        if reason:
            total.reject(reason, image)
            continue
        chip = dlib.get_face_chip(
            *detect.shape_of(frame.image, face.landmarks), size=150
        )
        total.kept.append(Candidate(record, encode(image), chip))


def _record(frame: video.Frame, face: detect.Face, number, transform, image) -> dict:
    height, width = frame.image.shape[:2]
    inner = cv2.cvtColor(_inner(image), cv2.COLOR_RGB2GRAY)
    return {
        "image": f"_{number}.jpg" if number else ".jpg",  # `extraction` names the rest
        "source": str(frame.file),
        "frame": frame.index,
        "time": round(frame.time, 6),
        "landmarks": [_rounded(point) for point in face.landmarks],
        "transform": [_rounded(row) for row in transform],
        "score": round(face.score, 4),
        "size": round(face.size, 1),
        "sharpness": round(detect.sharpness(image), 2),
        "light": round(float(inner.mean()), 1),
        "pose": _rounded(geometry.pose(face.landmarks, (width, height))),
        "descriptor": None,
        "version": geometry.GEOMETRY,
    }


def _rounded(values) -> list[float]:
    return [round(float(v), 5) for v in values]


def _fault(record: dict, limits: dict) -> str | None:
    """Why a face is not kept."""
    yaw, pitch, _ = np.abs(record["pose"])
    faults = (
        ("size", record["size"], "too small"),
        ("score", record["score"], "detector unsure"),
        ("dark", record["light"], "too dark"),
        ("bright", -record["light"], "too bright"),
        ("sharpness", record["sharpness"], "blurred"),
        ("yaw", -yaw, "turned too far"),
        ("pitch", -pitch, "turned too far"),
    )
    for name, value, reason in faults:
        limit = limits[name]
        if limit is not None and value < (-limit if name in _UPPER else limit):
            return reason
    return None


_UPPER = ("bright", "yaw", "pitch")


def encode(image: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB face as a JPEG file."""
    # Full colour resolution at quality 95: a third of a PNG, and no visible loss.
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, flags)[1].tobytes()


def decode(jpeg: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 RGB picture in a JPEG file."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def looks(image: np.ndarray) -> np.ndarray:
    """(144,) float32 mean grey levels of the parts of an aligned face."""
    grey = cv2.cvtColor(_inner(image), cv2.COLOR_RGB2GRAY)
    return np.float32(cv2.resize(grey, (12, 12), interpolation=cv2.INTER_AREA)).ravel()


def _inner(image: np.ndarray) -> np.ndarray:
    # Three quarters of an aligned face: brows to chin, without hair and background.
    return image[40:232, 32:224]
