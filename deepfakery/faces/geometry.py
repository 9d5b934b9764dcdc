"""Where a face lies: the average face, alignment, crops, outline, head pose.

Coordinates, (x, y), are array positions, as dlib and OpenCV have them: (0, 0) is the
centre of the first pixel, and a picture of `size` pixels spans -0.5 to `size` - 0.5.
Only `resize_points` and `resize_transform` go from one size to another.

Reference:
    Umeyama 1991, "Least-squares estimation of transformation parameters" (alignment);
    Gower 1975, "Generalized Procrustes analysis" (the average face, flat); Tomasi &
    Kanade 1992, "Shape and motion from image streams under orthography" (the same in
    depth, for the pose). Both averages are of dlib's landmarks over photos of Labeled
    Faces in the Wild and their mirror images.
"""

import cv2
import numpy as np

#: The 51 inner landmarks (brows, nose, eyes, mouth) of the average of 1,582 faces,
#: symmetric, in a unit square that its jaw spans from side to side.
# fmt: off
MEAN_FACE = np.array([
    (0.101, 0.137), (0.160, 0.079), (0.246, 0.059), (0.337, 0.069), (0.421, 0.102),
    (0.579, 0.102), (0.663, 0.069), (0.754, 0.059), (0.840, 0.079), (0.899, 0.137),
    (0.500, 0.201), (0.500, 0.283), (0.500, 0.366), (0.500, 0.451), (0.400, 0.514),
    (0.448, 0.533), (0.500, 0.548), (0.552, 0.533), (0.600, 0.514), (0.202, 0.221),
    (0.254, 0.191), (0.316, 0.191), (0.371, 0.228), (0.313, 0.239), (0.252, 0.240),
    (0.629, 0.228), (0.684, 0.191), (0.746, 0.191), (0.798, 0.221), (0.748, 0.240),
    (0.687, 0.239), (0.303, 0.687), (0.374, 0.650), (0.447, 0.634), (0.500, 0.646),
    (0.553, 0.634), (0.626, 0.650), (0.697, 0.687), (0.629, 0.757), (0.557, 0.787),
    (0.500, 0.793), (0.443, 0.787), (0.371, 0.757), (0.334, 0.690), (0.446, 0.675),
    (0.500, 0.680), (0.554, 0.675), (0.666, 0.690), (0.555, 0.725), (0.500, 0.731),
    (0.445, 0.725),
], np.float32)
# fmt: on

#: Landmarks that expressions hardly move: nose, eye corners.
POSE_INDEX = (*range(27, 37), 39, 42, 45)

#: Where they lie on a rigid head: x right, y down, z away from the viewer, hundredths
#: of the distance between the outer eye corners. Depth is taken one and a half times:
#: fitted landmarks look flat, and the known pitch and yaw would be read too small.
# fmt: off
POSE_POINTS = np.array([
    (0, -41.1, 13.2), (0, -27.6, 9), (0, -14, 4.4), (0, 0, 0), (-16.7, 8.7, 17.7),
    (-8.7, 11.9, 15), (0, 14.4, 13.2), (8.7, 11.9, 15), (16.7, 8.7, 17.7),
    (-50, -39.2, 31.5), (-21.7, -37.8, 27.2), (21.7, -37.8, 27.2), (50, -39.2, 31.5),
], np.float64)
# fmt: on

#: Side in pixels of the aligned faces that a face folder holds.
FACE_SIZE = 256
#: Share of the aligned crop's side that an average face's width fills.
COVERAGE = 0.72
#: Version of the alignment, written down with every aligned face.
GEOMETRY = 2


def resize_points(points: np.ndarray, factor: float) -> np.ndarray:
    """Where points of a picture lie once it is resized by `factor`."""
    return (np.asarray(points) + 0.5) * factor - 0.5


def resize_transform(
    transform: np.ndarray, source: float = 1, target: float = 1
) -> np.ndarray:
    """(2, 3) float64: a transform of source to target, once either is resized."""
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
    source, target = landmarks[17:].astype(np.float64), mean_landmarks(size)
    source_mean, target_mean = source.mean(0), target.mean(0)
    # Umeyama's closed form; in two dimensions it is one complex division.
    s, t = (source - source_mean) @ [1, 1j], (target - target_mean) @ [1, 1j]
    a = (np.conj(s) @ t) / (np.abs(s) ** 2).sum()
    rotation = np.array([[a.real, -a.imag], [a.imag, a.real]])
    shift = target_mean - rotation @ source_mean
    return np.column_stack([rotation, shift]).astype(np.float32)


def crop(image: np.ndarray, transform: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """(size, size, 3) uint8 RGB: an aligned face, cut out of an image.

    Args:
        image: (H, W, 3) uint8 RGB; its edge pixels are repeated beyond it.
        transform: (2, 3) from `alignment` with the same size.
        size: Side of the crop in pixels.
    """
    transform = np.array(transform, np.float64)
    scale = np.hypot(transform[0, 0], transform[1, 0])
    # Made smaller by means over pixels, so that none is skipped; the most of it first,
    # for speed.
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
    return cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA)


def transform_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Apply a (2, 3) transform to (N, 2) points."""
    return (points @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def hull(landmarks, forehead: float = 0.3, temples: float = 0.0) -> np.ndarray:
    """The outline of a face: its landmarks' convex hull, raised over the forehead.

    Args:
        landmarks: (68, 2).
        forehead: How far above the brows it reaches, as a share of the distance from
            brows to nose tip.
        temples: How far it is widened beside the eyes, as a share of the face's width.

    Returns:
        (N, 2) float32 polygon in the landmarks' coordinates.
    """
    up = landmarks[27] - landmarks[33]  # along the nose, whichever way the head rolls
    up = up / max(np.linalg.norm(up), 1e-6)
    brows = landmarks[17:27]
    height = np.linalg.norm(brows.mean(0) - landmarks[33])
    added = [brows[1:-1] + forehead * height * up]
    if temples:
        across = temples * (landmarks[16] - landmarks[0])
        rise = height / 4 * up
        for ends, way in ((landmarks[[0, 1]], -across), (landmarks[[16, 15]], across)):
            added.append(ends + way + [rise, 0 * rise])
    return cv2.convexHull(np.float32(np.concatenate([landmarks, *added])))[:, 0]


def hull_mask(landmarks, size: int, forehead=0.3, temples=0.0) -> np.ndarray:
    """`hull` filled, with soft edges: (size, size) float32 in [0, 1]."""
    return fill(hull(landmarks, forehead, temples), size)


def fill(outline, size: int) -> np.ndarray:
    """A polygon in pixels of a picture, filled: (size, size) float32 in [0, 1]."""
    mask = np.zeros((size, size), np.uint8)
    points = (np.asarray(outline) * 16).round().astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, shift=4)
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
    (width, height), focal = image_size, max(image_size)
    x, y = (width - 1) / 2, (height - 1) / 2
    camera = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    points, how = np.float64(landmarks[list(POSE_INDEX)]), cv2.SOLVEPNP_SQPNP
    _, rotation, _ = cv2.solvePnP(POSE_POINTS, points, camera, None, flags=how)
    matrix, _ = cv2.Rodrigues(rotation)
    # matrix = Rz(roll) Ry(yaw) Rx(pitch), in image axes (x right, y down, z away).
    yaw = -np.arcsin(np.clip(-matrix[2, 0], -1, 1))
    pitch = -np.arctan2(matrix[2, 1], matrix[2, 2])
    roll = np.arctan2(matrix[1, 0], matrix[0, 0])
    return np.degrees([yaw, pitch, roll]).astype(np.float32)
