"""Find faces, fit landmarks to them, and compute identity descriptors.

Everything here is dlib and OpenCV; no network of ours is involved, so the identity
descriptor can judge what our networks paint.

Reference:
    Kazemi & Sullivan 2014, "One Millisecond Face Alignment with an Ensemble of
    Regression Trees" (the landmarks); dlib's `dlib_face_recognition_resnet_model_v1`
    (the descriptor); King 2015, "Max-Margin Object Detection" (both
    detectors, over gradients and over a network's features). The landmark model was
    trained on iBUG 300-W, which excludes commercial use.
"""

import importlib.util
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np

from deepfakery.media.workers import FED, how_many, in_order, pool

#: Two descriptors closer than this are the same person (dlib's own operating point).
SAME_PERSON = 0.6

#: Score of a face that no other way up needs comparing with, for a forehead upside down
#: can have 0.7; and the least that is sure of which way up it is.
SURE, LEAST = 1.0, 0.3

#: Smaller pictures hold no face that could be found; pixels.
SMALLEST = 40


@dataclass(frozen=True)
class Face:
    """One face found in an image.

    Attributes:
        landmarks: (68, 2) float32, (x, y) in pixels of the image.
        score: The detector's confidence; about 1 to 3 for a frontal face, 0 or less
            where others had to help (see `detect` and `search.follow`).
        descriptor: (128,) float32 identity descriptor, or None if not asked for.
    """

    landmarks: np.ndarray
    score: float
    descriptor: np.ndarray | None = None

    @property
    def size(self) -> float:
        """Side of the box around the landmarks, in pixels."""
        return float(np.ptp(self.landmarks, axis=0).max())


@cache
def _dlib(name: str):
    spec = importlib.util.find_spec("face_recognition_models")
    # Its files are read without importing it: the import needs `pkg_resources`,
    # which new versions of setuptools no longer bring.
    models = Path(spec.submodule_search_locations[0]) / "models"
    if name == "detector":
        return dlib.get_frontal_face_detector()
    if name == "landmarks":
        return dlib.shape_predictor(
            str(models / "shape_predictor_68_face_landmarks.dat")
        )
    if name == "network":
        return dlib.cnn_face_detection_model_v1(
            str(models / "mmod_human_face_detector.dat")
        )
    return dlib.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )


def detect(image: np.ndarray, describe: bool = False, effort: int = 1) -> list[Face]:
    """Find every face in an image, whichever way up.

    Args:
        image: (H, W, 3) uint8 RGB.
        describe: Also compute each face's identity descriptor (a tenth of a second).
        effort: What is done where nobody is seen at first. 0: nothing. 1: the image is
            enlarged and turned. 2: a network is asked that knows profiles and tilted
            heads and takes ten times as long; its faces have a score of 0.

    Returns:
        Faces, largest first; an empty list where there is none.
    """
    image = np.asarray(image)
    along = int(image.shape[1] > image.shape[0])
    length, short = image.shape[along], image.shape[1 - along]
    if length <= 4 * short:
        return _detect_whole(image, describe, effort)
    # Shrunk as a whole, a panorama would lose its faces: they are looked for in pieces
    # that overlap by half, each face in the piece that has most around it.
    step, faces = max(short, length // 16), []
    starts = range(0, length - step, step)
    for tried, start in itertools.product(sorted({0, effort}), starts):
        if tried and faces and start == 0:
            break
        piece = image[:, start:][:, : 2 * step] if along else image[start:][: 2 * step]
        low = start + step / 2 if start else -np.inf
        high = start + 1.5 * step if start != starts[-1] else np.inf
        for face in _detect_whole(piece, describe, tried):
            landmarks = face.landmarks + np.float32([(start, 0), (0, start)][1 - along])
            if low <= landmarks[:, 1 - along].mean() < high:
                faces.append(replace(face, landmarks=landmarks))
    return sorted(faces, key=lambda face: -face.size)


def _detect_whole(image, describe, effort) -> list[Face]:
    # Most frames are upright, and a whole clip of them pays for one look each.
    seen = _detect_upright(image, 640)
    looks = [(640, 1), (640, -1), (640, 2)]
    if effort and not seen:
        looks = [(1280, 0), *looks]
    # A head upside down has a "face" on its forehead: of all looks the surest counts,
    # and an unsure upright one only where no other way up shows any.
    others = []
    if any(score < SURE for _, score in seen) or effort and not seen:
        for longest, turns in looks:
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
    if not found and effort > 1:
        found = _detect_turned(image)
    faces = [
        Face(points, score, descriptor(image, points) if describe else None)
        for points, score in found
    ]
    return sorted(faces, key=lambda face: -face.size)


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
    boxes, scores, _ = _dlib("detector").run(small, 0, 0.0)
    return [
        # A box is no picture: half a pixel of `resize_points` fewer, and the landmarks,
        # which were trained on dlib's boxes, tremble by a tenth more.
        (fit_landmarks(image, *_corners(box) / scale), float(score))
        for box, score in zip(boxes, scores, strict=True)
    ]


def _detect_turned(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    scale = min(2, 240 / max(image.shape[:2]))  # larger takes seconds
    if scale * min(image.shape[:2]) < SMALLEST:
        return []
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = []
    for box in _dlib("network")(small, 0):
        if box.confidence > 0.5:
            corners = _corners(box.rect) / scale
            # Its boxes sit a tenth higher than those that the landmarks expect.
            corners[:, 1] += 0.1 * (corners[1, 1] - corners[0, 1])
            found.append((fit_landmarks(image, *corners), 0.0))
    return found


def _corners(box) -> np.ndarray:
    return np.float64([(box.left(), box.top()), (box.right(), box.bottom())])


def fit_landmarks(image: np.ndarray, low, high) -> np.ndarray:
    """The landmarks of a face whose box is known.

    Args:
        image: (H, W, 3) uint8 RGB.
        low, high: (x, y) pixels of the box's corners, top left and bottom right.

    Returns:
        (68, 2) float32 pixels.
    """
    box = dlib.rectangle(*(int(round(float(v))) for v in (*low, *high)))
    parts = _dlib("landmarks")(np.ascontiguousarray(image), box).parts()
    return np.array([(p.x, p.y) for p in parts], np.float32)


def _turn_back(points: np.ndarray, shape: tuple, turns: int) -> np.ndarray:
    # Where points of np.rot90(image, turns) lie in the image itself.
    height, width = shape[:2]
    x, y = points.T
    if turns == 1:
        x, y = width - 1 - y, x
    elif turns == -1:
        x, y = y, height - 1 - x
    elif turns == 2:
        x, y = width - 1 - x, height - 1 - y
    return np.stack([x, y], axis=1)


def descriptor(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The identity descriptor of one face.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels.

    Returns:
        (128,) float32. The Euclidean distance of two is under `SAME_PERSON` where
        dlib takes them for the same person.
    """
    described = _dlib("descriptor").compute_face_descriptor(*shape_of(image, landmarks))
    return np.array(described, np.float32)


def describe_chips(chips: list[np.ndarray]) -> np.ndarray:
    """`descriptor` for faces that `dlib.get_face_chip` has cut out, several at once.

    Args:
        chips: (150, 150, 3) uint8 RGB each.

    Returns:
        (N, 128) float32.
    """
    described = _dlib("descriptor").compute_face_descriptor(list(chips))
    return np.float32(described).reshape(-1, 128)


def shape_of(image: np.ndarray, landmarks: np.ndarray) -> tuple:
    """An image and landmarks as dlib's own functions take them."""
    points = [dlib.point(int(round(x)), int(round(y))) for x, y in landmarks.tolist()]
    low, high = landmarks.min(0), landmarks.max(0)
    box = dlib.rectangle(*(int(v) for v in (*low, *high)))
    return np.ascontiguousarray(image), dlib.full_object_detection(box, points)


def detect_each(
    frames: Iterable, describe: bool = False, workers: int | None = None
) -> Iterator[tuple]:
    """`detect` over a stream of frames, on every core, in order.

    Args:
        frames: Objects with an `image`, such as `video.Frame`.
        describe: Also compute identity descriptors.
        workers: Processes; one a core by default. 0 works in this process.

    Yields:
        (frame, list of `Face`). At most `workers.WAITING` bytes of frames, two a
        worker, are held in memory.
    """
    workers = min(how_many(None), FED) if workers is None else workers
    jobs = ((frame, detect, frame.image, describe) for frame in frames)
    with pool(workers) as crew:
        yield from in_order(crew, workers, jobs)


def sharpness(image: np.ndarray, inside=...) -> float:
    """Variance of the Laplacian of an (H, W, 3) uint8 image; higher is sharper.

    `inside`: (H, W) bool, which pixels count; all by default.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[inside].var())
