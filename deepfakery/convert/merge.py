"""Put painted faces back into their frames: one face, or a stream of frames."""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from deepfakery import batches
from deepfakery.convert import colour, masks, sharpness
from deepfakery.faces import detect, geometry, people, tracking
from deepfakery.media import images, video

#: How a painted face is blended in, and what can be said about it otherwise. These
#: win on the built-in people and on studio footage; see notebook 03.
LOOK = {
    "region": "both",  # whose mask: "both", "hull" or "network"
    "erode": 0.04,  # how far it is drawn in, as a share of the crop's side; may be < 0
    "feather": 0.08,  # width of its soft edge, likewise
    "forehead": 0.3,  # how far it reaches above the brows, as in `geometry.hull`
    "colour": "reinhard",  # "none", "reinhard", "linear", "histogram" or "poisson"
    # 0 to 1: how far the face goes towards the frame's sharpness; or an `Upscaler`
    # (notebook 06), by which it is enlarged before it is laid into a larger frame
    "sharpen": 0.0,
    "grain": 0.0,  # 0 to 1: how much of the frame's grain it is given
    "scale": 1.0,  # size of the painted face
}


@dataclass(frozen=True)
class Layer:
    """A painted face, ready to be laid over its frame.

    Attributes:
        transform: (2, 3), frame pixels → pixels of `rgb`.
        rgb: (S, S, 3) float32 in [0, 1], as it was painted.
        alpha: (M, M) float32 in [0, 1], where it shows.
        colours: What `colour.apply` is to do.
        detail: What `sharpness.sharpen` and `.finish` are to do.
        look: As `LOOK`.
    """

    transform: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray
    colours: np.ndarray
    detail: np.ndarray
    look: dict


def merge(
    frame: np.ndarray,
    landmarks: np.ndarray,
    painted: np.ndarray,
    mask: np.ndarray,
    **look,
) -> np.ndarray:
    """Blend one painted face into a frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels of the frame's face.
        painted: (S, S, 3) float32 in [0, 1], aligned as `geometry.alignment` does.
        mask: (S, S, 1) float32 in [0, 1], the network's own mask.
        **look: What is to differ from `LOOK`.

    Returns:
        (H, W, 3) uint8 RGB; pixels outside the mask are the frame's own.

    Raises:
        ValueError: `look` asks for what there is not.
    """
    return blend(frame, [lay(frame, landmarks, painted, mask, **look)])


def lay(frame, landmarks, painted, mask, own=None, **look) -> Layer:
    """Prepare a painted face for its frame.

    Args:
        frame, landmarks, painted, mask, **look: As for `merge`.
        own: (S, S, 3) uint8, the frame's own face as aligned, where it is at hand.

    Returns:
        A `Layer` for `blend`, its colours and its sharpness matched to this frame.
    """
    if unknown := look.keys() - LOOK.keys():
        raise ValueError(f"There is no {sorted(unknown)}; choose from {list(LOOK)}.")
    look = LOOK | look
    if upscaler := upscaler_of(look):
        painted, mask, own = _enlarged(upscaler, landmarks, painted, mask, own)
        look |= {"sharpen": 0.0}  # done
    elif not isinstance(look["sharpen"], int | float):
        raise ValueError(
            f"sharpen must be 0 to 1 or an Upscaler, not {look['sharpen']!r}."
        )
    size = painted.shape[0]
    transform = geometry.alignment(landmarks, size)
    points = geometry.transform_points(landmarks, transform)
    alpha = masks.soft_mask(
        points, mask, look["region"], look["erode"], look["feather"], look["forehead"]
    )
    # To paint larger is to read the frame's pixels closer together.
    shrink = 1 / look["scale"]
    transform = transform * np.float32(shrink)
    transform[:, 2] += (size - 1) / 2 * (1 - shrink)  # about the crop's centre
    if own is None or shrink != 1:
        own = geometry.crop(frame, transform, size)
    own = own.astype(np.float32) / 255
    weight = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    weight *= _inside(frame, transform, size)
    colours = colour.fit(painted, own, weight, look["colour"])
    detail = np.zeros(2, np.float32)
    if look["sharpen"] or look["grain"]:
        # The middle of the face, from brows to mouth, at the frame's own resolution.
        scale = np.clip(1 / np.hypot(transform[0, 0], transform[1, 0]), 0.5, 256 / size)
        side, quarter = round(size / 2 * scale), size // 4
        middle = np.s_[quarter:-quarter, quarter:-quarter]
        fine = transform - np.float32([[0, 0, quarter], [0, 0, quarter]])
        fine = geometry.resize_transform(fine, target=side / (size - 2 * quarter))
        detail = sharpness.fit(
            cv2.resize(
                colour.apply(painted, colours, look["colour"])[middle], (side, side)
            ),
            geometry.crop(frame, fine, side).astype(np.float32) / 255,
            cv2.resize(weight[middle], (side, side)) * _inside(frame, fine, side),
        )
        detail *= np.float32([look["sharpen"], look["grain"]])
    return Layer(transform, painted, alpha, colours, detail, look)


def blend(frame: np.ndarray, layers: Iterable[Layer], seed: int = 0) -> np.ndarray:
    """Lay painted faces over a frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        layers: As from `lay`.
        seed: Of the grain, which changes from frame to frame.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = frame.copy()
    for layer in layers:
        box, inverse, shape = _box(frame, layer)
        if not all(shape):
            continue
        rgb = colour.apply(layer.rgb, layer.colours, layer.look["colour"])
        rgb = sharpness.sharpen(rgb, layer.detail)
        face = cv2.warpAffine(
            (rgb * 255).round().astype(np.uint8),
            inverse,
            shape,
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        face = sharpness.finish(face, layer.detail, seed)
        alpha = _alpha(layer, inverse, shape)
        out[box] = cv2.blendLinear(face, out[box], alpha, 1 - alpha)
    return out


def shown(frame: np.ndarray, layers: Iterable[Layer]) -> np.ndarray:
    """Where faces were painted, (H, W) float32 in [0, 1]."""
    out = np.zeros(frame.shape[:2], np.float32)
    for layer in layers:
        box, inverse, shape = _box(frame, layer)
        if all(shape):
            out[box] = np.maximum(out[box], _alpha(layer, inverse, shape))
    return out


def paint_frames(
    source: str | os.PathLike,
    swapper,
    identity: str | dict,
    *,
    start: int = 0,
    steady: bool = True,
    workers: int | None = None,
    **look,
) -> Iterator[tuple[video.Frame, np.ndarray, list[Layer]]]:
    """Paint the faces of a clip or of photos; `export.swap_clip` without the file.

    Args:
        source: What to paint into: a clip, a photo or a folder of photos.
        swapper: A trained `FaceSwapper`, or one of `baselines`.
        identity: Whose decoder paints the largest face of each frame. Or a dict, who
            is painted → (N, 128) descriptors of the person to paint over: any number
            of people, each told by descriptor, and nobody else touched.
        start: The first frame wanted.
        steady: Smooth landmarks and colours over the frames of a clip.
        workers: Processes that look for faces in photos, one a core by default; a clip
            has one. 0 looks in this process.
        **look: What is to differ from `LOOK`.

    Yields:
        (the source's own frame, (H, W, 3) uint8 RGB, what was painted into it).
    """
    first = max(0, start - 16)  # what the smoothing of the first frame looks back on
    if Path(source).is_dir() or images.is_image(source):
        frames = images.read_source(source, first)
        found = detect.detect_each(frames, workers=workers)
    else:
        found = tracking.follow_clip(source, first, workers)
    stream = paint_stream(found, swapper, identity, steady=steady, **look)
    return (painted for painted in stream if painted[0].index >= start)


def paint_stream(
    found: Iterable[tuple], swapper, identity, *, steady: bool = True, **look
) -> Iterator[tuple[video.Frame, np.ndarray, list[Layer]]]:
    """Paint faces that were found before; `paint_frames` without reading.

    Args:
        found: (frame, list of `detect.Face`), as from `detect.detect_each`.
        swapper, identity, steady, **look: As for `paint_frames`.

    Yields:
        As `paint_frames`.
    """
    linked = tracking.link(found) if steady else _apart(found)
    if isinstance(identity, str):
        chosen = tracking.largest(linked, identity)
    else:
        chosen = people.recognised(linked, identity)
    if steady:
        laid = _evened(_painted(tracking.steady(chosen), swapper, look))
    else:
        laid = _painted(chosen, swapper, look)
    for frame, layers in laid:
        layers = list(layers.values())
        yield frame, blend(frame.image, layers, seed=frame.index), layers


def paint_image(image: np.ndarray, swapper, identity, **look) -> np.ndarray:
    """Paint the faces of one picture; (H, W, 3) uint8 RGB in and out."""
    frame = video.Frame(0, 0.0, 0, image, None)
    found = [(frame, detect.detect(image))]
    return next(paint_stream(found, swapper, identity, steady=False, **look))[1]


def _apart(stream):
    """Number faces so that none has anything to do with one of another photo."""
    numbers = itertools.count()
    for frame, found in stream:
        yield frame, {next(numbers): face for face in found}


def _painted(stream, swapper, look):
    """(frame, {track: Chosen}) → (frame, {track: Layer})."""
    size = swapper.size
    # The network likes company: faces are painted a batch at a time.
    while chunk := list(itertools.islice(stream, 16)):
        jobs = [
            (i, track, chosen)
            for i, (_, faces_) in enumerate(chunk)
            for track, chosen in faces_.items()
        ]
        layers = [{} for _ in chunk]
        for identity in dict.fromkeys(chosen.identity for _, _, chosen in jobs):
            mine = [job for job in jobs if job[2].identity == identity]
            crops = [
                geometry.crop(
                    chunk[i][0].image, geometry.alignment(chosen.landmarks, size), size
                )
                for i, _, chosen in mine
            ]
            painted = swapper.swap(batches.prepare(crops, size), identity)
            for (i, track, chosen), own, *face in zip(
                mine, crops, *painted, strict=True
            ):
                image, landmarks = chunk[i][0].image, chosen.landmarks
                layers[i][track] = lay(image, landmarks, *face, own, **look)
        yield from (
            (frame, mine) for (frame, _), mine in zip(chunk, layers, strict=True)
        )


def upscaler_of(look: dict):
    """The upscaler in the blend options, or None."""
    given = look.get("sharpen")
    return given if hasattr(given, "enlarge") else None


def _enlarged(upscaler, landmarks, painted, mask, own):
    """A painted face with as many pixels as the frame has for it, and its mask."""
    size = painted.shape[0]
    transform = geometry.alignment(landmarks, size)
    scale = 1 / np.hypot(transform[0, 0], transform[1, 0])  # frame pixels a pixel
    if scale <= 1:
        return painted, mask, own
    enough = [k for k in upscaler.factors if k >= scale]
    factor = enough[0] if enough else upscaler.factors[-1]
    side = (size * factor,) * 2
    mask = cv2.resize(np.float32(mask), side, interpolation=cv2.INTER_LINEAR)
    return upscaler.enlarge(painted[None], factor)[0], mask[..., None], None


def _evened(stream, reach: int = 4):
    """Colours and sharpness of each face averaged over time, so that none flickers."""
    weights = reach + 1 - np.abs(np.arange(-reach, reach + 1))
    for window in tracking.windows(stream, reach):
        frame, layers = window[reach]
        out = {}
        for track, layer in layers.items():
            course = [
                (weight, item[1][track])
                for weight, item in zip(weights, window, strict=True)
                if item
                and track in item[1]
                # Across a cut from colour to black and white nothing is averaged.
                and abs(item[1][track].colours - layer.colours)[:1].max(initial=0) < 0.5
            ]
            shares = [weight for weight, _ in course]
            averages = {
                name: np.average([getattr(one, name) for _, one in course], 0, shares)
                for name in ("colours", "detail")
            }
            averages = {n: a.astype(np.float32) for n, a in averages.items()}
            out[track] = replace(layer, **averages)
        yield frame, out


def _inside(frame, transform, size):
    """Which pixels of a crop lie in the frame: the others are nobody's colours."""
    height, width = frame.shape[:2]
    corners = np.float32([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5
    corners = geometry.transform_points(corners, cv2.invertAffineTransform(transform))
    if corners.min() >= 0 and (corners.max(0) <= (width - 1, height - 1)).all():
        return np.float32(1)
    ones = np.ones((height, width), np.uint8)
    return cv2.warpAffine(ones, transform, (size, size)).astype(np.float32)


def _box(frame, layer):
    """The frame's part in which a face shows, the way there, and its (width, height).

    A face is a small part of a frame, and only this part is worked on.
    """
    inverse = cv2.invertAffineTransform(layer.transform)
    columns, rows = (np.flatnonzero(layer.alpha.max(i) > 1e-3) for i in (0, 1))
    if not len(rows):
        return (slice(0, 0), slice(0, 0)), inverse, (0, 0)
    scale = len(layer.rgb) / len(layer.alpha)
    ends = np.float32([columns[0], columns[-1], rows[0], rows[-1]])
    x0, x1, y0, y1 = geometry.resize_points(ends, scale)
    corners = np.float32([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    corners = geometry.transform_points(corners, inverse)
    height, width = frame.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, (width, height))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, (width, height))
    inverse[:, 2] -= (x0, y0)
    return (slice(y0, y1), slice(x0, x1)), inverse, (int(x1 - x0), int(y1 - y0))


def _alpha(layer, inverse, shape):
    finer = geometry.resize_transform(inverse, source=len(layer.alpha) / len(layer.rgb))
    return cv2.warpAffine(layer.alpha, finer, shape, flags=cv2.INTER_LINEAR)
