"""Find faces, fit landmarks to them, and compute identity descriptors, by dlib.

Reference:
    Kazemi & Sullivan 2014, "One Millisecond Face Alignment with an Ensemble of
    Regression Trees" (landmarks, trained on iBUG 300-W, which excludes commercial use);
    King 2015, "Max-Margin Object Detection" (both detectors).
"""

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np

from deepfakery.media.workers import FED, how_many, in_order, pool

#: Two descriptors closer than this (Euclidean) are one person's, by dlib's own choice.
SAME_PERSON = 0.6
#: From this score on no other way up is tried (a forehead upside down can have 0.7);
#: below the second, a face found another way up is preferred.
SURE, LEAST = 1.0, 0.3
#: Smaller pictures hold no face that could be found; pixels.
SMALLEST = 40


@dataclass(frozen=True)
class Face:
    """One face found in an image."""

    landmarks: np.ndarray  # (68, 2) float32, (x, y) in pixels of the image
    score: float  # the detector's: about 1 to 3 for a frontal face; see `detect`
    descriptor: np.ndarray | None = None  # (128,) float32, or None if not asked for

    @property
    def size(self) -> float:
        """Side of the box around the landmarks, in pixels."""
        return float(np.ptp(self.landmarks, axis=0).max())

    @property
    def middle(self) -> np.ndarray:
        """(2,) mean of the landmarks."""
        return self.landmarks.mean(0)


@cache
def _dlib(load: str, file: str = ""):
    # Its files are read without importing it: the import needs `pkg_resources`,
    # which new versions of setuptools no longer bring.
    spec = importlib.util.find_spec("face_recognition_models")
    models = Path(spec.submodule_search_locations[0]) / "models"
    return getattr(dlib, load)(*([str(models / file)] if file else ()))


def detect(image: np.ndarray, describe: bool = False, effort: int = 1) -> list[Face]:
    """Find every face in an image, whichever way up; the largest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        describe: Also compute each face's identity descriptor (a tenth of a second).
        effort: What is done where nobody is seen at first. 0: nothing. 1: the image is
            enlarged and turned. 2: a network is asked that knows profiles and tilted
            heads and takes ten times as long; its faces have a score of 0.
    """
    image = np.asarray(image)
    axis = int(image.shape[1] > image.shape[0])
    length, short = image.shape[axis], image.shape[1 - axis]
    if length > 4 * short:
        found = _detect_in_pieces(image, axis, max(short, length // 16), effort)
    else:
        found = _detect_whole(image, effort)
    faces = [
        Face(points, score, descriptor(image, points) if describe else None)
        for points, score in found
    ]
    return sorted(faces, key=lambda face: -face.size)


def _detect_in_pieces(image, axis, step, effort) -> list[tuple[np.ndarray, float]]:
    # Shrunk as a whole, a panorama would lose its faces: they are looked for in pieces
    # that overlap by half, each face in the piece that has most around it.
    found, starts = [], range(0, image.shape[axis] - step, step)
    for tried in sorted({0, effort}):
        for start in () if found else starts:
            low = start + step / 2 if start else -np.inf
            high = start + 1.5 * step if start != starts[-1] else np.inf
            piece = slice(start, start + 2 * step)
            piece = image[:, piece] if axis else image[piece]
            for points, score in _detect_whole(piece, tried):
                points = points + np.float32([start, 0] if axis else [0, start])
                if low <= points[:, 1 - axis].mean() < high:
                    found.append((points, score))
    return found


def _detect_whole(image, effort) -> list[tuple[np.ndarray, float]]:
    # Most frames are upright, and a whole clip of them pays for one detection each.
    seen, others = _detect_upright(image, 640), []
    tries = [(640, 1), (640, -1), (640, 2)]
    if effort and not seen:
        tries = [(1280, 0), *tries]
    # A head upside down has a "face" on its forehead: of all detections there the
    # surest counts, and an unsure upright one only where no other way up shows any.
    if any(score < SURE for _, score in seen) or effort and not seen:
        for longest, turns in tries:
            turned = np.ascontiguousarray(np.rot90(image, turns))
            for points, score in _detect_upright(turned, longest):
                points = _turn_back(points, image.shape, turns)
                (others if turns else seen).append((points, score))
        if not seen and not others and max(image.shape) > 1920:  # small in a large one
            seen = _detect_upright(image, 2560)
    clear = [face for face in (*seen, *others) if face[1] >= LEAST or not others]
    found = []
    for face in sorted(clear, key=lambda face: -face[1]):
        if not any(_overlap(face[0], f[0]) for f in found):
            found.append(face)
    return found or (_detect_turned(image) if effort > 1 else [])


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the middle of either face lies in the other's box."""
    return any(
        np.all((one.min(0) < middle) & (middle < one.max(0)))
        for one, middle in ((a, b.mean(0)), (b, a.mean(0)))
    )


def _detect_upright(image: np.ndarray, longest: int) -> list[tuple[np.ndarray, float]]:
    # The detector finds faces from 80 pixels up, and its time grows with the area.
    scale = min(longest / max(image.shape[:2]), longest / 640)
    if scale * min(image.shape[:2]) < SMALLEST:
        return []
    small = cv2.resize(image, None, fx=scale, fy=scale) if scale != 1 else image
    # Not `resize_points`: with boxes half a pixel off, landmarks tremble a tenth more.
    return [(fit_landmarks(image, *box / scale), s) for box, s in boxes(small, 0.0)]


def boxes(image: np.ndarray, least: float) -> list[tuple[np.ndarray, float]]:
    """((2, 2) float64 corners, score) of the upright faces in sight, surest first."""
    found, scores, _ = _dlib("get_frontal_face_detector").run(image, 0, least)
    return [(_corners(b), float(s)) for b, s in zip(found, scores, strict=True)]


def _detect_turned(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    scale = min(2, 240 / max(image.shape[:2]))  # larger takes seconds
    if scale * min(image.shape[:2]) < SMALLEST:
        return []
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    network = _dlib("cnn_face_detection_model_v1", "mmod_human_face_detector.dat")
    found = []
    for box in (box for box in network(small, 0) if box.confidence > 0.5):
        corners = _corners(box.rect) / scale
        # Its boxes sit a tenth higher than those that the landmarks expect.
        corners[:, 1] += 0.1 * (corners[1, 1] - corners[0, 1])
        found.append((fit_landmarks(image, *corners), 0.0))
    return found


def _corners(box) -> np.ndarray:
    return np.float64([(box.left(), box.top()), (box.right(), box.bottom())])


def fit_landmarks(image: np.ndarray, low, high) -> np.ndarray:
    """(68, 2) float32: the landmarks of a face in a box given by two corners."""
    box = dlib.rectangle(*(int(round(float(v))) for v in (*low, *high)))
    fit = _dlib("shape_predictor", "shape_predictor_68_face_landmarks.dat")
    parts = fit(np.ascontiguousarray(image), box).parts()
    return np.array([(p.x, p.y) for p in parts], np.float32)


def _turn_back(points: np.ndarray, shape: tuple, turns: int) -> np.ndarray:
    """Where points of np.rot90(image, turns) lie in the image itself."""
    for turn in reversed(range(turns % 4)):
        x, y = points.T
        points = np.stack([shape[1 - turn % 2] - 1 - y, x], axis=1)
    return points


def descriptor(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(128,) float32 identity descriptor of the face at (68, 2) landmarks."""
    return describe_chips([chip(image, landmarks)])[0]


def chip(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face as `describe_chips` takes it, (150, 150, 3) uint8 RGB."""
    points = [dlib.point(int(round(x)), int(round(y))) for x, y in landmarks.tolist()]
    shape = dlib.full_object_detection(dlib.rectangle(), points)
    return dlib.get_face_chip(np.ascontiguousarray(image), shape, size=150)


def describe_chips(chips: list[np.ndarray]) -> np.ndarray:
    """(N, 128) float32 identity descriptors of faces cut out by `chip`."""
    file = "dlib_face_recognition_resnet_model_v1.dat"
    model = _dlib("face_recognition_model_v1", file)
    return np.float32(model.compute_face_descriptor(list(chips))).reshape(-1, 128)


def detect_each(
    frames: Iterable, describe: bool = False, workers: int | None = None
) -> Iterator[tuple]:
    """`detect` over frames with an `image`, in order: (frame, list of `Face`).

    Args:
        frames: Such as `video.Frame`; at most `workers.WAITING` bytes are held.
        describe: Also compute identity descriptors.
        workers: Processes; one a core by default. 0 works in this process.
    """
    workers = min(how_many(None), FED) if workers is None else workers
    jobs = ((frame, detect, frame.image, describe) for frame in frames)
    with pool(workers) as crew:
        yield from in_order(crew, workers, jobs)


def sharpness(image: np.ndarray, inside=...) -> float:
    """Variance of the Laplacian of (H, W, 3) uint8, over the (H, W) bool `inside`."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[inside].var())
