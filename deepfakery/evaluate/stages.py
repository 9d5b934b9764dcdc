"""Where does a swap lose quality: in the latent, in the decoder or in the merge?

    frames, pictures = stages.look("unseen.mp4", swapper, "hopper", truth="true.mp4")
    stages.table(frames)

With ground truth (the same motion by the generated person) four pictures of every frame
are measured alike. Three are a chain from a perfect face, 1, to the *finished* frame:
the *reconstruction*, as the decoder generates it from the ground truth's face (what is
missing to 1 is lost in decoder and resolution); the *bare crop*, likewise from the
target's face (what it lacks of the reconstruction is lost in the latent); the finished
frame (what it lacks of the bare crop is lost in the merge). The *upper bound* stands
beside them: the ground truth's face at the network's size, laid into the frame by the
same merge, so what the merge costs a face without error.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pandas as pd

from deepfakery import batches
from deepfakery.convert import merge
from deepfakery.evaluate import baselines, eyes, metrics
from deepfakery.faces import detect, geometry

#: What is measured, in the order of the tables.
STAGES = ("reconstruction", "bare crop", "finished", "upper bound")


def look(
    target,
    swapper,
    identity: str,
    truth=None,
    *,
    shut: Callable | None = None,
    frames: int | None = None,
    **options,
) -> tuple[pd.DataFrame, dict[str, list[np.ndarray]]]:
    """Measure every stage of a swap, frame by frame.

    Args:
        target: The clip to paint into.
        swapper: A trained `FaceSwapper`.
        identity: Whose decoder generates.
        truth: The same motion played by the generated person, in step with the target.
            Without it there is nothing but the finished frame, beside the target.
        shut: As from `eyes.fit`, for that person; needs `truth`.
        frames: How many, from the first; all by default.
        **options: As for `merge.merge`.

    Returns:
        A row a frame and stage; and of every 40th frame each stage's aligned face,
        beside the truth's (or target's). The columns: `stage`, `frame`; `sharpness`, a
        share of the truth's (or target's); `mouth` and `true_mouth`, in % of the
        distance between the eyes; `shut` and `true_shut`; and of `metrics.MEASURES`
        `ssim`, `landmark_error`, `seam`, `flicker`, and `target_flicker`.
    """
    rows, last, shown = [], defaultdict(list), defaultdict(list)
    beside = "target" if truth is None else "ground truth"
    parts = _parts(target, swapper, identity, truth, options)
    for number, (own, true, pictures) in enumerate(itertools.islice(parts, frames)):
        real, inside = metrics.align(*true)
        same = {"frame": number, "true_mouth": metrics.expression(true[1])[1]}
        untouched, there = metrics.align(*own)
        same["target_flicker"] = _flicker(last["target"], untouched, there)
        if shut and truth is not None:
            same["true_shut"] = shut(*true)
        fine, faces = metrics.detail(real, inside), {beside: real}
        for stage, image in pictures.items():
            is_crop, row = stage in STAGES[:2], {"stage": stage, **same}
            if is_crop:
                made = cv2.resize(image, inside.shape, interpolation=cv2.INTER_CUBIC)
            else:
                made, _ = metrics.align(image, own[1])
            faces[stage] = made
            row["sharpness"] = metrics.detail(made, inside) / fine
            row["flicker"] = _flicker(last[stage], made, there)
            if truth is not None:
                row["ssim"] = metrics.ssim(made, real, inside)
            seen = None if is_crop else _landmarks(image, own[1])
            if seen is not None:
                row["mouth"] = metrics.expression(seen)[1]
                row["seam"] = metrics.seam(image, *own)
                if truth is not None:
                    places = seen, own[1], true[1]
                    row["landmark_error"] = metrics.landmark_error(*places)
                if "true_shut" in same:
                    row["shut"] = shut(image, own[1])
            rows.append(row)
        if number % 40 == 0:
            for name, face in faces.items():
                shown[name].append(face)
    return pd.DataFrame(rows), dict(shown)


def table(frames: pd.DataFrame) -> pd.DataFrame:
    """The figures of `look`, a row a stage.

    Returns:
        Means; `of_bound`, the SSIM as a share of the upper bound's; `mouth`, the
        correlation of its opening with the truth's (or target's); `eyes`, the share of
        frames with shut eyes that show them shut, and `eyes_wrong`, of open ones;
        `seam` as a share of the upper bound's, `flicker` of the target's: both are
        aligned by the target's landmarks, while the truth's tremble in their own way.
    """
    asked = ["ssim", "landmark_error", "mouth", "seam", "shut", "true_shut"]
    frames = frames.reindex(columns=frames.columns.union(asked))
    out = {}
    for stage, part in frames.groupby("stage"):
        known = part[part.shut.notna()]
        shut, shows = known.true_shut > eyes.SHUT, known.shut > eyes.SHUT
        out[stage] = {
            **part[["ssim", "landmark_error"]].mean(),
            "mouth": part.mouth.corr(part.true_mouth),
            "eyes": shows[shut].mean(),
            "eyes_wrong": shows[~shut].mean(),
            **part[["sharpness", "seam"]].mean(),
            "flicker": part.flicker.mean() / part.target_flicker.mean(),
        }
    found = pd.DataFrame(out).T.reindex([s for s in STAGES if s in out])
    if "upper bound" in found.index:
        bound = found.loc["upper bound"]
        found.insert(1, "of_bound", found.ssim / bound.ssim)
        found["seam"] /= bound.seam
    return found


def _parts(target, swapper, identity, truth, options) -> Iterator[tuple]:
    """((image, landmarks) of target and truth, {stage: picture}) of each frame."""
    swapped = merge.paint_frames(target, swapper, identity, **options)
    if truth is None:
        for frame, image, layers in swapped:
            for layer in layers[:1]:
                own = frame.image, layer.landmarks
                yield own, own, {"finished": image}
        return
    size = swapper.size
    bound = baselines.TrueFaces(truth, size)
    bound = merge.paint_frames(target, bound, identity, **options)
    trio = zip(swapped, bound, baselines.faces_of(truth), strict=True)
    for (frame, image, layers), (_, best, _), true in trio:
        own = frame.image, layers[0].landmarks
        crops = [
            geometry.crop(picture, geometry.alignment(points, size), size)
            for picture, points in (true, own)
        ]
        generated, _ = swapper.swap(batches.prepare(crops, size), identity)
        crops = batches.restore(generated)
        yield own, true, dict(zip(STAGES, (*crops, image, best), strict=True))


def _flicker(course: list, face, inside) -> float:
    """Of the face before, now that the next one is known; nan for the first two."""
    course[:] = [*course[-2:], face]
    return metrics.flicker(*course, inside) if len(course) > 2 else np.nan


def _landmarks(image, place):
    """The landmarks of a generated face, looked for where the target's was."""
    reach = 0.6 * np.ptp(place, axis=0).max()
    x0, y0 = np.maximum(place.min(0) - reach, 0).astype(int)
    x1, y1 = (place.max(0) + reach).astype(int)
    found = detect.detect(image[y0:y1, x0:x1])
    return found[0].landmarks + np.float32([x0, y0]) if found else None
