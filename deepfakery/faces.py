"""Find faces, read their landmarks, align them, and tell who they are.

Everything here is dlib and OpenCV; no network of ours is involved, so the identity
descriptor can judge what our networks paint.

Coordinates, (x, y), are array positions, as dlib and OpenCV have them: (0, 0) is the
centre of the first pixel, which lies half a pixel inside the picture. So a picture of
`size` pixels spans -0.5 to `size` - 0.5, and what lies at share u of its side has the
coordinate u·size - 0.5. `resize_points` and `resize_transform` go from one size to
another; nothing else does.

Reference:
    Kazemi & Sullivan 2014, "One Millisecond Face Alignment with an Ensemble of
    Regression Trees" (the landmarks); Umeyama 1991, "Least-squares estimation of
    transformation parameters" (the alignment); dlib's `dlib_face_recognition_resnet_
    model_v1` (the descriptor); King 2015, "Max-Margin Object Detection" (both
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

from deepfakery.heads import MEAN_FACE, POSE_INDEX, POSE_POINTS
from deepfakery.workers import FED, how_many, in_order, pool

#: Two descriptors closer than this are the same person (dlib's own operating point).
SAME_PERSON = 0.6

#: Score of a face that no other way up needs comparing with, for a forehead upside down
#: can have 0.7; and the least that is sure of which way up it is.
SURE, LEAST = 1.0, 0.3

#: Smaller pictures hold no face that could be found; pixels.
SMALLEST = 40

#: Side in pixels of the aligned faces that a face folder holds.
FACE_SIZE = 256

#: Share of the aligned crop's side that an average face's width fills. One constant
#: for extraction, training and merge: where they differ, pasted faces change size.
COVERAGE = 0.72

#: Version of the alignment, written down with every aligned face. Since 2, a feature at
#: share u of the side lies at u·size - 0.5, at every size.
GEOMETRY = 2


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


def resize_points(points: np.ndarray, factor: float) -> np.ndarray:
    """Where points of a picture lie once it is resized by `factor`."""
    return (np.asarray(points) + 0.5) * factor - 0.5


def resize_transform(
    transform: np.ndarray, source: float = 1, target: float = 1
) -> np.ndarray:
    """A transform between two pictures, once either is resized.

    Args:
        transform: (2, 3), pixels of a source picture → pixels of a target picture.
        source: The factor by which the source picture is resized.
        target: The factor by which the target picture is resized.

    Returns:
        (2, 3) float64.
    """
    out = np.array(transform, np.float64)
    out[:, 2] += out[:, :2].sum(1) * (0.5 / source - 0.5)
    out[:, :2] /= source
    out *= target
    out[:, 2] += 0.5 * target - 0.5
    return out


def mean_landmarks(size: int = FACE_SIZE) -> np.ndarray:
    """(51, 2) float64: where the average face's inner landmarks lie in a crop."""
    return resize_points((MEAN_FACE.astype(np.float64) - 0.5) * COVERAGE, size)


def alignment(landmarks: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """The similarity transform that puts a face upright into a square crop.

    Args:
        landmarks: (68, 2) pixels of the source image.
        size: Side of the crop in pixels.

    Returns:
        (2, 3) float32, source pixels → crop pixels.
    """
    source = landmarks[17:].astype(np.float64)
    target = mean_landmarks(size)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source, target = source - source_mean, target - target_mean
    # Umeyama's closed form; in two dimensions it is one complex division.
    s, t = source @ [1, 1j], target @ [1, 1j]
    a = (np.conj(s) @ t) / (np.abs(s) ** 2).sum()
    rotation = np.array([[a.real, -a.imag], [a.imag, a.real]])
    shift = target_mean - rotation @ source_mean
    return np.column_stack([rotation, shift]).astype(np.float32)


def crop(image: np.ndarray, transform: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """Cut an aligned face out of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        transform: (2, 3) from `alignment` with the same size.
        size: Side of the crop in pixels.

    Returns:
        (size, size, 3) uint8 RGB; edge pixels are repeated beyond the image.
    """
    transform = np.array(transform, np.float64)
    scale = np.hypot(transform[0, 0], transform[1, 0])
    # Made smaller by means over pixels: else some would be skipped, and a face cropped
    # small would differ from one made small. The most of it first, for speed.
    step = max(1, int(0.34 / scale))
    if step > 1:
        corners = np.array([(0, 0), (size, 0), (size, size), (0, size)]) - 0.5
        corners = transform_points(corners, cv2.invertAffineTransform(transform))
        ends = np.array(image.shape[1::-1])
        low = np.clip(np.int64(corners.min(0)) - 2 * step, 0, ends - 1)
        high = np.clip(np.int64(corners.max(0)) + 2 * step, low + 1, ends)
        image = image[low[1] : high[1], low[0] : high[0]]
        right, bottom = (low - high) % step
        if right or bottom:  # only whole steps keep every pixel's place
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        small = image.shape[1] // step, image.shape[0] // step
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        transform[:, 2] += transform[:, :2] @ low
        transform, scale = resize_transform(transform, source=1 / step), scale * step
    finer = max(1, round(1 / scale))
    out = cv2.warpAffine(
        image,
        resize_transform(transform, target=finer),
        (size * finer, size * finer),
        flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if finer > 1:
        out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA)
    return out


def transform_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Apply a (2, 3) transform to (N, 2) points."""
    return (points @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def hull(landmarks: np.ndarray, forehead: float = 0.3) -> np.ndarray:
    """The outline of a face: its landmarks' convex hull, raised over the forehead.

    Args:
        landmarks: (68, 2).
        forehead: How far above the brows it reaches, as a share of the distance from
            brows to nose tip.

    Returns:
        (N, 2) float32 polygon in the landmarks' coordinates.
    """
    up = landmarks[27] - landmarks[33]  # along the nose, whichever way the head rolls
    up = up / max(np.linalg.norm(up), 1e-6)
    brows = landmarks[17:27]
    height = np.linalg.norm(brows.mean(0) - landmarks[33])
    raised = brows[1:-1] + forehead * height * up
    return cv2.convexHull(np.float32(np.concatenate([landmarks, raised])))[:, 0]


def hull_mask(landmarks: np.ndarray, size: int, forehead: float = 0.3) -> np.ndarray:
    """Which pixels of a square picture the face covers, with soft edges.

    Args:
        landmarks: (68, 2) pixels of the picture.
        size: Side of the picture in pixels.
        forehead: As in `hull`.

    Returns:
        (size, size) float32 in [0, 1].
    """
    # OpenCV draws soft edges on uint8 alone; a sixteenth of a pixel is fine enough.
    mask = np.zeros((size, size), np.uint8)
    outline = (hull(landmarks, forehead) * 16).round().astype(np.int32)
    cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def pose(landmarks: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Head pose from landmarks, by fitting a rigid 3-D face.

    Args:
        landmarks: (68, 2) pixels.
        image_size: (width, height) of the image, for a pinhole camera whose focal
            length is the longer side.

    Returns:
        (3,) yaw, pitch, roll in degrees. Yaw is positive to the image's right, pitch
        positive upwards, roll positive clockwise as seen.
    """
    width, height = image_size
    focal = max(image_size)
    x, y = (width - 1) / 2, (height - 1) / 2
    camera = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    _, rotation, _ = cv2.solvePnP(
        POSE_POINTS,
        landmarks[list(POSE_INDEX)].astype(np.float64),
        camera,
        None,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    matrix, _ = cv2.Rodrigues(rotation)
    # matrix = Rz(roll) Ry(yaw) Rx(pitch), in image axes (x right, y down, z away).
    yaw = -np.arcsin(np.clip(-matrix[2, 0], -1, 1))
    pitch = -np.arctan2(matrix[2, 1], matrix[2, 2])
    roll = np.arctan2(matrix[1, 0], matrix[0, 0])
    return np.degrees([yaw, pitch, roll]).astype(np.float32)


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of an (H, W, 3) uint8 image; higher is sharper."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
