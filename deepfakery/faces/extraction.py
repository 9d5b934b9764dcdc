"""Footage → a folder of aligned faces, as far as it was not looked through before.

Decoding and detection run piece by piece in the processes of a pool, which hand back
small crops and no frames. This process takes the pieces in order, drops what it has
seen already, and writes. Only a few pieces are ever in memory.

A face folder knows by content, not by name, which files it was made from: moved or
renamed footage is the same, other footage under the same name is not.
"""

import json
import os
import re
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from deepfakery.faces import detect, filtering, people
from deepfakery.faces.faceset import EXAMPLES, FaceSet, piles, read_faces, read_state
from deepfakery.media import images, records, video
from deepfakery.media.workers import how_many, pool


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
    who = who if describe else "everyone"
    asked = None if who is None else str(who)  # for the next call to compare with
    if asked and asked not in ("most", "everyone") and not asked.isdecimal():
        images.read_image(who)  # says what is wrong with it
        asked = f"photo {records.digest(Path(who))}"
    if (folder / "faces.jsonl").exists():
        FaceSet.load(folder)  # nothing is added to faces of another version
    given = sources, folder, {**filtering.LIMITS, **limits}, describe
    job, was_there, is_new = Job(*given), folder.exists(), False
    try:
        if job.is_due or asked not in (None, job.state["who"]):
            with records.one_writer(folder, "extracts faces"):
                job = Job(*given)  # as another process may have left it meanwhile
                is_new = job.is_new
                if job.is_due:
                    job.run(workers)
                state = job.state
                is_same = state["chosen"] and asked in (None, state["who"])
                if is_same and state["chosen"] == "everyone":
                    who = "everyone"
                state |= {"who": asked or state["who"] or "most"}
                state |= {"frames": state["seen"]}
                known = state["sorted"] if is_same else 0
                people.sort(folder, who or "most", state, known)
        kept, asked = job.state["chosen"], job.state["who"]
        if kept not in (asked, {"most": "1"}.get(asked)):
            kept = f"person {kept}" if kept.isdecimal() else kept
            print(f"{folder} keeps {kept}, as chosen; another `who` changes that.")
        return _enough(FaceSet.load(folder), job.state, sources, minimum)
    except ValueError:
        if is_new:
            _discard(folder, job.state)
            if not was_there:
                with suppress(OSError):  # somebody else's files lie there
                    folder.rmdir()
        raise


def _enough(found: FaceSet, state: dict, sources: list, minimum: int) -> FaceSet:
    source, rejected = ", ".join(map(str, sources)), state["rejected"]
    if len(found) >= minimum:
        return found
    if len(found):
        raise ValueError(
            f"{source} shows only {len(found)} faces; training needs at least "
            f"{minimum}. Use longer footage, or add photos."
        )
    if state["lines"]:
        raise ValueError(
            f"{found.folder} has lost all {state['lines']} faces: none has both a "
            "picture and a line in faces.jsonl. Put them back, or delete the folder to "
            "extract them anew."
        )
    if rejected:
        reasons = ", ".join(f"{count} {why}" for why, count in rejected.items())
        raise ValueError(
            f"{source} shows no face that is good enough ({reasons}); use better "
            "footage or other `limits`."
        )
    raise ValueError(f"{source} shows no face; use footage in which one is seen.")


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
    folder, done, failed = Path(folder).absolute(), {}, {}
    work = partial(extract, workers=0, **options)
    with pool(min(how_many(workers), len(sources)), executor) as crew:
        running = {
            crew.submit(work, Path(source).absolute(), folder / name): name
            for name, source in sources.items()
        }
        for future in tqdm(as_completed(running), total=len(running), unit="clip"):
            name = running[future]
            try:
                future.result()
                done[name] = FaceSet.load(folder / name)
            except Exception as error:  # whatever befell one clip, the rest goes on
                failed[name] = str(error) or type(error).__name__
    return tuple({n: part[n] for n in sources if n in part} for part in (done, failed))


class Job:
    """The extraction of some sources into a face folder, compared with what it holds.

    Attributes:
        state: What `extraction.json` holds, see `faceset.STATE`, and new files.
        paths: Where the files of the sources are, by digest.
        is_new: The folder holds no extraction yet.
        is_due: There is footage to look through, or footage has gone.
    """

    def __init__(self, sources: list[Path], folder: Path, limits: dict, describe: bool):
        self.folder, self.index = folder, folder / "faces.jsonl"
        names = [s.name or s.resolve().name for s in sources]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        source = ", ".join(names[:3]) + more
        footage, state = _footage(sources, folder), read_state(folder)
        if not footage:
            raise video.MediaError(
                f"{source} holds no image or clip; give footage of a person."
            )
        self.is_new = state is None
        if self.is_new and self.index.exists():
            raise ValueError(
                f"{folder} holds faces, and no extraction.json that says of what; "
                "choose another folder."
            )
        if self.is_new:
            state = {"source": source, "describe": describe, "limits": limits}
            state |= dict.fromkeys(("seen", "with_face", "lines", "sorted"), 0)
            state |= dict.fromkeys(("frames", "who", "chosen"))
            state |= {"files": [], "rejected": {}}
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
        gone = [file["gone"] for file in files]
        new = self._find(footage)
        if state["seen"] and not self.paths:
            raise ValueError(
                f"{folder} holds faces of {state['source']}, not of {source}: none of "
                f"the {len(files)} files they were found in is there, or their content "
                "has changed since. Choose another folder, or delete it."
            )
        self._add(new)
        for file in files:
            file["gone"] = file["digest"] not in self.paths
        state["source"] = source
        self.is_due = (
            state["frames"] is None
            or gone != [file["gone"] for file in files]
            or not all(file["done"] or file["gone"] for file in files)
        )

    def _find(self, footage: list[tuple[Path, int]]) -> dict[str, tuple]:
        """Find the known files among the footage; the new ones are given back."""
        known = {file["digest"]: file for file in self.state["files"]}
        digests = {str(file["stat"]): digest for digest, file in known.items()}
        self.paths, new = {}, {}
        for path, parts in footage:
            stat = path.stat()
            stat = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            digest = digests.get(str(stat), f"unreadable {path}")
            if str(stat) not in digests:
                with suppress(OSError):  # said when it is looked through
                    digest = records.digest(path)
            if digest in known:
                self.paths[digest], known[digest]["stat"] = path, stat
            else:
                new.setdefault(digest, (path, parts, stat))
        return new

    def _add(self, new: dict[str, tuple]) -> None:
        """Name new files, each unlike all others."""
        names = {file["name"] for file in self.state["files"]}
        stems = {file["stem"].casefold() for file in self.state["files"]}
        if new and self.folder.is_dir():  # names that would overwrite somebody's file
            faces = re.compile(r"_\d{6,}(_\d+)?\.jpg$")
            stems |= {faces.sub("", n).casefold() for n in os.listdir(self.folder)}
        for digest, (path, parts, stat) in new.items():
            ends = ["/".join(path.parts[-n:]) for n in range(parts, len(path.parts))]
            unlike = f"-{digest[:8]}"
            name = next((n for n in ends if n not in names), ends[0] + unlike)
            stem = PurePosixPath(name).with_suffix("").as_posix()
            stem = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]', "_", stem)[-50:].lstrip(". ")
            stem = stem or "face"
            stem += unlike if stem.casefold() in stems else ""
            names.add(name)
            stems.add(stem.casefold())
            file = {"name": name, "stem": stem, "digest": digest, "stat": stat}
            self.state["files"].append(file | {"at": 0, "done": False, "gone": False})
            self.paths[digest] = path

    def save(self) -> None:
        records.write(self.folder / "extraction.json", json.dumps(self.state))

    def run(self, workers: int | None) -> None:
        """Look through what has not been looked through yet."""
        state, workers, waiting = self.state, how_many(workers), deque()
        # What was written after the state was saved is written again.
        done = [r for r in read_faces(self.folder) if r["number"] < state["lines"]]
        records.write_lines(self.index, done)
        state["frames"], self.next_save = None, 0.0
        self.save()
        novelty = self._known()
        bar = tqdm(total=self._count(), initial=state["seen"], unit="frame")
        bar.set_description(f"faces of {self.folder.name}")
        with bar, pool(workers) as crew:
            for *part, found in self._look_through(crew, workers):
                kept, chips = [], []
                for record, jpeg, chip in found.kept:
                    image = filtering.decode(jpeg)
                    if novelty.add(image):
                        kept.append((record, jpeg))
                        chips.append(chip)
                    else:
                        found.reject("near-duplicate", image)
                # Descriptors are computed while later pieces are looked through.
                described = [
                    crew.submit(detect.describe_chips, chips[i : i + 8])
                    for i in range(0, len(chips) if state["describe"] else 0, 8)
                ]
                waiting.append((*part, found, kept, described))
                if len(waiting) > 1:
                    self._store(*waiting.popleft(), bar)
            while waiting:
                self._store(*waiting.popleft(), bar)
        if not state["seen"]:
            raise video.MediaError(
                f"{state['source']} holds no image or clip that can be read; give one."
            )

    def _known(self) -> filtering.Novelty:
        novelty = filtering.Novelty(self.state["limits"]["alike"])
        gone = {file["name"] for file in self.state["files"] if file["gone"]}
        found, places = people.gather(self.folder)
        for name in (r["image"] for r in found if r["source"] not in gone):
            novelty.add(filtering.decode((places[name] / name).read_bytes()))
        return novelty

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

    def _look_through(self, crew, workers) -> Iterator[tuple]:
        """(file, pieces so far, whether that is all, what was found), in order."""
        waiting = deque()
        for place, file, path in self._to_do():
            try:
                pieces = filtering.pieces(path, place)
            except video.MediaError as error:
                warnings.warn(f"Left out: {error}", stacklevel=3)
                pieces = []
            file["done"] = len(pieces) <= file["at"]
            for at, piece in enumerate(pieces[file["at"] :], file["at"] + 1):
                named = file["name"], file["stem"], self.state["limits"]
                future = crew.submit(filtering.filter_piece, path, *piece, *named)
                waiting.append((file, at, at == len(pieces), future))
                if len(waiting) > workers:
                    *part, future = waiting.popleft()
                    yield *part, future.result()
        yield from ((*part, future.result()) for *part, future in waiting)

    def _store(self, file, at, is_done, found, kept, described, bar) -> None:
        state = self.state
        for text in found.warnings:
            warnings.warn(text, stacklevel=3)
        vectors = [vector for part in described for vector in part.result().tolist()]
        for i, (record, jpeg) in enumerate(kept):
            record["number"] = state["lines"] + i
            if vectors:
                record["descriptor"] = [round(v, 5) for v in vectors[i]]
            records.write(self.folder / record["image"], jpeg)
        for reason, pictures in found.examples.items():
            place = self.folder / "rejected" / reason
            place.mkdir(parents=True, exist_ok=True)
            free = (place / f"{i:02d}.jpg" for i in range(EXAMPLES))
            free = (example for example in free if not example.exists())
            for example, jpeg in zip(free, pictures, strict=False):
                records.write(example, jpeg)
        lines = (json.dumps(record) + "\n" for record, _ in kept)
        records.append(self.index, "".join(lines))
        file["at"], file["done"] = at, is_done
        state["lines"] += len(kept)
        state["seen"] += found.frames
        state["with_face"] += found.with_face
        state["rejected"] = dict(Counter(state["rejected"]) + found.rejected)
        started = time.monotonic()
        if started >= self.next_save:  # a list of many thousand files takes its time
            self.save()
            self.next_save = started + 20 * (time.monotonic() - started)
        bar.set_postfix(kept=state["lines"], refresh=False)
        bar.update(found.frames)


def _footage(sources: list[Path], folder: Path) -> list[tuple[Path, int]]:
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
    return list(found.items())


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
