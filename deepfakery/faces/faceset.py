"""Footage → a folder of aligned faces that a person can look through.

A face folder is plain images plus `faces.jsonl`, one JSON object a face. The images
are the truth: delete one in a file manager and that face is gone.
"""

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from deepfakery.faces import extraction, filtering, geometry, people
from deepfakery.media import images, records
from deepfakery.media.workers import how_many, pool

#: Fewer faces than this teach a decoder nothing that holds up.
MINIMUM = 64


@dataclass(frozen=True)
class FaceSet:
    """The faces of one identity, read from a face folder.

    Attributes:
        folder: Where the images lie.
        records: One dict a face, in order of extraction, as in `faces.jsonl`:
            `image` (file name in the folder), `source` (file name, with as many of its
            folders as tell it from the others), `frame` (index; of a photo, its place),
            `time` (seconds), `landmarks` (68 pairs, pixels of the source frame),
            `transform` (2×3, source pixels → pixels of the image), `score`, `size`
            (pixels), `sharpness`, `light` (0 to 255), `pose` (yaw, pitch, roll in
            degrees), `descriptor` (128), `number` (of the face, in all the footage),
            `version` (`geometry.GEOMETRY`).
    """

    folder: Path
    records: list[dict]

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "FaceSet":
        """Read a face folder; what is no sound face in it is warned of and left out.

        Raises:
            FileNotFoundError: It is not a face folder.
            ValueError: Its faces are aligned as another version did it.
        """
        folder = Path(folder)
        index = folder / "faces.jsonl"
        if not index.exists():
            raise FileNotFoundError(
                f"{folder} is not a face folder: it holds no faces.jsonl. "
                "Make one with faceset.extract (notebook 01)."
            )
        found = filtering.read_faces(folder)
        found = [r for r in found if records.own_file(folder, r["image"])]
        if any(r.get("version") != geometry.GEOMETRY for r in found):
            raise ValueError(
                f"{folder} was made by another version of this project, which aligned "
                "faces otherwise. Extract the footage again, into another folder."
            )
        torn = [r["image"] for r in found if not _is_whole(folder / r["image"])]
        if torn:
            warnings.warn(
                f"{folder / torn[0]} is cut short"
                + (f", and {len(torn) - 1} more" if torn[1:] else "")
                + "; left out. Delete it, or extract its footage again.",
                stacklevel=2,
            )
        return cls(folder, [r for r in found if r["image"] not in torn])

    def __len__(self) -> int:
        return len(self.records)

    def images(self, size: int = geometry.FACE_SIZE, limit: int | None = None):
        """The aligned faces, or `limit` of them spread evenly.

        Args:
            size: Side in pixels to scale them to.
            limit: At most this many.

        Returns:
            (N, size, size, 3) uint8 RGB.
        """
        shown = self.spread(limit).records
        shape = (len(shown), size, size, 3)
        out = np.empty(shape, np.uint8)
        for i, record in enumerate(shown):
            image = images.read_image(self.folder / record["image"])
            if image.shape[0] != size:
                image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            out[i] = image
        return out

    def spread(self, limit: int | None) -> "FaceSet":
        """At most `limit` of the faces, spread evenly; all of them for None."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(int)
        return FaceSet(self.folder, [self.records[i] for i in chosen])

    def landmarks(self, size: int = geometry.FACE_SIZE) -> np.ndarray:
        """(N, 68, 2) float32 landmarks in pixels of the aligned faces at `size`."""
        points = [
            geometry.transform_points(
                np.float32(r["landmarks"]), np.float32(r["transform"])
            )
            for r in self.records
        ]
        points = np.float32(points).reshape(-1, 68, 2)
        return np.float32(geometry.resize_points(points, size / geometry.FACE_SIZE))

    def descriptors(self) -> np.ndarray:
        """(N, 128) float32 identity descriptors.

        Raises:
            ValueError: Some face has none.
        """
        if any(r["descriptor"] is None for r in self.records):
            raise ValueError(
                f"{self.folder} was filled without descriptors; extract into another "
                "folder with describe=True."
            )
        return np.float32([r["descriptor"] for r in self.records]).reshape(-1, 128)

    def fingerprint(self) -> str:
        """How many faces and which, in a few letters: a run's configuration holds it.

        A folder that lost faces, or won some, is then not taken for the same one.
        """
        # Cameras give the pictures of two people the same names: not by name alone.
        known = [(r["image"], r["transform"], r["version"]) for r in self.records]
        known = hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return f"{len(self)} faces, {known[:12]}"

    def others(self) -> dict[str, "FaceSet"]:
        """The other people of the same footage: `person_<number>` → their faces."""
        return {
            pile.name: FaceSet.load(pile)
            for pile in filtering.piles(self.folder)[1:]
            if pile.name.startswith("person_") and (pile / "faces.jsonl").exists()
        }

    def rejected(self) -> dict[str, tuple[int, np.ndarray]]:
        """What extraction turned away.

        Returns:
            Reason → (how many faces, (N, 256, 256, 3) uint8 of a few of them).
        """
        state, out = extraction.read_state(self.folder), {}
        for reason, count in state["rejected"].items() if state else ():
            place = self.folder / "rejected" / reason
            files = [
                records.own_file(place, f"{i:02d}.jpg")
                for i in range(filtering.EXAMPLES)
            ]
            few = [images.read_image(file) for file in files if file]
            shape = (-1, geometry.FACE_SIZE, geometry.FACE_SIZE, 3)
            out[reason] = count, np.uint8(few).reshape(shape)
        return out

    def split(self, held_out: float = 0.1) -> tuple["FaceSet", "FaceSet"]:
        """Faces to train on and faces to judge by, always the same ones.

        Neighbouring frames are nearly equal, so that single frames held out would be
        known from training; a few stretches are held out, spread over the footage.

        Args:
            held_out: Share to hold out, 0 to 1.

        Returns:
            (to train on, held out); together all faces.
        """
        count = len(self)
        held = min(count, max(1, round(held_out * count))) if held_out > 0 else 0
        stretches = min(4, held)
        chosen = set()
        for i in range(stretches):
            length = held * (i + 1) // stretches - held * i // stretches
            start = (count * (2 * i + 1) // stretches - length) // 2
            chosen.update(range(start, start + length))
        parts = ([], [])
        for i, record in enumerate(self.records):
            parts[i in chosen].append(record)
        return tuple(FaceSet(self.folder, part) for part in parts)

    def require(self, minimum: int = MINIMUM) -> "FaceSet":
        """This face set, if it holds enough faces to train on.

        Raises:
            ValueError: It holds fewer than `minimum`.
        """
        if len(self) < minimum:
            raise ValueError(
                f"{self.folder} holds {len(self)} faces; training needs at least "
                f"{minimum}. Extract from more footage."
            )
        return self


def extract(
    source: str | os.PathLike | list,
    folder: str | os.PathLike,
    *,
    who: str | int | os.PathLike | None = None,
    minimum: int = 1,
    describe: bool = True,
    limits: dict | None = None,
    workers: int | None = None,
) -> FaceSet:
    """Find the faces of footage, filter them, and keep those of one person.

    Interrupted and called again, it goes on where it stopped. Where clips or photos
    were added, only these are looked through. The faces of footage that is no longer
    there are laid aside, in `others/removed`, and come back with it. Faces that were
    deleted by hand stay deleted. The other people that the footage shows are laid
    beside, see `people`; asked again for another `who`, it looks through nothing anew.

    Args:
        source: A clip, a photo, a folder of either, or a list of these.
        folder: The face folder to fill, made if missing.
        who: "most" for the person seen most often, a number of `people`, the path of
            a photo of the person, or "everyone". None, or the same as before, keeps
            who was chosen before, by `people.choose` too; at first it is "most".
        minimum: Fewer faces than this are an error.
        describe: Also compute identity descriptors, a tenth of a second each. Without
            them it is everyone who is kept.
        limits: What is to differ from `filtering.LIMITS`.
        workers: Processes; one a core by default. 0 works in this process.

    Returns:
        The finished face set.

    Raises:
        video.MediaError: The source cannot be read.
        ValueError: It shows too few faces, the folder holds faces of something else,
            or lies in the source. What this call wrote into a folder that it made is
            removed again.
        OSError: The folder cannot be written, or another process writes it.
    """
    sources = [Path(s) for s in (source if isinstance(source, list) else [source])]
    folder, limits = Path(folder), limits or {}
    if unknown := limits.keys() - filtering.LIMITS.keys():
        raise ValueError(
            f"There is no limit {sorted(unknown)}; choose from "
            f"{list(filtering.LIMITS)}."
        )
    asked = _asked(who) if describe else "everyone"
    is_new, found = not folder.exists(), None
    if (folder / "faces.jsonl").exists():
        found = FaceSet.load(folder)  # nothing is added to faces of another version
    job = extraction.Job(sources, folder, {**filtering.LIMITS, **limits}, describe)
    if (
        job.is_due
        or job.state["chosen"] is None
        or asked not in (None, job.state["who"])
    ):
        try:
            with records.one_writer(folder, "extracts faces"):
                job.read()  # as another process may have left it meanwhile
                is_new &= job.is_new
                try:
                    if job.is_due:
                        job.run(workers)
                    _choose(job, who if describe else "everyone", asked)
                    return _enough(FaceSet.load(folder), job, minimum)
                except ValueError:
                    if is_new:
                        extraction.discard(folder, job.state)
                    raise
        except ValueError:
            if is_new:
                with suppress(OSError):  # somebody else's files lie there
                    folder.rmdir()
            raise
    if job.state["chosen"] != job.state["who"]:
        _tell_kept(job)
    return _enough(found or FaceSet.load(folder), job, minimum)


def _asked(who) -> str | None:
    """Whom a call asks for, so that the next one can tell whether it asks the same."""
    if who is None or str(who) in ("most", "everyone") or str(who).isdecimal():
        return None if who is None else str(who)
    images.read_image(who)  # says what is wrong with it
    return f"photo {records.digest(Path(who))}"


def _choose(job: extraction.Job, who, asked: str | None) -> None:
    """Leave one person in the folder: who is asked for now, or was chosen before."""
    state, known = job.state, 0
    if asked in (None, state["who"]) and state["chosen"]:
        chosen, known = state["chosen"], state["sorted"]
        who = chosen if chosen == "everyone" else who or "most"
    else:
        chosen = asked or "most"
    number = people.sort(job.folder, who or chosen, job.gone(), known)
    # By now the same person may have another number.
    if known and (chosen.isdecimal() or chosen == "most" and number != 1):
        chosen = str(number)
    asked = asked or state["who"] or chosen
    job.save(who=asked, chosen=chosen, sorted=state["lines"], frames=state["seen"])
    if chosen != asked:
        _tell_kept(job)


def _tell_kept(job: extraction.Job) -> None:
    chosen = job.state["chosen"]
    chosen = f"person {chosen}" if chosen.isdecimal() else chosen
    print(f"{job.folder} keeps {chosen}, as chosen there; another `who` changes that.")


def extract_many(
    sources: list,
    folder: str | os.PathLike,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    **options,
) -> tuple[dict[str, FaceSet], dict[str, str]]:
    """`extract` for many clips, each into a face folder of its own, several at once.

    One that fails does not stop the others; run again, only what is missing is done.

        from dask.distributed import Client
        with Client("scheduler:8786") as client:
            extract_many(clips, "/shared/faces", executor=client.get_executor())

    Args:
        sources: Clips, photos or folders of photos.
        folder: Where the face folders are made, named after their sources. On a
            cluster every machine must see it and the sources under the same path.
        executor: What runs the clips; by default processes on this machine.
        workers: Processes on this machine; one a core by default.
        **options: As for `extract`.

    Returns:
        ({name: faces}, {name: what went wrong}).
    """
    folder = Path(folder).absolute()
    jobs = dict(_named([Path(source).absolute() for source in sources], folder))
    done, failed = {}, {}
    with pool(min(how_many(workers), len(jobs)), executor) as crew:
        running = {
            crew.submit(_extract_one, source, folder / name, options): name
            for name, source in jobs.items()
        }
        for future in tqdm(as_completed(running), total=len(jobs), unit="clip"):
            name = running[future]
            try:
                future.result()
                done[name] = FaceSet.load(folder / name)
            except Exception as error:  # whatever befell one clip, the rest goes on
                failed[name] = str(error) or type(error).__name__
    in_order = {name: done[name] for name in jobs if name in done}
    return in_order, {name: failed[name] for name in jobs if name in failed}


def _named(sources: list[Path], folder: Path) -> Iterator[tuple[str, Path]]:
    """A face folder's name for each source: of two that share it, with their folder."""
    taken, stems = set(), Counter(source.stem.casefold() for source in sources)
    for source in dict.fromkeys(sources):
        parts = source.with_suffix("").parts
        names = ["_".join(parts[-count:]) for count in range(1, len(parts))]
        names = [name for name in names if name.casefold() not in taken]
        first = names[stems[source.stem.casefold()] > 1 :]
        made = [name for name in names if _is_made_from(source, folder / name)]
        names = made + first
        name = names[0] if names else f"{source.stem}_{len(taken)}"
        taken.add(name.casefold())
        yield name, source


def _is_made_from(source: Path, folder: Path) -> bool:
    with suppress(ValueError):
        found = folder.exists() and extraction.Job([source], folder, None, False)
        return found and not found.is_new
    return False


def _extract_one(source: Path, folder: Path, options: dict) -> None:
    extract(source, folder, workers=0, **options)


def _enough(faceset: FaceSet, job: extraction.Job, minimum: int) -> FaceSet:
    source, found = job.name, job.state["lines"]
    if len(faceset) >= minimum:
        return faceset
    if not len(faceset):
        if found:
            raise ValueError(
                f"{faceset.folder} has lost all {found} faces: none has both a picture "
                "and a line in faces.jsonl. Put them back, or delete the folder to "
                "extract them anew."
            )
        rejected = faceset.rejected()
        if rejected:
            reasons = ", ".join(f"{n} {why}" for why, (n, _) in rejected.items())
            raise ValueError(
                f"{source} shows no face that is good enough ({reasons}); use better "
                "footage or other `limits`."
            )
        raise ValueError(f"{source} shows no face; use footage in which one is seen.")
    raise ValueError(
        f"{source} shows only {len(faceset)} faces; training needs at least {minimum}. "
        "Use longer footage, or add photos."
    )


def _is_whole(file: Path) -> bool:
    """Whether a JPEG ends as one does; of other kinds nothing is asked."""
    if file.suffix != ".jpg":
        return True
    with open(file, "rb") as data:
        data.seek(0, os.SEEK_END)
        data.seek(-min(2, data.tell()), os.SEEK_END)
        return data.read() == b"\xff\xd9"
