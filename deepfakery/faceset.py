"""Footage → a folder of aligned faces that a person can look through and weed.

A face folder is plain images plus `faces.jsonl`, one JSON object a face. The images
are the truth: delete one in a file manager and that face is gone.
"""

import hashlib
import json
import os
import shutil
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from deepfakery import extraction, faces, images, people, records, weeding
from deepfakery.workers import how_many, pool

#: Fewer faces than this teach a decoder nothing that holds up.
MINIMUM = 64


@dataclass(frozen=True)
class FaceSet:
    """The faces of one identity, read from a face folder.

    Attributes:
        folder: Where the images lie.
        records: One dict a face, in order of extraction, as in `faces.jsonl`:
            `image` (file name in the folder), `source` (file name), `frame` (index),
            `time` (seconds), `landmarks` (68 pairs, pixels of the source frame),
            `transform` (2×3, source pixels → pixels of the image), `score`, `size`
            (pixels), `sharpness`, `light` (0 to 255), `pose` (yaw, pitch, roll in
            degrees), `descriptor` (128), `number` (of the face, in all the footage).
    """

    folder: Path
    records: list[dict]

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "FaceSet":
        """Read a face folder.

        Raises:
            FileNotFoundError: It is not a face folder.
        """
        folder = Path(folder)
        index = folder / "faces.jsonl"
        if not index.exists():
            raise FileNotFoundError(
                f"{folder} is not a face folder: it holds no faces.jsonl. "
                "Make one with faceset.extract (notebook 01)."
            )
        found = records.read_lines(index)
        return cls(folder, [r for r in found if (folder / r["image"]).exists()])

    def __len__(self) -> int:
        return len(self.records)

    def images(self, size: int = faces.FACE_SIZE, limit: int | None = None):
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

    def landmarks(self, size: int = faces.FACE_SIZE) -> np.ndarray:
        """(N, 68, 2) float32 landmarks in pixels of the aligned faces at `size`."""
        points = [
            faces.transform_points(
                np.float32(r["landmarks"]), np.float32(r["transform"])
            )
            for r in self.records
        ]
        return np.float32(points).reshape(-1, 68, 2) * (size / faces.FACE_SIZE)

    def descriptors(self) -> np.ndarray:
        """(N, 128) float32 identity descriptors."""
        return np.float32([r["descriptor"] for r in self.records]).reshape(-1, 128)

    def fingerprint(self) -> str:
        """How many faces and which, in a few letters: a run's configuration holds it.

        A folder that lost faces, or won some, is then not taken for the same one.
        """
        names = "\n".join(r["image"] for r in self.records)
        return f"{len(self)} faces, {hashlib.sha256(names.encode()).hexdigest()[:12]}"

    def others(self) -> dict[str, "FaceSet"]:
        """The other people of the same footage: `person_<number>` → their faces."""
        folders = sorted((self.folder / "others").glob("person_*/"))
        return {folder.name: FaceSet.load(folder) for folder in folders}

    def rejected(self) -> dict[str, tuple[int, np.ndarray]]:
        """What extraction turned away.

        Returns:
            Reason → (how many faces, (N, 256, 256, 3) uint8 of a few of them).
        """
        state = json.loads((self.folder / "extraction.json").read_text())
        out = {}
        for reason, count in state["rejected"].items():
            files = sorted((self.folder / "rejected" / reason).glob("*.jpg"))
            few = [images.read_image(file) for file in files]
            shape = (-1, faces.FACE_SIZE, faces.FACE_SIZE, 3)
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
    who: str | int | os.PathLike = "most",
    minimum: int = 1,
    describe: bool = True,
    limits: dict | None = None,
    workers: int | None = None,
) -> FaceSet:
    """Find the faces of footage, weed them, and keep those of one person.

    Interrupted and called again, it goes on where it stopped. The other people that
    the footage shows are laid beside, see `people`; asked again for another `who`, it
    looks through nothing anew.

    Args:
        source: A clip, a photo, a folder of either, or a list of these.
        folder: The face folder to fill, made if missing.
        who: "most" for the person seen most often, a number of `people`, the path of
            a photo of the person, or "everyone".
        minimum: Fewer faces than this are an error.
        describe: Also compute identity descriptors, a tenth of a second each. Without
            them it is everyone who is kept.
        limits: What is to differ from `weeding.LIMITS`.
        workers: Processes; one a core by default. 0 works in this process.

    Returns:
        The finished face set.

    Raises:
        video.MediaError: The source cannot be read.
        ValueError: It shows too few faces, or the folder holds faces of something
            else. A folder that this call made is removed again.
        OSError: The folder cannot be written.
    """
    sources = [Path(s) for s in (source if isinstance(source, list) else [source])]
    folder, limits = Path(folder), limits or {}
    if unknown := limits.keys() - weeding.LIMITS.keys():
        raise ValueError(
            f"There is no limit {sorted(unknown)}; choose from {list(weeding.LIMITS)}."
        )
    who = str(who) if describe else "everyone"
    is_new = not folder.exists()
    job = extraction.Job(sources, folder, {**weeding.LIMITS, **limits}, describe)
    try:
        if job.state["frames"] is None:
            job.run(workers)
        # A photo may be another one under the same name.
        if job.state["who"] != who or Path(who).is_file():
            if {who, job.state["who"]} != {"everyone", None}:
                people.choose(folder, who)
            job.save(who=who)
        return _enough(FaceSet.load(folder), job.name, minimum)
    except ValueError:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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
    jobs = {}
    for source in map(Path, sources):
        name = source.stem
        if name in jobs:  # two of the same name, from different folders
            name = f"{source.resolve().parent.name}_{name}"
        while name in jobs:
            name += "_"
        jobs[name] = source.absolute()
    done, failed, folder = {}, {}, Path(folder).absolute()
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


def _extract_one(source: Path, folder: Path, options: dict) -> None:
    extract(source, folder, workers=0, **options)


def _enough(faceset: FaceSet, source: str, minimum: int) -> FaceSet:
    if len(faceset) >= minimum:
        return faceset
    if not len(faceset):
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
