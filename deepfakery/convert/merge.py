"""Put painted faces back into their frames: one face, or a stream of frames."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deepfakery import batches
from deepfakery.convert import colour, masks, sharpness
from deepfakery.faces import detect, geometry, people, tracking
from deepfakery.media import images, video
from deepfakery.swapper import FILLED

#: How a painted face is blended in, and what can be said about it otherwise. These
#: win on the built-in people and on studio footage; see notebook 03.
LOOK = {
    "region": "both",  # whose mask: "both", "hull" or "network"
    "erode": 0.0,  # how far it is drawn in, as a share of the crop; below 0: widened
    "feather": 0.06,  # width of its soft edge, likewise
    "forehead": 0.6,  # how far it reaches above the brows, as in `geometry.hull`
    "colour": "skin",  # one of `colour.METHODS`
    # 0 to 1: how far the face goes towards the frame's sharpness; or an `Upscaler`
    # (notebook 06), by which it is enlarged before it is laid into a larger frame
    "sharpen": 0.5,
    "grain": 0.0,  # 0 to 1: how much of the frame's grain it is given
    "scale": 1.0,  # size of the painted face
}


class Layer(NamedTuple):
    """A painted face, ready to be laid over its frame."""

    transform: np.ndarray  # (2, 3), frame pixels → pixels of `rgb`
    rgb: np.ndarray  # (S, S, 3) float32 in [0, 1], its colours smoothed
    alpha: np.ndarray  # (M, M) float32 in [0, 1], where it shows
    colours: np.ndarray  # for `colour.apply`
    detail: np.ndarray  # for `sharpness.sharpen` and `.finish`
    look: dict  # as `LOOK`
    landmarks: np.ndarray  # (68, 2) pixels of the frame


def merge(frame, landmarks, painted, mask, **look) -> np.ndarray:
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


def lay(frame, landmarks, painted, mask, **look) -> Layer:
    """Prepare a painted face for its frame, with arguments as for `merge`.

    Returns:
        A `Layer` for `blend`, its colours and its sharpness matched to this frame.
    """
    if unknown := look.keys() - LOOK.keys():
        raise ValueError(f"There is no {sorted(unknown)}; choose from {list(LOOK)}.")
    look = LOOK | look
    painted = sharpness.smooth_colour(np.float32(painted))
    if upscaler := upscaler_of(look):
        painted, mask = _enlarged(upscaler, landmarks, painted, mask)
        look |= {"sharpen": 0.0}  # done
    elif not isinstance(look["sharpen"], int | float):
        raise ValueError(
            f"sharpen must be 0 to 1 or an Upscaler, not {look['sharpen']!r}."
        )
    size = painted.shape[0]
    transform = geometry.alignment(landmarks, size)
    points = geometry.transform_points(landmarks, transform)
    options = (look[name] for name in ("region", "erode", "feather", "forehead"))
    alpha = masks.soft_mask(points, mask, *options)
    # To paint larger is to read the frame's pixels closer together.
    shrink = 1 / look["scale"]
    transform = transform * np.float32(shrink)
    transform[:, 2] += (size - 1) / 2 * (1 - shrink)  # about the crop's centre
    own = np.float32(geometry.crop(frame, transform, size)) / 255
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
        matched = colour.apply(painted, colours, look["colour"])
        matched, shows = (
            cv2.resize(i[middle], (side, side)) for i in (matched, weight)
        )
        wanted = np.float32(geometry.crop(frame, fine, side)) / 255
        shows = shows * _inside(frame, fine, side)
        detail = sharpness.fit(matched, wanted, shows, bool(look["grain"]))
        detail *= np.float32([look["sharpen"], look["grain"]])
    return Layer(transform, painted, alpha, colours, detail, look, landmarks)


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
        box, inverse, alpha = _placed(frame, layer)
        if not alpha.size:
            continue
        rgb = colour.apply(layer.rgb, layer.colours, layer.look["colour"])
        rgb = (sharpness.sharpen(rgb, layer.detail) * 255).round().astype(np.uint8)
        how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
        face = cv2.warpAffine(rgb, inverse, alpha.shape[::-1], **how)
        face = sharpness.finish(face, layer.detail, seed)
        out[box] = cv2.blendLinear(face, out[box], alpha, 1 - alpha)
    return out


def shown(frame: np.ndarray, layers: Iterable[Layer]) -> np.ndarray:
    """Where faces were painted, (H, W) float32 in [0, 1]."""
    out = np.zeros(frame.shape[:2], np.float32)
    for layer in layers:
        box, _, alpha = _placed(frame, layer)
        out[box] = np.maximum(out[box], alpha)
    return out


def paint_frames(
    source, swapper, identity, *, start=0, steady=True, workers=None, **look
) -> Iterator[tuple[video.Frame, np.ndarray, list[Layer]]]:
    """Paint the faces of a clip or of photos; `export.swap_clip` without the file.

    Args:
        source: What to paint into: a clip, a photo or a folder of photos.
        swapper: A trained `FaceSwapper`, or one of `baselines`.
        identity: Whose decoder paints the largest face of each frame, a string. Or a
            dict, who is painted → (N, 128) descriptors of the person to paint over: any
            number of people, each told by descriptor, and nobody else touched.
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
    found, swapper, identity, *, steady=True, **look
) -> Iterator[tuple[video.Frame, np.ndarray, list[Layer]]]:
    """Paint faces that were found before; `paint_frames` without reading.

    Args:
        found: (frame, list of `detect.Face`), as from `detect.detect_each`.
        swapper, identity, steady, **look: As for `paint_frames`.

    Yields:
        As `paint_frames`.
    """
    linked = tracking.link(found) if steady else _apart(found)
    choose = tracking.largest if isinstance(identity, str) else people.recognised
    chosen = choose(linked, identity)
    made = generated(tracking.steady(chosen) if steady else chosen, swapper)
    laid = (
        (frame, {t: lay(frame.image, *face, **look) for t, face in faces.items()})
        for frame, faces in made
    )
    for frame, layers in _evened(laid) if steady else laid:
        layers = list(layers.values())
        yield frame, blend(frame.image, layers, seed=frame.index), layers


def paint_image(image: np.ndarray, swapper, identity, **look) -> np.ndarray:
    """Paint the faces of one picture; (H, W, 3) uint8 RGB in and out."""
    found = [(video.Frame(0, 0.0, 0, image, None), detect.detect(image))]
    return next(paint_stream(found, swapper, identity, steady=False, **look))[1]


def upscaler_of(look: dict):
    """The upscaler in the blend options, or None."""
    given = look.get("sharpen")
    return given if hasattr(given, "enlarge") else None


def _apart(stream):
    """Number faces so that none has anything to do with one of another photo."""
    numbers = itertools.count()
    for frame, found in stream:
        yield frame, {next(numbers): face for face in found}


def generated(stream: Iterable[tuple], swapper) -> Iterator[tuple]:
    """(frame, {track: `Chosen`}) → (frame, {track: (landmarks, face, its mask)})."""
    size = swapper.size
    # The network likes company: faces are generated a batch at a time.
    while chunk := list(itertools.islice(stream, FILLED)):
        out = [(frame, {}) for frame, _ in chunk]
        jobs = [
            (frame.image, track, chosen, faces)
            for (_, found), (frame, faces) in zip(chunk, out, strict=True)
            for track, chosen in found.items()
        ]
        for identity in dict.fromkeys(chosen.identity for *_, chosen, _ in jobs):
            mine = [job for job in jobs if job[2].identity == identity]
            crops = [
                geometry.crop(image, geometry.alignment(chosen.landmarks, size), size)
                for image, _, chosen, _ in mine
            ]
            made = swapper.swap(batches.prepare(crops, size), identity)
            for (_, track, chosen, faces), *face in zip(mine, *made, strict=True):
                faces[track] = chosen.landmarks, *face
        yield from out


def _enlarged(upscaler, landmarks, painted, mask):
    """A painted face with as many pixels as the frame has for it, and its mask."""
    size = painted.shape[0]
    transform = geometry.alignment(landmarks, size)
    scale = 1 / np.hypot(transform[0, 0], transform[1, 0])  # frame pixels a pixel
    if scale <= 1:
        return painted, mask
    factors = upscaler.factors
    factor = next((k for k in factors if k >= scale), factors[-1])
    mask = cv2.resize(np.float32(mask), (size * factor,) * 2)
    return upscaler.enlarge(painted[None], factor)[0], mask[..., None]


def _evened(stream, reach: int = 4):
    """Colours and sharpness of each face averaged over time, so that none flickers."""
    weights = reach + 1 - np.abs(np.arange(-reach, reach + 1))
    for window in tracking.windows(stream, reach):
        frame, layers = window[reach]
        out = {}
        for track, layer in layers.items():
            near = [
                (item[1][track], weight)
                for item, weight in zip(window, weights, strict=True)
                if item and track in item[1] and not _is_cut(item[1][track], layer)
            ]
            near, shares = zip(*near, strict=True)
            means = {
                name: np.average([getattr(one, name) for one in near], 0, shares)
                for name in ("colours", "detail")
            }
            means = {name: mean.astype(np.float32) for name, mean in means.items()}
            out[track] = layer._replace(**means)
        yield frame, out


def _is_cut(one, other):
    # From colour to black and white nothing is averaged.
    return abs(one.colours - other.colours)[:1].max(initial=0) >= 0.5


def _inside(frame, transform, size):
    """Which pixels of a crop lie in the frame: the others are nobody's colours."""
    ones = np.ones(frame.shape[:2], np.uint8)
    return cv2.warpAffine(ones, transform, (size, size)).astype(np.float32)


def _placed(frame, layer):
    """The frame's part in which a face shows, the way there, and the alpha there.

    A face is a small part of a frame, and only this part is worked on.
    """
    inverse = cv2.invertAffineTransform(layer.transform)
    scale = len(layer.rgb) / len(layer.alpha)
    x, y, width, height = cv2.boundingRect(np.uint8(layer.alpha > 1e-3))
    x, y = (x, x + width - 1), (y, y + height - 1)
    corners = geometry.resize_points(np.float32([*itertools.product(x, y)]), scale)
    corners = geometry.transform_points(corners, inverse)
    ends = frame.shape[1::-1]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, ends)
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, ends)
    inverse[:, 2] -= (x0, y0)
    alpha = np.zeros((y1 - y0, x1 - x0), np.float32)
    if alpha.size:
        finer = geometry.resize_transform(inverse, source=1 / scale)
        cv2.warpAffine(layer.alpha, finer, alpha.shape[::-1], alpha)
    return np.s_[y0:y1, x0:x1], inverse, alpha
