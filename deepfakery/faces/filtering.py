"""Which faces are kept: large, sharp, well lit, hardly turned, and new."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from deepfakery.faces import detect, geometry, segment, tracking
from deepfakery.media import images, video

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
#: Frames of a clip that are looked through in one go.
FRAMES = 64


@dataclass
class Filtered:
    """What was found in a piece of footage; `kept`: (record, JPEG, chip) a face."""

    frames: int = 0
    kept: list[tuple[dict, bytes, np.ndarray]] = field(default_factory=list)
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
        self.alike, self.count = alike or 0, 0
        self.seen = np.empty((256, 144), np.float32)

    def add(self, image: np.ndarray) -> bool:
        """Whether an aligned face is new; if so it is remembered."""
        small = cv2.resize(_inner_grey(image), (12, 12), interpolation=cv2.INTER_AREA)
        looks = np.float32(small).ravel()
        least = self.alike * min(1, self.count / PLENTY)
        away = np.abs(self.seen[: self.count] - looks).max(1)
        if away.min(initial=np.inf) < least:
            return False
        if self.count == len(self.seen):
            self.seen = np.concatenate([self.seen, np.empty_like(self.seen)])
        self.seen[self.count] = looks
        self.count += 1
        return True


def pieces(file: Path, place: int = 0) -> list[tuple[int, list[int] | None]]:
    """Cut a clip into pieces that can be read each by itself; a photo is one.

    Args:
        file: A clip or a photo.
        place: Of a photo, which stands for the index of its frame.

    Returns:
        (index of the first frame, pts of all as `video.read_frames` takes them) of
        each. What can only be read from its beginning is one piece without pts.
    """
    if images.is_image(file):
        return [(place, None)]
    listed = None
    with suppress(video.MediaError):  # said when it is looked through
        listed = video.index(file)
    if listed is None:
        return [(0, None)]
    # Cut at keyframes where they come often; elsewhere decoding starts further back.
    cuts = [0]
    for i, (_, is_keyframe) in enumerate(listed):
        if i - cuts[-1] >= (FRAMES if is_keyframe else 2 * FRAMES):
            cuts.append(i)
    times = [pts for pts, _ in listed]
    ends = [*cuts[1:], len(times)]
    return [(a, times[a:b]) for a, b in zip(cuts, ends, strict=True)]


def filter_piece(file: Path, start: int, part: list[int] | None, *named) -> Filtered:
    """`filter_faces` of one of the `pieces`; to be called in another process."""
    if images.is_image(file):
        frames = (replace(f, index=start) for f in images.read_source(file))
    else:
        frames = video.read_frames(file, start, part, quick=True)
    return filter_faces(tracking.follow(frames), *named)


def filter_faces(
    stream: Iterable[tuple], source: str, stem: str, limits: dict
) -> Filtered:
    """Filter the faces of a stream of (frame, list of `Face`).

    Args:
        stream: As from `tracking.follow`.
        source: Name of the file in records.
        stem: What the names of images begin with.
        limits: As `LIMITS`.
    """
    total, novelty = Filtered(), Novelty(limits["alike"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            for frame, found in stream:
                total.frames += 1
                for i, face in enumerate(found):
                    name = f"{stem}_{frame.index:06d}" + (f"_{i}" if i else "") + ".jpg"
                    image, points, record = _aligned(frame, face)
                    reason = _fault(record, limits)
                    if reason is None and not novelty.add(image):
                        reason = "near-duplicate"
                    if reason:
                        total.reject(reason, image)
                        continue
                    record = {"image": name, "source": source} | record
                    outline = segment.segment(image, points)
                    record["outline"] = outline.round(1).tolist()
                    chip = detect.chip(frame.image, face.landmarks)
                    total.kept.append((record, encode(image), chip))
        except video.MediaError as error:
            warnings.warn(f"Left out: {error}", stacklevel=2)
    total.warnings = [str(warning.message) for warning in said]
    return total


def _aligned(frame: video.Frame, face: detect.Face) -> tuple:
    """An aligned face, its landmarks there, and its record, see `faceset.FaceSet`."""
    transform = geometry.alignment(face.landmarks)
    image = geometry.crop(frame.image, transform)
    record = {
        "frame": frame.index,
        "time": round(frame.time, 6),
        "landmarks": [_rounded(point) for point in face.landmarks],
        "transform": [_rounded(row) for row in transform],
        "score": round(face.score, 4),
        "size": round(face.size, 1),
        "sharpness": round(detect.sharpness(image), 2),
        "light": round(float(_inner_grey(image).mean()), 1),
        "pose": _rounded(geometry.pose(face.landmarks, frame.image.shape[1::-1])),
        "descriptor": None,
        "version": geometry.GEOMETRY,
    }
    return image, geometry.transform_points(face.landmarks, transform), record


def _rounded(values) -> list[float]:
    return [round(float(v), 5) for v in values]


def _inner_grey(image: np.ndarray) -> np.ndarray:
    # Three quarters of an aligned face: brows to chin, without hair and background.
    return cv2.cvtColor(image[40:232, 32:224], cv2.COLOR_RGB2GRAY)


def _fault(record: dict, limits: dict) -> str | None:
    """Why a face is not kept."""
    yaw, pitch, _ = np.abs(record["pose"])
    least = {name: -np.inf if v is None else v for name, v in limits.items()}
    most = {name: np.inf if v is None else v for name, v in limits.items()}
    faults = {
        "too small": record["size"] < least["size"],
        "detector unsure": record["score"] < least["score"],
        "too dark": record["light"] < least["dark"],
        "too bright": record["light"] > most["bright"],
        "blurred": record["sharpness"] < least["sharpness"],
        "turned too far": yaw > most["yaw"] or pitch > most["pitch"],
    }
    return next((reason for reason, is_true in faults.items() if is_true), None)


def encode(image: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB face as a JPEG file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    flags.append(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, flags)[1].tobytes()


def decode(jpeg: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 RGB picture in a JPEG file."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
