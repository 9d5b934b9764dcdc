"""Footage → a folder of aligned faces, as far as it was not looked through before."""

import json
import os
import re
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from deepfakery.faces import detect, filtering, people
from deepfakery.faces.faceset import (
    EXAMPLES,
    FaceSet,
    piles,
    read_faces,
    read_state,
    refuse_links,
)
from deepfakery.media import images, records, video
from deepfakery.media.clips import each
from deepfakery.media.workers import how_many, pool

#: A face of 256 pixels and its record take about as much; a frame shows one, as a rule.
FACE_BYTES = 40_000


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

    Called again, it goes on where it stopped, and looks through added footage alone,
    whatever it is called and wherever it lies. Faces that were deleted by hand stay
    deleted; those of footage that has gone are moved to `others/removed` until it is
    back; those of other people to `others`, see `people`.

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

    Raises:
        video.MediaError: The source cannot be read.
        ValueError: It shows too few faces, the folder holds faces of something else,
            or lies in the source. What this call wrote into a folder that it made is
            removed again.
        OSError: The folder cannot be written, or another process writes it.
    """
    sources = [Path(s) for s in (source if isinstance(source, list) else [source])]
    folder, limits, known = Path(folder), limits or {}, filtering.LIMITS
    if unknown := limits.keys() - known.keys():
        raise ValueError(f"There is no limit {[*unknown]}; choose from {[*known]}.")
    who = who if describe else "everyone"
    asked = None if who is None else str(who)  # for the next call to compare with
    if asked not in (None, "most", "everyone") and not asked.isdecimal():
        images.read_image(who)  # says what is wrong with it
        asked = f"photo {records.digest(Path(who))}"
    given = _footage(sources, folder), folder, known | limits, describe
    job, was_there, is_new = Job(*given), folder.exists(), False
    try:
        if job.is_due or asked not in (None, job.state["who"]):
            with records.one_writer(folder, "extracts faces"):
                job = Job(*given)  # as another process may have left it meanwhile
                state, is_new = job.state, job.is_new
                if job.is_due:
                    job.run(workers)
                is_same = state["chosen"] and asked in (None, state["who"])
                if is_same and state["chosen"] == "everyone":
                    who = "everyone"
                state["who"] = asked or state["who"] or "most"
                state["frames"] = state["seen"]
                placed = state["sorted"] if is_same else 0
                people.sort(folder, who or "most", state, placed)
        state = job.state
        kept, asked = state["chosen"], state["who"] or ""
        if kept != asked.replace("most", "1") and not asked.startswith("photo"):
            kept = f"person {kept}" if kept.isdecimal() else kept
            print(f"{folder} keeps {kept}, as chosen; another `who` changes that.")
        found = FaceSet.load(folder)
        if not state["lines"]:
            counts = (f"{count} {why}" for why, count in state["rejected"].items())
            raise ValueError(
                f"{_names(map(str, sources))} shows no face that is good enough "
                f"({', '.join(counts) or 'none'}); use other footage or `limits`."
            )
        if not found:
            raise ValueError(
                f"{folder} has lost all {state['lines']} faces: none has both a "
                "picture and a line in faces.jsonl. Put them back, or delete the "
                "folder to extract them anew."
            )
        if len(found) < minimum:
            raise ValueError(
                f"{_names(map(str, sources))} shows only {len(found)} faces; training "
                f"needs at least {minimum}. Use longer footage, or add photos."
            )
        return found
    except ValueError:
        if is_new:
            _discard(folder, job.state)
            if not was_there:
                with suppress(OSError):  # somebody else's files lie there
                    folder.rmdir()
        raise


def extract_many(
    sources: dict,
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
        sources: Name → clip, photo or folder of photos.
        folder: Where the face folders are made, each called by its name. On a
            cluster every machine must see it and the sources under the same path.
        executor: What runs the clips; by default processes on this machine.
        workers: Processes on this machine; one a core by default.
        **options: As for `extract`.

    Returns:
        ({name: faces}, {name: what went wrong}).
    """
    folder = Path(folder).absolute()

    def work(source, out):
        return extract(source, out, workers=0, **options).folder

    jobs = {n: (Path(s).absolute(), folder / n) for n, s in sources.items()}
    done, failed = each(work, jobs, kept, executor, workers)
    return {name: FaceSet.load(made) for name, made in done.items()}, failed


def kept(folder: Path) -> int:
    """Frames of footage that a face folder will not look through again."""
    with suppress(OSError, ValueError):  # `extract` says so, too
        state = read_state(folder)
        return state["seen"] if state else 0
    return 0


class Job:
    """The extraction of footage into a face folder, compared with what it holds.

    Attributes:
        state: What `extraction.json` holds, see `faceset.STATE`, and new files.
        paths: Where the files of the footage are, by digest.
        is_new: The folder holds no extraction yet.
        is_due: There is footage to look through, or footage has gone.
    """

    def __init__(self, footage: dict, folder: Path, limits: dict, describe: bool):
        self.folder, self.index = folder, folder / "faces.jsonl"
        state = read_state(folder)
        self.is_new = state is None
        if self.is_new and self.index.exists():
            raise ValueError(
                f"{folder} holds faces, and no extraction.json that says of what; "
                "choose another folder."
            )
        if self.is_new:
            state = {"describe": describe, "limits": limits, "files": []}
            state |= dict.fromkeys(("seen", "lines", "sorted"), 0) | {"rejected": {}}
            state |= dict.fromkeys(("frames", "who", "chosen"))
        if limits != state["limits"]:
            raise ValueError(
                f"{folder} was filled with the limits {state['limits']}; choose "
                "another folder for other limits, or delete it."
            )
        if describe and not state["describe"]:
            raise ValueError(
                f"{folder} was filled without descriptors, by which people are told "
                "apart; choose another folder, or pass describe=False again."
            )
        self.state, files = state, state["files"]
        known, self.paths, stats = {file["digest"] for file in files}, {}, {}
        digests = {str(file["stat"]): file["digest"] for file in files}
        for path in footage:
            stat = path.stat()
            stat = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            digest = digests.get(str(stat), f"unreadable {path}")
            if str(stat) not in digests:
                with suppress(OSError):  # said when it is looked through
                    digest = records.digest(path)
            stats[digest] = stat
            self.paths.setdefault(digest, path)
        if state["seen"] and not known & self.paths.keys():
            raise ValueError(
                f"{folder} holds faces of {_names(f['name'] for f in files)}, not of "
                f"{_names(path.name for path in footage)}: none of the {len(files)} "
                "files they were found in is there, or their content has changed "
                "since. Choose another folder, or delete it."
            )
        self._add({d: p for d, p in self.paths.items() if d not in known}, footage)
        self.is_due = state["frames"] is None
        for file in files:
            is_gone = file["digest"] not in self.paths
            self.is_due |= is_gone != file["gone"] or not (is_gone or file["done"])
            file |= {"gone": is_gone, "stat": stats.get(file["digest"], file["stat"])}

    def _add(self, new: dict[str, Path], parts: dict[Path, int]) -> None:
        """Name new files, in records and in the names of their pictures."""
        files = self.state["files"]
        names = {file["name"] for file in files}
        stems = {file["stem"].casefold() for file in files}
        # Somebody's own pictures may be there.
        for name in os.listdir(self.folder) if self.folder.is_dir() else ():
            stems.add(re.sub(r"_\d{6,}(_\d+)?\.jpg$", "", name).casefold())
        for digest, path in new.items():
            unlike, few = f"-{digest[:8]}", range(parts[path], len(path.parts))
            ends = ["/".join(path.parts[-n:]) for n in few]
            name = next((n for n in ends if n not in names), ends[0] + unlike)
            stem = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]', "_", os.path.splitext(name)[0])
            stem = stem[-50:].lstrip(". ") or "face"
            stem += unlike if stem.casefold() in stems else ""
            names.add(name)
            stems.add(stem.casefold())
            file = {"name": name, "stem": stem, "digest": digest, "stat": []}
            files.append(file | {"at": 0, "done": False, "gone": False})

    def run(self, workers: int | None) -> None:
        """Look through what has not been looked through yet."""
        state, workers = self.state, how_many(workers)
        rejected = self.folder / "rejected"
        refuse_links(self.folder / "others", rejected, *rejected.glob("*"))
        # What was written after the state was saved is written again.
        done = [r for r in read_faces(self.folder) if r["number"] < state["lines"]]
        state["frames"], self.next_save = None, 0.0
        # First: faces without it, as a kill in between would leave them, are refused.
        records.write(self.folder / "extraction.json", json.dumps(state))
        records.write_lines(self.index, done)
        total = self._count()
        records.room(self.folder, FACE_BYTES * (total - state["seen"]))
        bar = tqdm(total=total, initial=state["seen"], unit="frame")
        bar.set_description(f"faces of {self.folder.name}")
        with bar, pool(workers) as crew:
            # Descriptors are computed while later pieces are looked through.
            for part in _ahead(self._new(crew, workers), 1):
                self._store(*part, bar)
        if not state["seen"]:
            raise video.MediaError(
                f"{_names(file['name'] for file in state['files'])} holds no image or "
                "clip that can be read; give one."
            )

    def _to_do(self) -> Iterator[tuple[int, dict, Path]]:
        for place, file in enumerate(self.state["files"]):
            if not (file["done"] or file["gone"]):
                yield place, file, self.paths[file["digest"]]

    def _count(self) -> int:
        """Frames seen and still to be looked through, as far as headers tell."""
        total = self.state["seen"]
        for _, file, path in self._to_do():
            with suppress(video.MediaError):  # said when it is looked through
                count = 1 if images.is_image(path) else images.count_frames(path) or 0
                total += max(0, count - file["at"] * filtering.FRAMES)
        return total

    def _pieces(self, crew) -> Iterator[tuple]:
        """(file, pieces with this one, whether that is all, what is found: a future)"""
        for place, file, path in self._to_do():
            pieces = filtering.pieces(path, place)
            file["done"] = len(pieces) <= file["at"]
            for at, piece in enumerate(pieces[file["at"] :], file["at"] + 1):
                named = file["name"], file["stem"], self.state["limits"]
                future = crew.submit(filtering.filter_piece, path, *piece, *named)
                yield file, at, at == len(pieces), future

    def _new(self, crew, workers: int) -> Iterator[tuple]:
        """The pieces in order, with the faces that are new and their descriptors."""
        novelty = filtering.Novelty(self.state["limits"]["alike"])
        gone = {file["name"] for file in self.state["files"] if file["gone"]}
        found, places = people.gather(self.folder)
        names = [r["image"] for r in found if r["source"] not in gone]
        for image in images.read_each(places[name] / name for name in names):
            novelty.add(image)
        for *part, future in _ahead(self._pieces(crew), workers):
            found, kept = future.result(), []
            for one in found.kept:
                image = filtering.decode(one[1])
                if novelty.add(image):
                    kept.append(one)
                else:
                    found.reject("near-duplicate", image)
            chips = [chip for *_, chip in kept] if self.state["describe"] else []
            eights = [chips[i : i + 8] for i in range(0, len(chips), 8)]
            described = [crew.submit(detect.describe_chips, few) for few in eights]
            yield *part, found, kept, described

    def _store(self, file, at, is_done, found, kept, described, bar) -> None:
        state = self.state
        for text in found.warnings:
            warnings.warn(text, stacklevel=3)
        vectors = [vector for part in described for vector in part.result().tolist()]
        for i, (record, jpeg, _) in enumerate(kept):
            record["number"] = state["lines"] + i
            if vectors:
                record["descriptor"] = [round(v, 5) for v in vectors[i]]
            records.write(self.folder / record["image"], jpeg)
        for reason, pictures in found.examples.items():
            place = self.folder / "rejected" / reason
            with records.told(place):
                place.mkdir(parents=True, exist_ok=True)
            free = (place / f"{i:02d}.jpg" for i in range(EXAMPLES))
            free = (example for example in free if not example.exists())
            for example, jpeg in zip(free, pictures, strict=False):
                records.write(example, jpeg)
        lines = (json.dumps(record) + "\n" for record, *_ in kept)
        records.append(self.index, "".join(lines))
        file["at"], file["done"] = at, is_done
        state["lines"] += len(kept)
        state["seen"] += found.frames
        state["rejected"] = dict(Counter(state["rejected"]) + found.rejected)
        if time.monotonic() >= self.next_save:  # a list of thousands takes its time
            records.write(self.folder / "extraction.json", json.dumps(state))
            self.next_save = time.monotonic() + 2
        bar.set_postfix(kept=state["lines"], refresh=False)
        bar.update(found.frames)


def _ahead(stream: Iterable, count: int) -> Iterator:
    """The same items, each after so many later ones were begun."""
    waiting = deque()
    for item in stream:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _names(names: Iterable[str]) -> str:
    first, *more = names
    return f"{first} and {len(more)} more" if more else first


def _footage(sources: list[Path], folder: Path) -> dict[Path, int]:
    """Each clip and photo, and how many parts of its path name it in its source."""
    found = {}
    for source in sources:
        if not source.is_dir():
            if len(sources) == 1 or not source.exists():
                images.count_frames(source)  # says what is wrong with it
            found.setdefault(source.absolute(), 1)
            continue
        refuse_inside(folder, source)
        # The crops in a face folder are no footage, nor are those it turned away.
        made = {index.parent for index in source.rglob("faces.jsonl")}
        for file in images.list_files(source):
            if file.parent == source or not made & {*file.parents}:
                parts = len(file.relative_to(source).parts)
                found.setdefault(file.absolute(), parts)
    if not found:
        said = f"{_names(map(str, sources))} holds no image or clip; give footage."
        raise video.MediaError(said)
    return found


def refuse_inside(folder: Path, source: Path) -> None:
    """Raise ValueError where a folder to fill lies in the footage that fills it."""
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"{folder} lies in {source}, and what is written there would be taken for "
            "footage; choose a folder outside it."
        )


def _discard(folder: Path, state: dict) -> None:
    """Remove what an extraction wrote into a folder, and nothing else."""
    made = [folder / "extraction.json"]
    for pile in piles(folder):
        made += [pile / record["image"] for record in read_faces(pile)]
        made.append(pile / "faces.jsonl")
    for reason in state["rejected"]:
        made += [folder / "rejected" / reason / f"{i:02d}.jpg" for i in range(EXAMPLES)]
    for file in made:
        file.unlink(missing_ok=True)
    places = {file.parent for file in made} | {folder / "others", folder / "rejected"}
    for place in sorted(places - {folder}, reverse=True):  # the inner ones first
        with suppress(OSError):  # somebody's files lie there, or it is not there
            place.rmdir()
