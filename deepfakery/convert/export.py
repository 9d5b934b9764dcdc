"""Finished files: a clip, its frames, photos.

A file under its final name is always whole. What is under way lies beside it in a
folder whose name begins with a dot; interrupted, the same call goes on from there.
Everything painted is labelled and signed by `provenance`. What is there already is
written over only where an export made it.
"""

import filecmp
import hashlib
import io
import itertools
import json
import os
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from deepfakery import __version__, samples
from deepfakery.convert import merge, tiles
from deepfakery.media import images, provenance, records, video

#: What to show: the swap alone, beside its target, or beside target and mask.
PANELS = ("swap", "pair", "triple")

#: What is written into an enlarged picture.
ENLARGED = "AI-upscaled"

#: Frames that an interrupted export may have to paint again.
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
    steady: bool = True,
    workers: int | None = None,
    **look,
) -> list[int]:
    """Paint the faces of a clip and write it as MP4.

    The result has the clip's own frame count, timestamps, size, colours and sound;
    frames without a face pass unchanged.

    Args:
        source: The clip to paint into.
        swapper: A trained `FaceSwapper`, or one of `baselines`.
        identity: Who is painted over the largest face of each frame; or a dict, who is
            painted → descriptors of whom to paint over, as for `merge.paint_frames`.
        path: The MP4 to write.
        frames_folder: Also write every frame here as a numbered PNG.
        panels: One of `PANELS`.
        codec: A name in `video.CODECS`.
        crf: The encoder's quality, 0 (lossless) to 51.
        label: Write a small visible label into every painted frame.
        credentials: Sign the clip and the painted frames with Content Credentials.
        steady: Smooth landmarks and colours over time.
        workers: 0 looks for faces in this process; else one beside it does.
        **look: What is to differ from `merge.LOOK`.

    Returns:
        Indices of the frames that were painted.

    Raises:
        video.MediaError: The clip cannot be read.
        ValueError: It shows no face to paint, an argument asks for what there is not,
            or `path` or `frames_folder` is or holds what no export made.
        provenance.SigningError: All is written, but not all could be signed.
        OSError: Somebody else writes that clip at this moment.
    """
    if panels not in PANELS:
        raise ValueError(f"panels must be one of {PANELS}, not {panels!r}.")
    info, path = video.probe(source), Path(path)
    folder = None if frames_folder is None else Path(frames_folder)
    facts = facts_of(_painters(swapper, look), source) | _label(label)
    provenance.prepare(path, facts if credentials else None, source)
    if folder:
        _refuse_folder(folder, path)
    settings = _settings(
        source, facts, identity, look, panels, codec, crf, label, credentials, steady
    )
    settings["frames"] = bool(folder)
    writing = {"codec": codec, "crf": crf}
    with _unfinished(path, settings) as (aside, parts, keep), _saving() as save:
        done = sum(part["frames"] for part in parts)
        stream = merge.paint_frames(
            source,
            swapper,
            identity,
            start=done,
            steady=steady,
            workers=workers,
            **look,
        )
        total = info.frames or (info.duration and round(info.duration * info.fps))
        bar = tqdm(total=total, initial=done, unit="frame", desc="painting")
        with bar:
            for number, group in itertools.groupby(
                stream, key=lambda item: item[0].index // PART
            ):
                part = {"file": f"{number:06d}.mp4", "frames": 0, "painted": []}
                writer = video.VideoWriter(
                    aside / part["file"], like=info, sound=False, part=True, **writing
                )
                with writer, _Beside() as encoding, _Beside() as pictures:
                    for frame, image, layers in group:
                        if layers:
                            image = provenance.label(image) if label else image
                            part["painted"].append(frame.index)
                        image = panel(frame.image, image, layers, panels)
                        encoding.submit(writer.write, image, frame.pts)
                        part.setdefault("pts", frame.pts)
                        part["frames"] += 1
                        if folder:
                            name = aside / "frames" / f"{frame.index:06d}.png"
                            signs = facts if credentials and layers else None
                            pictures.submit(save, image, name, signs, False)
                        bar.update()
                keep(part)
        painted = [index for part in parts for index in part["painted"]]
        if not painted:
            parts.clear()
            raise ValueError(f"{source} shows no face to paint; use footage that does.")
        whole = aside / "whole.mp4"
        with video.VideoWriter(whole, like=info, **writing) as writer:
            for part in parts:
                writer.append(aside / part["file"], part["pts"])
        provenance.refuse_foreign(path, source)
        if folder:
            _refuse_folder(folder, path)
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            for new in (aside / "frames").iterdir():
                shutil.move(new, folder / new.name)
        provenance.publish(whole, path, facts if credentials else None)
    return painted


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
    """Paint the faces of photos.

    Args:
        source: A photo, or a folder of photos with its subfolders.
        folder: Where to write them, under their own names. One of a kind that cannot
            be signed becomes a PNG; one without a face to paint is copied as it is.
        swapper, identity, panels, label, credentials, **look: As for `swap_clip`.
        workers: Processes that look for faces; one a core by default.

    Returns:
        The photos that were painted.

    Raises:
        video.MediaError: There is no photo that can be read.
        ValueError: None shows a face to paint, an argument asks for what there is not,
            the source is or holds a clip, or a photo would be written over a file that
            no export made.
        provenance.SigningError: All is written, but not all could be signed.
        OSError: Somebody else writes into the folder at this moment.
    """
    source, folder = Path(source), Path(folder)
    if panels not in PANELS:
        raise ValueError(f"panels must be one of {PANELS}, not {panels!r}.")
    _refuse_clips(source, "swap_clip paints clips")
    if source.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(f"{folder} lies among the photos themselves; choose another.")
    facts = facts_of(_painters(swapper, look), source) | _label(label)
    root = source if source.is_dir() else source.parent
    if credentials:
        provenance.rehearse(folder, facts)
    taken = _names(source)
    for file in images.list_files(source) if source.is_dir() else [source]:
        copy = file.relative_to(root)
        for name in (folder / copy, folder / _photo_name(copy, taken)):
            is_file = name.is_file() and not name.samefile(file)
            if not (is_file and filecmp.cmp(name, file, shallow=False)):
                provenance.refuse_foreign(name, file)
    settings = _settings(
        source, facts, identity, look, panels, label, credentials, str(folder)
    )
    with _unfinished(folder, settings) as (aside, done, keep), _saving() as save:
        start = done[-1]["index"] + 1 if done else 0
        stream = merge.paint_frames(
            source,
            swapper,
            identity,
            start=start,
            steady=False,
            workers=workers,
            **look,
        )
        total = images.count_frames(source)
        for frame, image, layers in tqdm(stream, total=total, initial=start):
            name = frame.file.relative_to(root)
            name = _photo_name(name, taken) if layers else name
            if layers:
                image = provenance.label(image) if label else image
                image = panel(frame.image, image, layers, panels)
                signs = facts | {"target": frame.file} if credentials else None
                save(image, folder / name, signs, False)
            else:
                copy = aside / f"photo{name.suffix}"
                shutil.copy(frame.file, copy)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(copy, folder / name)
            file = str(name) if layers else None
            keep({"index": frame.index, "painted": file})
        painted = [folder / d["painted"] for d in done if d["painted"]]
        if not painted:
            done.clear()
            raise ValueError(f"{source} shows no face to paint; use photos that do.")
    return painted


def imagined_clip(
    frames, model, path, *, fps: float = 30, label: bool = True, credentials=True
) -> None:
    """Write frames that a network made from nothing as MP4.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
        model: What made them, as for `facts_of`.
        path: The MP4 to write.
        fps: Frames a second.
        label, credentials: As for `swap_clip`.
    """
    signs = {"kind": "made", **facts_of(model)} if credentials else None
    _write_clip(frames, path, fps, _label(label), signs)


def save_picture(image: np.ndarray, path, facts: dict | None, label=True) -> None:
    """Write one picture with faces that were made.

    Args:
        image: (H, W, 3) uint8 RGB.
        path: The file to write; its suffix chooses the format.
        facts: What `provenance.sign` writes down; None leaves it unsigned.
        label: Write a small visible label into it.

    Raises:
        ValueError: There is a file of that name that no export made.
        provenance.SigningError: It is written, but could not be signed.
    """
    path = Path(path)
    provenance.refuse_foreign(path, (facts or {}).get("target"))
    if label:
        image = provenance.label(image)
        facts = facts and facts | _label(label)
    aside = records.beside(path, f".{path.stem}", f".part{path.suffix}")
    images.write_image(aside, image, provenance.NAME)
    provenance.publish(aside, path, facts)


def save_figure(
    figure, path: str | os.PathLike, model, target=None, kind: str | None = None
) -> None:
    """Write a figure with faces that a network made, labelled below, and signed.

    Args:
        figure: Of matplotlib, as from `plots`.
        path: The file to write.
        model, target: As for `facts_of`; or the clips that it shows, as for `facts_in`.
        kind: As for `provenance.sign`; by default "composite" where there is a target,
            else "made", which is wrong where photos stand beside made faces.
    """
    is_clips = isinstance(model, list)
    facts = facts_in(model, target) if is_clips else facts_of(model, target)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    image = np.asarray(Image.open(drawn).convert("RGB"))
    below = max(16, round(0.04 * min(image.shape[:2])))
    image = np.pad(image, ((0, below), (0, 0), (0, 0)), constant_values=40)
    kind = kind or ("composite" if target else "made")
    save_picture(image, path, {"kind": kind, **facts})


def moving_photo(
    photo,
    motion: np.ndarray,
    path: str | os.PathLike,
    *,
    size: int = 384,
    fps: float = 30,
    label: bool = True,
    credentials: bool = True,
    **facts,
) -> None:
    """Bring one photo of a person to life and write it as MP4.

    No network is used: the photo is bent, as the built-in people are.

    Args:
        photo: An image file, or one of `samples.PEOPLE`.
        motion: As from `samples.motion`.
        path: The MP4 to write.
        size: Side of the clip in pixels.
        fps: Frames a second.
        label, credentials: As for `swap_clip`.
        **facts: `glasses=True` where the person wears some.

    Raises:
        video.MediaError: The photo cannot be read, or shows no face.
    """
    if photo in samples.PEOPLE:
        person = samples.portrait(photo, size)
    else:
        person = samples.Portrait.from_photo(photo, size, **facts)
    signs = {"kind": "animated", "target": photo} if credentials else None
    said = _label(label, "animated photo")
    _write_clip(samples.animate(person, motion), path, fps, said, signs)


def upscale_clip(
    source: str | os.PathLike,
    upscaler,
    path: str | os.PathLike,
    size: tuple[int, int],
    *,
    fit: str = "pad",
    steady: bool = True,
    codec: str = "h264",
    crf: int | None = None,
    label: bool = True,
    credentials: bool = True,
) -> int:
    """Enlarge a clip to exactly a size and write it as MP4.

    It keeps its frame count, timestamps, colours and sound. Unlike a swap it does not
    go on where it was interrupted.

    Args:
        source: The clip.
        upscaler: A trained `Upscaler`.
        path: The MP4 to write.
        size: (width, height) in pixels.
        fit: One of `tiles.FITS`.
        steady: Average noise over time before it is enlarged.
        codec, crf: As for `swap_clip`.
        label: Write a small visible label into every frame, unless the source bears
            one of ours.
        credentials: Sign the clip with Content Credentials.

    Returns:
        How many frames there are.

    Raises:
        video.MediaError: The clip cannot be read.
        ValueError: `fit` or `size` ask for what there is not, or as for
            `provenance.signing`.
    """
    info, count = video.probe(source), 0
    said, shown = _said_of(source, fit) if label else ("", "")
    frames, timed = itertools.tee(video.read_frames(source))
    pictures = (frame.image for frame in frames)
    pictures = tiles.steady(pictures) if steady else pictures
    total = info.frames or (info.duration and round(info.duration * info.fps))
    signs = facts_of(upscaler, source) | {"label": shown} if credentials else None
    with (
        provenance.signing(path, signs, source) as aside,
        video.VideoWriter(
            aside, like=info, size=tuple(size), codec=codec, crf=crf
        ) as writer,
    ):
        both = zip(pictures, timed, strict=True)
        for picture, frame in tqdm(both, total=total, desc="enlarging"):
            large = tiles.resize(picture, upscaler, size, fit)
            writer.write(provenance.label(large, said) if said else large, frame.pts)
            count += 1
    return count


def upscale_photos(
    source: str | os.PathLike,
    upscaler,
    path: str | os.PathLike,
    size: tuple[int, int],
    *,
    fit: str = "pad",
    label: bool = True,
    credentials: bool = True,
) -> list[Path]:
    """Enlarge a photo, or a folder of photos, to exactly a size.

    Args:
        source: A photo, or a folder of photos with its subfolders.
        upscaler, size, fit, label, credentials: As for `upscale_clip`.
        path: The photo to write; for a folder the folder to write, photos under their
            own names. One of a kind that cannot be signed becomes a PNG.

    Returns:
        The photos written.

    Raises:
        video.MediaError: There is no photo that can be read.
        ValueError: There is a clip among the photos, or the folder to write, a photo
            would be written over a file that no export made, or as for `upscale_clip`.
        provenance.SigningError: All is written, but not all could be signed.
    """
    source, path = Path(source), Path(path)
    _refuse_clips(source, "upscale_clip enlarges clips")
    places = path.resolve(), *path.resolve().parents
    if source.is_dir() and source.resolve() in places:
        raise ValueError(f"{path} lies among the photos themselves; choose another.")
    out, facts, taken = [], facts_of(upscaler), _names(source)

    def place(file):
        if source.is_dir():
            return path / _photo_name(file.relative_to(source), taken)
        return _photo_name(path)

    if credentials:
        provenance.rehearse(path, facts)
    for file in images.list_files(source) if source.is_dir() else [source]:
        provenance.refuse_foreign(place(file), file)
    with _saving() as save:
        for frame in images.read_source(source):
            large = tiles.resize(frame.image, upscaler, size, fit)
            said, shown = _said_of(frame.file, fit) if label else ("", "")
            large = provenance.label(large, said) if said else large
            signs = facts | {"target": frame.file, "label": shown}
            save(large, place(frame.file), signs if credentials else None, False)
            out.append(place(frame.file))
    return out


def _names(source) -> set:
    """What photos of a folder are called in it."""
    files = images.list_files(source) if source.is_dir() else []
    return {file.relative_to(source) for file in files}


def _photo_name(name, taken=()) -> Path:
    """Where to write a photo: as PNG, beside names taken, if its kind is not signed."""
    if name.suffix.lower() in images.IMAGE_SUFFIXES.intersection(provenance.SIGNABLE):
        return name
    while (name := records.beside(name, name.name, ".png")) in taken:
        pass
    return name


@contextmanager
def _saving():
    """`save_picture`, for many: the rest is written where one cannot be signed."""
    errors = []

    def save(*arguments):
        try:
            save_picture(*arguments)
        except provenance.SigningError as error:
            errors.append(error)

    yield save
    if errors:
        raise provenance.SigningError(
            f"{len(errors)} pictures could not be signed. {errors[0]}"
        ) from errors[0]


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


def _refuse_clips(source, instead):
    for file in images.list_files(source) if source.is_dir() else [source]:
        if not images.is_image(file):
            raise ValueError(f"{file} is no photo; {instead}.")


def _label(label, text=provenance.LABEL) -> dict:
    return {"label": text if label else ""}


def _said_of(source, fit):
    """What to write into an enlarged picture, and what it then says.

    Nothing where it says so already, and its edges, where that is written, stay.
    """
    found = provenance.inspect(source)
    stays = provenance.is_intact(found) and fit != "crop"
    kept = found.get("label") if stays else ""
    return ("", kept) if kept else (ENLARGED, ENLARGED)


def _write_clip(frames, path, fps, said, signs):
    label, signs = said["label"], signs and signs | said
    with (
        provenance.signing(path, signs) as aside,
        video.VideoWriter(aside, fps=fps) as writer,
    ):
        for frame in tqdm(frames, unit="frame", desc=Path(path).name):
            writer.write(provenance.label(frame, label) if label else frame)


def facts_of(model, target=None) -> dict:
    """What `provenance.sign` writes down of a picture that a network made.

    Args:
        model: What made it: a `FaceSwapper`, one of `baselines`, a `DCGAN`, an
            `Upscaler`; or a tuple, where one worked on what another had made.
        target: What it was painted into, if anything.
    """
    models = model if isinstance(model, tuple) else (model,)
    facts = _joined([(m.preset_name, m.sha256()) for m in models], target)
    # What was swapped without a network says what it is instead.
    kind = getattr(models[0], "source_kind", None)
    return facts | {"kind": kind} if kind else facts


def facts_in(clips, target) -> dict:
    """The same of a picture put together from finished clips, by their credentials.

    Args:
        clips: Paths.
        target: What they were painted into.
    """
    said = [s for s in map(provenance.inspect, clips) if provenance.is_intact(s)]
    keys = "preset", "weights_sha256"
    return _joined([[s.get(key, "") for key in keys] for s in said], target)


def _joined(presets_and_weights, target):
    presets = dict.fromkeys(preset for preset, _ in presets_and_weights if preset)
    weights = dict.fromkeys(sha256 for _, sha256 in presets_and_weights if sha256)
    return {
        "preset": ", ".join(presets),
        "weights_sha256": " ".join(weights),
        "target": target,
    }


def _painters(swapper, look):
    """Who paints: the swapper, and the upscaler where the look asks for it."""
    upscaler = merge.upscaler_of(look)
    return (swapper, upscaler) if upscaler else swapper


def _settings(source, facts, identity, look, *rest):
    """What an export depends on, as JSON: it goes on only where all is as it was."""
    if isinstance(identity, dict):
        identity = {
            name: hashlib.sha256(np.float32(who).tobytes()).hexdigest()
            for name, who in identity.items()
        }
    if upscaler := merge.upscaler_of(look):
        look = look | {"sharpen": upscaler.sha256()}
    stat = Path(source).stat()
    settings = {
        "version": __version__,
        "source": [str(Path(source).resolve()), stat.st_size, stat.st_mtime_ns],
        "weights": facts["weights_sha256"],
        "identity": identity,
        "look": merge.LOOK | look,
        "rest": rest,
    }
    return json.loads(json.dumps(settings))


@contextmanager
def _unfinished(path, settings):
    """The folder of what is under way, a list of what is done, how to add to the list.

    The folder stays if the work is interrupted, and goes when it is finished or when
    nothing was done.
    """
    aside = records.aside(path)
    state = aside / "state.jsonl"
    with records.one_writer(aside, f"writes {path}"):
        kept = records.read_lines(state)
        done = list(_whole(aside, kept[1:])) if kept[:1] == [settings] else []
        for file in () if done else aside.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != ".lock":
                file.unlink()
        sealed = [_sealed(aside, entry, i) for i, entry in enumerate(done)]
        records.write_lines(state, [settings, *sealed])

        def keep(entry):
            sealed = _sealed(aside, entry, len(done))
            records.append(state, json.dumps(sealed) + "\n")
            done.append(entry)

        try:
            yield aside, done, keep
        except BaseException as error:
            if not done or isinstance(error, provenance.SigningError):
                shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _sealed(aside, entry, place) -> dict:
    """An entry, and by what to know that it and the part that it names are whole."""
    digest = hashlib.sha256(json.dumps([place, entry]).encode())
    if "file" in entry:
        digest.update((aside / entry["file"]).read_bytes())
    return {"entry": entry, "sha256": digest.hexdigest()}


def _whole(aside, lines):
    """Entries up to the first that is damaged: from there on the work is done again."""
    for place, line in enumerate(lines):
        try:
            if line != _sealed(aside, line["entry"], place):
                return
        except (LookupError, OSError, TypeError, ValueError):
            return
        yield line["entry"]


def panel(target: np.ndarray, swap: np.ndarray, layers, panels: str) -> np.ndarray:
    """Lay a swap beside its target, and both beside the mask, as `PANELS` says."""
    if panels == "swap":
        return swap
    parts = [target, swap]
    if panels == "triple":
        mask = (merge.shown(target, layers) * 255).round().astype(np.uint8)
        parts.append(np.repeat(mask[..., None], 3, 2))
    return np.hstack(parts)


class _Beside:
    """Does one thing after another beside the main work, a few of them waiting.

    Encoders and disks leave Python alone most of the time.
    """

    def __enter__(self):
        self.pool, self.waiting = ThreadPoolExecutor(1), deque()
        return self

    def submit(self, do, *arguments):
        if len(self.waiting) >= 8:
            self.waiting.popleft().result()
        self.waiting.append(self.pool.submit(do, *arguments))

    def __exit__(self, exception_type, *_):
        self.pool.shutdown(cancel_futures=exception_type is not None)
        if exception_type is None:
            for future in self.waiting:
                future.result()
