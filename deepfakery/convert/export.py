"""Finished files: a clip, its frames, photos, figures; labelled and signed.

A file under its final name is always whole: what is under way lies in a hidden folder
beside it. Only what an export made is written over.
"""

import errno
import filecmp
import io
import itertools
import os
import shutil
import tempfile
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from deepfakery import samples
from deepfakery.convert import merge, resume, tiles
from deepfakery.media import images, provenance, records, video
from deepfakery.media.clips import each
from deepfakery.media.workers import in_order
from deepfakery.swapper import FaceSwapper

#: What to show: the swap alone, beside its target, or beside target and mask.
PANELS = ("swap", "pair", "triple")

#: What is written into an enlarged picture.
ENLARGED = "AI-upscaled"

#: Frames that an interrupted export may have to make again.
PART = 250


def swap_clip(
    source: str | os.PathLike,
    swapper,
    identity: str | dict,
    path: str | os.PathLike,
    *,
    frames_folder: str | os.PathLike | None = None,
    panels: str = "swap",
    codec: str = "h264",
    crf: int | None = None,
    label: bool = True,
    credentials: bool = True,
    workers: int | None = None,
    **look,
) -> list[int]:
    """Swap the faces of a clip and write it as MP4; interrupted, it goes on from there.

    Frame count, timestamps, size, colours and sound stay the clip's own, and so do
    frames without a face.

    Args:
        source: The target clip.
        swapper: A trained `FaceSwapper`, or one of `baselines`.
        identity: Who replaces the largest face of each frame; or identity → descriptors
            of whom it replaces, see `merge.paint_frames`.
        path: The MP4 to write.
        frames_folder: Also write every frame here as a numbered PNG.
        panels: One of `PANELS`.
        codec, crf: A name in `video.CODECS`; its quality, 0 (lossless) to 51.
        label: Write a small visible label into every swapped frame.
        credentials: Sign the clip and the swapped frames with Content Credentials.
        workers: 0 looks for faces in this process; else one beside it does.
        **look: What is to differ from `merge.LOOK`.

    Returns:
        Indices of the frames that were swapped.

    Raises:
        ValueError: The clip cannot be read or shows no face to swap, an argument asks
            for what there is not, or `path` or `frames_folder` is or holds what no
            export made.
        provenance.SigningError: All is written, but not all could be signed.
        OSError: Somebody else writes that clip at this moment.
    """
    settings = locals() | {"workers": None}  # they change nothing
    path, folder = Path(path), frames_folder and Path(frames_folder)
    info, writing = video.probe(source), {"codec": codec, "crf": crf}
    facts = _facts(source, swapper, look, panels, label)
    facts = facts if credentials else None
    provenance.prepare(path, facts, source)
    if folder:
        _refuse_folder(folder, path)
    errors = []

    def save(image, frame, layers):
        if folder:
            name = aside / "frames" / f"{frame.index:06d}.png"
            save_picture(image, name, facts if layers else None, False, errors)

    with resume.unfinished(path, source, settings) as (aside, parts, keep):
        done = sum(part["frames"] for part in parts)
        options = {"start": done, "workers": workers, **look}
        stream = merge.paint_frames(source, swapper, identity, **options)
        total = images.count_frames(source)
        size = info.width * info.height * (1 + PANELS.index(panels))
        left = size * (total or done), size * done
        records.room(path, resume.needed(*left, crf, folder))
        stream = tqdm(stream, "swapping", total, initial=done, unit="frame")
        for number, group in itertools.groupby(stream, lambda p: p[0].index // PART):
            alone = {"sound": False, "part": True} | writing
            writer = video.VideoWriter(resume.part_file(aside, number), info, **alone)
            # Encoders and disks leave Python alone most of the time.
            with writer, ThreadPoolExecutor(1) as coding, ThreadPoolExecutor(1) as disk:
                shown = (
                    (panel(frame.image, image, layers, panels, label), frame, layers)
                    for frame, image, layers in group
                )
                jobs = ((item, writer.write, item[0], item[1].pts) for item in shown)
                jobs = ((item, save, *item) for item, _ in in_order(coding, 4, jobs))
                made = [
                    (frame.index, frame.pts, bool(layers))
                    for (_, frame, layers), _ in in_order(disk, 4, jobs)
                ]
            painted = [index for index, _, is_painted in made if is_painted]
            keep({"frames": len(made), "pts": made[0][1], "painted": painted})
        painted = [index for part in parts for index in part["painted"]]
        if not painted:
            parts.clear()
            raise ValueError(f"{source} shows no face to swap; use footage that does.")
        whole = aside / "whole.mp4"
        whole.unlink(missing_ok=True)  # of a signing that was interrupted
        with video.VideoWriter(whole, info, **writing) as writer:
            for number, part in enumerate(parts):
                writer.append(resume.part_file(aside, number), part["pts"])
        provenance.refuse_foreign(path, source)
        if folder:
            _refuse_folder(folder, path)
            with records.told(folder):
                folder.mkdir(parents=True, exist_ok=True)
                # One of those numbers may be new: moved before an interruption.
                count = sum(part["frames"] for part in parts)
                made = {f"{index:06d}.png" for index in range(count)}
                for old in folder.iterdir():
                    if old.name not in made:
                        old.unlink()
                for new in (aside / "frames").iterdir():
                    (folder / new.name).unlink(missing_ok=True)
                    shutil.move(new, folder / new.name)
        # To sign takes a copy here and one in the temporary folder; all parts stay.
        for place in (path, Path(tempfile.gettempdir())) if facts else ():
            with records.told(place):
                if records.room(place) < whole.stat().st_size:
                    raise OSError(errno.ENOSPC, "no space left to sign the clip")
        provenance.publish(whole, path, facts)
        _tell(errors)
    return painted


def swap_clips(
    sources: dict[str, str | os.PathLike],
    run: str | os.PathLike,
    identity: str | dict,
    folder: str | os.PathLike,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    **options,
) -> tuple[dict[str, Path], dict[str, str]]:
    """`swap_clip` for many clips, several at once; one that fails stops no other.

    Called again, it makes what is missing, unfinished or made by other weights.

    Args:
        sources: Name → clip.
        run: The run folder of a trained `FaceSwapper`.
        identity: As of `swap_clip`.
        folder: Each is written here as `<name>.mp4`. On a cluster every machine must
            see it, the run and the sources under the same path.
        executor, workers: As of `extraction.extract_many`.
        **options: As of `swap_clip`.

    Returns:
        ({name: the finished clip}, {name: what went wrong}).
    """
    run, folder = Path(run).absolute(), Path(folder).absolute()

    def work(source, out):
        swapper = FaceSwapper.from_preset(run)
        made_by = swapper.preset_name, swapper.sha256()
        if not out.exists() or _made_by(out) != made_by:
            swap_clip(source, swapper, identity, out, workers=0, **options)
        return out

    folder.mkdir(parents=True, exist_ok=True)
    jobs = {n: (Path(s).absolute(), folder / f"{n}.mp4") for n, s in sources.items()}
    return each(work, jobs, resume.kept, executor, workers)


def swap_photos(
    source: str | os.PathLike,
    swapper,
    identity: str | dict,
    folder: str | os.PathLike,
    *,
    panels: str = "swap",
    label: bool = True,
    credentials: bool = True,
    workers: int | None = None,
    **look,
) -> list[Path]:
    """Swap the faces of photos; interrupted, it goes on from there.

    Args:
        source: A photo, or a folder of photos with its subfolders.
        folder: Where to write them, under their own names. One of a kind that cannot
            be signed becomes a PNG; one without a face to swap is copied as it is.
        swapper, identity, panels, label, credentials, **look: As for `swap_clip`.
        workers: Processes that look for faces; one a core by default.

    Returns:
        The photos that were swapped.

    Raises:
        As `swap_clip`; also ValueError where the source is or holds a clip.
    """
    settings = locals() | {"workers": None}
    source, folder = Path(source), Path(folder)
    facts = _facts(source, swapper, look, panels, label)
    out = folder if source.is_dir() else folder / source.name
    places, errors = _places(source, out, "swap_clip swaps clips"), []
    if credentials:
        provenance.rehearse(folder, facts)
    with resume.unfinished(folder, source, settings) as (_, done, keep):
        start = done[-1]["index"] + 1 if done else 0
        options = {"start": start, "steady": False, "workers": workers, **look}
        stream = merge.paint_frames(source, swapper, identity, **options)
        for frame, image, layers in tqdm(stream, total=len(places), initial=start):
            copy, name = places[frame.file]
            if layers:
                image = panel(frame.image, image, layers, panels, label)
                signs = facts | {"target": frame.file} if credentials else None
                save_picture(image, name, signs, False, errors)
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                records.write(copy, frame.file.read_bytes())
            painted = str(name.relative_to(folder)) if layers else None
            keep({"index": frame.index, "painted": painted})
        painted = [folder / one["painted"] for one in done if one["painted"]]
        if not painted:
            done.clear()
            raise ValueError(f"{source} shows no face to swap; use photos that do.")
        _tell(errors)
    return painted


def imagined_clip(frames, model, path, *, fps=30, label=True, credentials=True) -> None:
    """Write frames that a network made from nothing as MP4.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
        model: What made them, as for `facts_of`.
        path: The MP4 to write.
        fps: Frames a second.
        label, credentials: As for `swap_clip`.
    """
    facts = {"kind": "made", **facts_of(model)} if credentials else None
    _write_clip(frames, path, facts, provenance.LABEL if label else "", fps=fps)


def moving_photo(photo, motion, path, *, size=384, label=True, credentials=True):
    """Bend one photo of a person into motion, without a network; write it as MP4.

    Args:
        photo: An image file, or one of `samples.PEOPLE`.
        motion: As from `samples.motion`, 30 rows a second.
        path: The MP4 to write.
        size: Side of the clip in pixels.
        label, credentials: As for `swap_clip`.
    """
    if photo in samples.PEOPLE:
        person = samples.portrait(photo, size)
    else:
        person = samples.Portrait.from_photo(photo, size)
    signs = {"kind": "animated", "target": photo} if credentials else None
    frames = samples.animate(person, motion)
    _write_clip(frames, path, signs, "animated photo" if label else "", fps=30)


def upscale_clip(
    source, upscaler, path, size, *, fit="pad", label=True, credentials=True, **writing
) -> int:
    """Enlarge a clip to exactly a size and write it as MP4; returns how many frames.

    It keeps its frame count, timestamps, colours and sound; noise is averaged over time
    before it is enlarged. Interrupted, it starts over.

    Args:
        source: The clip.
        upscaler, size, fit: As for `tiles.resize`.
        path: The MP4 to write.
        label: Write a small visible label, unless the source bears one of ours.
        credentials, **writing: As for `swap_clip`, with its `codec` and `crf`.
    """
    like = video.probe(source)
    said, shown = _said_of(source, fit, label)
    facts = facts_of(upscaler, source) | {"label": shown} if credentials else None
    frames, timed = itertools.tee(video.read_frames(source))
    pictures = tiles.steady(frame.image for frame in frames)
    large = (tiles.resize(picture, upscaler, size, fit) for picture in pictures)
    writing |= {"times": (frame.pts for frame in timed), "like": like}
    _write_clip(large, path, facts, said, size=tuple(size), **writing)
    return video.probe(path).frames


def upscale_photos(
    source, upscaler, path, size, *, fit="pad", label=True, credentials=True
) -> list[Path]:
    """Enlarge a photo, or a folder of photos, to exactly a size; returns the files.

    Args:
        source: A photo, or a folder of photos with its subfolders.
        upscaler, size, fit, label, credentials: As for `upscale_clip`.
        path: The photo to write; for a folder the folder to write, photos under their
            own names. One of a kind that cannot be signed becomes a PNG.
    """
    places = _places(Path(source), Path(path), "upscale_clip enlarges clips")
    facts, out, errors = facts_of(upscaler), [], []
    if credentials:
        provenance.rehearse(path, facts)
    for frame in images.read_source(source):
        _, name = places[frame.file]
        said, shown = _said_of(frame.file, fit, label)
        large = tiles.resize(frame.image, upscaler, size, fit)
        signs = facts | {"target": frame.file, "label": shown}
        save_picture(large, name, signs if credentials else None, said, errors)
        out.append(name)
    _tell(errors)
    return out


def save_picture(image, path, facts: dict | None, label=True, errors=None) -> None:
    """Write one picture with faces that were made.

    Args:
        image: (H, W, 3) uint8 RGB.
        path: The file to write; its suffix chooses the format.
        facts: What `provenance.sign` writes down; None leaves it unsigned.
        label: Write a small visible label into it; or what it is to say.
        errors: A list that takes a `SigningError` instead of raising it.

    Raises:
        ValueError: There is a file of that name that no export made.
        provenance.SigningError: It is written, but could not be signed.
    """
    path = Path(path)
    provenance.refuse_foreign(path, (facts or {}).get("target"))
    if label:
        said = provenance.LABEL if label is True else label
        image = provenance.label(image, said)
        facts = facts and facts | {"label": said}
    aside = records.beside(path, f".{path.stem}", f".part{path.suffix}")
    images.write_image(aside, image, software=provenance.NAME)
    try:
        provenance.publish(aside, path, facts)
    except provenance.SigningError as error:
        if errors is None:
            raise
        errors.append(error)


def save_figure(
    figure, path, model, target=None, kind: str | None = None, label=True
) -> None:
    """Write a figure with faces that a network made, labelled below, and signed.

    Args:
        figure: Of matplotlib, as from `plots`.
        path: The file to write.
        model, target: As for `facts_of`.
        kind: As for `provenance.sign`; by default "composite" where there is a target,
            else "made".
        label: As for `save_picture`.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    image = np.asarray(Image.open(drawn).convert("RGB"))
    below = max(16, round(0.04 * min(image.shape[:2])))
    image = np.pad(image, ((0, below), (0, 0), (0, 0)), constant_values=40)
    kind = kind or ("composite" if target else "made")
    save_picture(image, path, {"kind": kind, **facts_of(model, target)}, label)


def facts_of(model, target=None) -> dict:
    """What `provenance.sign` writes down of a picture that a network made.

    Args:
        model: What made it: a `FaceSwapper`, one of `baselines`, a `DCGAN`, an
            `Upscaler`, or a finished file, whose credentials say so; or several, as a
            tuple or a list, where one worked on what another had made.
        target: What was swapped in it, if anything.
    """
    models = model if isinstance(model, tuple | list) else [model]
    made_by = [_made_by(one) for one in models if one is not None]
    presets = dict.fromkeys(preset for preset, _ in made_by if preset)
    weights = dict.fromkeys(sha256 for _, sha256 in made_by if sha256)
    facts = {"preset": ", ".join(presets), "weights_sha256": " ".join(weights)}
    kind = getattr(models[0], "source_kind", None)  # of baselines without a network
    return facts | {"target": target} | ({"kind": kind} if kind else {})


def _made_by(model):
    """Preset and weights of a network, or of the one that made a finished file."""
    if not isinstance(model, str | os.PathLike):
        return model.preset_name, model.sha256()
    said = provenance.inspect(model)
    said = said if provenance.is_intact(said) else {}
    return said.get("preset"), said.get("weights_sha256")


def panel(target, swap, layers, panels: str, label=False) -> np.ndarray:
    """Lay a swap beside its target, and both beside the mask, as `PANELS` says."""
    parts = [target, provenance.label(swap) if label and layers else swap]
    if panels == "triple":
        mask = (merge.shown(target, layers) * 255).round().astype(np.uint8)
        parts.append(np.repeat(mask[..., None], 3, 2))
    return parts[1] if panels == "swap" else np.hstack(parts)


def _facts(source, swapper, look, panels, label) -> dict:
    """What is signed of a swap."""
    if panels not in PANELS:
        raise ValueError(f"panels must be one of {PANELS}, not {panels!r}.")
    facts = facts_of((swapper, merge.upscaler_of(look)), source)
    return facts | {"label": provenance.LABEL if label else ""}


def _places(source, out, instead) -> dict:
    """Photo → where to write it as it is, and where signed; none is anybody else's."""
    copies = {source: out}
    if source.is_dir():
        files = images.list_files(source)
        copies = {file: out / file.relative_to(source) for file in files}
        if source.resolve() in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"{out} lies among the photos themselves; choose another.")
    signable = images.IMAGE_SUFFIXES.intersection(provenance.SIGNABLE)
    taken, places = set(copies.values()), {}
    for file, copy in copies.items():
        if not images.is_image(file):
            raise ValueError(f"{file} is no photo; {instead}.")
        name = copy
        while name.suffix.lower() not in signable or (name != copy and name in taken):
            name = records.beside(name, name.name, ".png")
        places[file] = copy, name
        for there in places[file]:
            is_other = there.is_file() and not there.samefile(file)
            if not (is_other and filecmp.cmp(there, file, shallow=False)):
                provenance.refuse_foreign(there, file)
    return places


def _refuse_folder(folder: Path, path: Path) -> None:
    """Refuse to replace a folder that holds anything but exported frames."""
    if folder.resolve() in (path.resolve(), *path.resolve().parents):
        raise ValueError(f"{folder} is to hold the frames alone, and not {path}.")
    for file in folder.iterdir() if folder.exists() else ():
        if file.suffix != ".png" or not file.is_file() or not provenance.is_ours(file):
            raise ValueError(
                f"{folder} holds other files, such as {file.name}; choose a new or an "
                "empty folder for the frames."
            )


def _said_of(source, fit, label):
    """What to write into an enlarged picture, and what that then says."""
    found = provenance.inspect(source) if label and fit != "crop" else {}
    kept = found.get("label") if provenance.is_intact(found) else ""
    return ("", kept) if kept or not label else (ENLARGED, ENLARGED)


def _write_clip(frames, path, facts, label, times=None, like=None, **options) -> None:
    facts = facts and {"label": label} | facts
    with (
        provenance.signing(path, facts, like and like.path) as aside,
        video.VideoWriter(aside, like, **options) as writer,
    ):
        total = images.count_frames(like.path) if like else None
        for frame in tqdm(frames, Path(path).name, total, unit="frame"):
            frame = provenance.label(frame, label) if label else frame
            writer.write(frame, next(times) if times else None)


def _tell(errors) -> None:
    """Say in the end which pictures could not be signed; the others are."""
    if errors:
        raise provenance.SigningError(
            f"{len(errors)} pictures could not be signed. {errors[0]}"
        ) from errors[0]
