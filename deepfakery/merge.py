"""Put painted faces back into their frames: one face, or a whole clip."""

import collections
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from deepfakery import batches, faces, images, provenance, video


def merge(
    frame: np.ndarray,
    landmarks: np.ndarray,
    painted: np.ndarray,
    mask: np.ndarray,
    *,
    erode: float = 0.0,
    feather: float = 0.03,
    colour: bool = True,
) -> np.ndarray:
    """Blend one painted face into a frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels of the frame's face.
        painted: (S, S, 3) float32 in [0, 1], aligned as `faces.alignment` does.
        mask: (S, S, 1) float32 in [0, 1], the network's own mask.
        erode: How far the mask is drawn in, as a share of the crop's side.
        feather: Width of its soft edge, likewise.
        colour: Give the painted face the mean and spread of the frame's colours.

    Returns:
        (H, W, 3) uint8 RGB; pixels outside the mask are the frame's own.
    """
    size = painted.shape[0]
    transform = faces.alignment(landmarks, size)
    own = faces.crop(frame, transform, size).astype(np.float32) / 255
    alpha = soft_mask(
        faces.transform_points(landmarks, transform), mask, erode, feather
    )
    if colour:
        painted = match_colour(painted, own, alpha)

    # Work in the face's bounding box alone: a face is a small part of a frame.
    inverse = cv2.invertAffineTransform(transform)
    corners = np.float32([[0, 0], [size, 0], [size, size], [0, size]])
    corners = faces.transform_points(corners, inverse)
    height, width = frame.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int), 0, (width, height))
    if x1 <= x0 or y1 <= y0:
        return frame.copy()
    inverse[:, 2] -= (x0, y0)
    box = (int(x1 - x0), int(y1 - y0))
    face = cv2.warpAffine(
        painted, inverse, box, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpAffine(alpha, inverse, box, flags=cv2.INTER_LINEAR)[..., None]
    out = frame.copy()
    under = out[y0:y1, x0:x1].astype(np.float32)
    blended = under + alpha * (np.clip(face, 0, 1) * 255 - under)
    out[y0:y1, x0:x1] = blended.round().astype(np.uint8)
    return out


def swap_clip(
    source: str | os.PathLike,
    swapper,
    identity: str,
    path: str | os.PathLike,
    *,
    frames_folder: str | os.PathLike | None = None,
    label: bool = True,
    credentials: bool = True,
    workers: int | None = None,
    **look,
) -> list[int]:
    """Paint the largest face of every frame of a clip as somebody else.

    The result has the clip's own frame count, timestamps, size, colours and sound;
    frames without a face pass unchanged. It appears under its name when it is whole.

    Args:
        source: The clip to paint into.
        swapper: A trained `FaceSwapper`.
        identity: Whose decoder paints.
        path: The MP4 to write.
        frames_folder: Also write every frame here as a numbered PNG.
        label: Write a small visible label into every painted frame.
        credentials: Sign the clip and the painted frames with Content Credentials.
        workers: Processes that look for faces; one a core by default.
        **look: `erode`, `feather` and `colour` of `merge`.

    Returns:
        Indices of the frames that were painted.

    Raises:
        video.MediaError: The clip cannot be read.
        ValueError: It shows no face, or `frames_folder` holds something else.
    """
    info, path = video.probe(source), Path(path)
    painted_frames = []
    facts = {
        "preset": swapper.preset_name,
        "weights_sha256": swapper.sha256(),
        "target": source,
    }
    unsigned = path.with_name(f".{path.stem}.unsigned.mp4")
    folder = aside = None
    if frames_folder is not None:
        folder = Path(frames_folder)
        if folder.exists() and any(f.suffix != ".png" for f in folder.iterdir()):
            raise ValueError(f"{folder} holds other files; choose an empty folder.")
        aside = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    bar = tqdm(total=images.count_frames(source), unit="frame", desc="painting")
    frames = paint_frames(source, swapper, identity, workers=workers, **look)
    try:
        with video.VideoWriter(unsigned, like=info) as writer, bar:
            for frame, image, was_painted in frames:
                if was_painted:
                    painted_frames.append(frame.index)
                    image = provenance.label(image) if label else image
                writer.write(image, frame.pts)
                if aside:
                    name = aside / f"{frame.index:06d}.png"
                    images.write_image(name, image)
                    if credentials and was_painted:
                        provenance.sign(name, **facts)
                bar.update()
            if not painted_frames:
                raise ValueError(f"{source} shows no face; use footage that does.")
        if credentials:  # last: any later change would break the signature
            provenance.sign(unsigned, **facts)
        os.replace(unsigned, path)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
    finally:
        unsigned.unlink(missing_ok=True)
        if aside:
            shutil.rmtree(aside, ignore_errors=True)
    return painted_frames


def paint_frames(
    source: str | os.PathLike,
    swapper,
    identity: str,
    *,
    workers: int | None = None,
    **look,
) -> Iterator[tuple[video.Frame, np.ndarray, bool]]:
    """Paint the largest face of every frame; `swap_clip` without the export.

    Args:
        source: The clip to paint into.
        swapper: A trained `FaceSwapper`.
        identity: Whose decoder paints.
        workers: Processes that look for faces; one a core by default.
        **look: `erode`, `feather` and `colour` of `merge`.

    Yields:
        (the clip's own frame, (H, W, 3) uint8 RGB, whether a face was painted).
    """
    size = swapper.size
    found = faces.detect_each(video.read_frames(source), workers=workers)
    stream = steady((frame, f[0].landmarks if f else None) for frame, f in found)
    # The network likes company: faces are painted a batch at a time.
    while chunk := list(itertools.islice(stream, 16)):
        crops = [
            faces.crop(frame.image, faces.alignment(points, size), size)
            for frame, points in chunk
            if points is not None
        ]
        if crops:
            rgb, masks = swapper.swap(batches.prepare(crops, size), identity)
            painted = zip(rgb, masks, strict=True)
        for frame, points in chunk:
            if points is None:
                yield frame, frame.image, False
            else:
                yield frame, merge(frame.image, points, *next(painted), **look), True


def steady(stream: Iterable[tuple]) -> Iterator[tuple]:
    """Smooth landmarks over time: the detector's tremble goes, motion stays.

    Each frame takes the middle of the parabola that fits seven frames best, so that
    steady and accelerating motion pass without lag. Where a face appears, leaves or
    jumps, it is left as it was found.

    Args:
        stream: Pairs of anything and (68, 2) landmarks or None.

    Yields:
        The same pairs, with the landmarks smoothed.

    Reference:
        Savitzky & Golay 1964, "Smoothing and Differentiation of Data by Simplified
        Least Squares Procedures", Table I.
    """
    weights = np.float32([-2, 3, 6, 7, 6, 3, -2]) / 21
    nothing = [(None, None)] * 3
    window = collections.deque(nothing, maxlen=7)
    for pair in itertools.chain(stream, nothing):
        window.append(pair)
        if len(window) < 7 or window[3][0] is None:
            continue
        middle, landmarks = window[3]
        track = [points for _, points in window]
        if all(points is not None for points in track):
            track = np.stack(track)
            steps = np.linalg.norm(np.diff(track, axis=0), axis=2).max()
            if steps < 0.25 * np.ptp(landmarks, axis=0).max():
                landmarks = np.tensordot(weights, track, 1)
        yield middle, landmarks


def soft_mask(
    landmarks: np.ndarray, mask: np.ndarray, erode: float, feather: float
) -> np.ndarray:
    """Where the painted face shows: the landmark hull, where the network agrees.

    Args:
        landmarks: (68, 2) pixels of the crop.
        mask: (S, S, 1) float32, the network's mask.
        erode: Share of the side by which it is drawn in.
        feather: Share of the side over which it fades.

    Returns:
        (S, S) float32 in [0, 1], 0 at the crop's edge.
    """
    size = mask.shape[0]
    outline = (faces.hull(landmarks) * 16).round().astype(np.int32)
    filled = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(filled, outline, 1.0, cv2.LINE_AA, shift=4)
    # The network's mask is soft; only where it is sure of background does it decide.
    filled = np.minimum(filled, np.clip(mask[..., 0] * 2, 0, 1))
    # A blur spreads both ways, so the mask is drawn in by the feather first.
    inwards = max(1, round((erode + feather / 2) * size))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * inwards + 1,) * 2)
    border = cv2.copyMakeBorder(filled, *(inwards,) * 4, cv2.BORDER_CONSTANT, value=0)
    filled = cv2.erode(border, kernel)[inwards:-inwards, inwards:-inwards]
    return cv2.GaussianBlur(filled, (0, 0), max(feather * size / 4, 0.5))


def match_colour(painted: np.ndarray, own: np.ndarray, weight: np.ndarray):
    """Give one face the colours of another, in CIE L*a*b*.

    Args:
        painted: (S, S, 3) float32 in [0, 1].
        own: (S, S, 3) float32 in [0, 1], whose colours to take.
        weight: (S, S) float32, where to look.

    Returns:
        (S, S, 3) float32 in [0, 1].

    Reference:
        Reinhard et al. 2001, "Color Transfer between Images".
    """
    total = weight.sum()
    if total < 1:
        return painted
    weight = weight[..., None] / total

    def moments(lab):
        mean = (lab * weight).sum((0, 1))
        return mean, np.sqrt((np.square(lab - mean) * weight).sum((0, 1)))

    lab = cv2.cvtColor(np.ascontiguousarray(painted), cv2.COLOR_RGB2LAB)
    mean, spread = moments(lab)
    own_mean, own_spread = moments(cv2.cvtColor(own, cv2.COLOR_RGB2LAB))
    lab = (lab - mean) * (own_spread / (spread + 1e-3)).clip(0.8, 1.25) + own_mean
    return cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB).clip(0, 1)
