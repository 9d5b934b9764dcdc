"""An extraction under way: the work for many processes, and how far it has come.

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
import unicodedata
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from deepfakery.faces import detect, filtering
from deepfakery.media import images, records, video
from deepfakery.media.workers import how_many, pool

#: What `extraction.json` holds → its type.
STATE = {
    "source": str,  # names of the sources, for messages
    "describe": bool,
    "limits": dict,
    "files": list,  # a dict each, as in `FILE`
    "seen": int,  # frames
    "with_face": int,  # frames
    "lines": int,  # faces kept
    "rejected": dict,  # reason → faces
    "frames": int | None,  # in all, None until all is looked through and sorted
    "who": str | None,  # whom `extract` was asked for
    "chosen": str | None,  # who was chosen last; another one, if by a click
    "sorted": int,  # faces up to this number were there when that was done
}
#: What is known of a clip or photo → its type.
FILE = {
    "name": str,  # as much of its path as tells it from the others
    "stem": str,  # what the names of its faces begin with
    "digest": str,  # of its content
    "stat": list,  # inode, bytes, times: as long as they stay, so does the digest
    "at": int,  # pieces of a clip that were looked through
    "done": bool,
    "gone": bool,  # no longer among the footage
}


def read_state(folder: Path) -> dict | None:
    """What `extraction.json` in a face folder holds; None where there is none.

    Raises:
        ValueError: It is damaged, or an older version's.
    """
    file = folder / "extraction.json"
    if not file.exists():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        wrong = _unfit(state, STATE)
        for known in () if wrong else state["files"]:
            wrong = wrong or _unfit(known, FILE)
        for reason, count in () if wrong else state["rejected"].items():
            if not records.is_plain(reason) or type(count) is not int:
                wrong = "bad rejected"
    except (ValueError, RecursionError):
        wrong = "not JSON"
    if wrong:
        raise ValueError(
            f"{file} is damaged or of an older version ({wrong}). Choose another "
            "folder, or delete this one to extract its faces anew."
        )
    return state


def _unfit(given, fields: dict) -> str | None:
    if not isinstance(given, dict):
        return "not an object"
    for name, kind in fields.items():
        value = given.get(name, ...)
        if not isinstance(value, kind) or isinstance(value, int) and value < 0:
            return f"bad {name}"
        if name == "stem" and not records.is_plain(value):
            return f"bad {name}"
    return None


class Job:
    """The extraction of some sources into a face folder.

    Args:
        limits: As `filtering.LIMITS`; None for those that the folder was filled with.

    Attributes:
        name: The sources, for messages.
        state: What `extraction.json` in the folder holds, see `STATE`, with the files
            that the sources hold by now.
        is_new: The folder holds no extraction yet.
        is_due: There is footage to look through, or footage has gone.

    Raises:
        ValueError: The folder belongs to another extraction, or lies in a source.
        video.MediaError: A source cannot be used.
    """

    def __init__(
        self, sources: list[Path], folder: Path, limits: dict | None, describe: bool
    ):
        self.sources, self.folder = sources, folder
        self.limits, self.describe = limits, describe
        self.name = str(sources[0]) if len(sources) == 1 else f"{len(sources)} sources"
        self.file, self.index = folder / "extraction.json", folder / "faces.jsonl"
        self.footage = _footage(sources, folder)
        self.read()

    def read(self) -> None:
        """Compare the footage with what the folder was made from."""
        names = [s.name or s.resolve().name for s in self.sources]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        source = ", ".join(names[:3]) + more
        state = read_state(self.folder)
        self.is_new = state is None
        if self.is_new:
            if self.index.exists():
                raise ValueError(
                    f"{self.folder} holds faces, and no extraction.json that says of "
                    "what; choose another folder."
                )
            if len(self.sources) == 1 and not self.sources[0].is_dir():
                images.count_frames(self.sources[0])  # says what is wrong with it
            state = {"source": source, "describe": self.describe, "files": []}
            state |= {"limits": self.limits, "seen": 0, "with_face": 0, "lines": 0}
            state |= {"rejected": {}, "frames": None}
            state |= {"who": None, "chosen": None, "sorted": 0}
        if self.limits not in (None, state["limits"]):
            raise ValueError(
                f"{self.folder} was filled with the limits {state['limits']}; choose "
                "another folder for other limits, or delete it."
            )
        if self.describe and not state["describe"]:
            raise ValueError(
                f"{self.folder} was filled without descriptors, by which people are "
                "told apart; choose another folder, or pass describe=False again."
            )
        self.state = state
        gone = [file["gone"] for file in state["files"]]
        self._compare(source)
        state["source"] = source
        self.is_due = (
            state["frames"] is None
            or gone != [file["gone"] for file in state["files"]]
            or not all(file["done"] or file["gone"] for file in state["files"])
        )

    def _compare(self, source: str) -> None:
        """Find the footage among the known files; add to them what is new."""
        files, known = self.state["files"], defaultdict(deque)
        digests = {str(file["stat"]): file["digest"] for file in files}
        for number, file in enumerate(files):
            known[file["digest"]].append(number)
        self.paths, new = {}, []  # number among the files → path
        for path, parts in self.footage:
            stat = path.stat()
            stat = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            digest = digests.get(str(stat)) or _digest(path)
            if known[digest]:
                number = known[digest].popleft()
                self.paths[number], files[number]["stat"] = path, stat
            else:
                new.append((path, parts, stat, digest))
        if self.state["seen"]:
            self._refuse_other(source, [path for path, *_ in new])
        for number, file in enumerate(files):
            file["gone"] = number not in self.paths
        ends = Counter(e for path, parts, *_ in new for e in _ends(path)[parts - 1 :])
        names = {file["name"] for file in files}
        stems = {_same(file["stem"]) for file in files}
        if new and self.folder.is_dir():  # names that would overwrite somebody's file
            stems |= {_same(_FACE.sub("", n)) for n in os.listdir(self.folder)}
        for path, parts, stat, digest in new:
            name = _name(path, parts, ends, names)
            stem = base = _stem(name)
            while _same(stem) in stems:
                number = int(stem[len(base) + 1 :] or 1) + 1
                stem = f"{base}-{number}"
            names.add(name)
            stems.add(_same(stem))
            self.paths[len(files)] = path
            file = {"name": name, "stem": stem, "digest": digest, "stat": stat}
            files.append(file | {"at": 0, "done": False, "gone": False})

    def _refuse_other(self, source: str, new: list[Path]) -> None:
        """Refuse clips that were replaced, and footage of which nothing is known."""
        files, was = self.state["files"], self.state["source"]
        clips = {
            file["name"]
            for number, file in enumerate(files)
            if file["at"] and not file["gone"] and number not in self.paths
        }
        replaced = [path for path in new if clips & {*_ends(path)}]
        if not self.paths and was == source and len(files) == len(new) == 1:
            replaced = new
        if replaced:
            differs = f"another {replaced[0].name} than {replaced[0]}: its content has "
            differs += "changed since"
        elif self.paths:
            return
        elif was == source:
            differs = f"another {source} than {self.name}: none of the {len(files)} "
            differs += "files they were found in is there"
        else:
            differs = f"{was}, not of {source}"
        raise ValueError(
            f"{self.folder} holds faces of {differs}; choose another folder or "
            "delete it."
        )

    def gone(self) -> set[str]:
        """Names of the files that are no longer among the footage."""
        return {file["name"] for file in self.state["files"] if file["gone"]}

    def save(self, **changes) -> None:
        self.state |= changes
        records.write(self.file, json.dumps(self.state))

    def run(self, workers: int | None = None) -> None:
        """Look through what has not been looked through yet.

        Args:
            workers: Processes; one a core by default. 0 works in this process.

        Raises:
            video.MediaError: Nothing can be read.
            OSError: The folder cannot be written, or a process died.
        """
        self._back_to_last_save()
        workers = how_many(workers)
        seen, total = self.state["seen"], self._count()
        total = None if total is None else total + seen
        bar = tqdm(total=total, initial=seen, unit="frame")
        bar.set_description(f"faces of {self.folder.name}")
        waiting = deque()
        with bar, pool(workers) as crew:
            for part, filtered in self._filter(crew, workers):
                # Descriptors are computed while later pieces are looked through.
                kept = [face for face in filtered.kept if self._is_new(face, filtered)]
                waiting.append((part, filtered, kept, self._described(kept, crew)))
                if len(waiting) > bool(workers):
                    self._store(*waiting.popleft(), bar)
            while waiting:
                self._store(*waiting.popleft(), bar)
        if not self.state["seen"]:
            raise video.MediaError(
                f"{self.name} holds no image or clip that can be read; give one."
            )

    def _count(self) -> int | None:
        """Frames still to be looked through, as far as headers tell."""
        total = 0
        for file, path in self._to_do():
            with suppress(video.MediaError):  # said when it is looked through
                count = 1 if images.is_image(path) else images.count_frames(path)
                if count is None:
                    return None
                total += max(0, count - file["at"] * filtering.FRAMES)
        return total

    def _to_do(self) -> list[tuple[dict, Path]]:
        files = enumerate(self.state["files"])
        return [(f, self.paths[i]) for i, f in files if not (f["done"] or f["gone"])]

    def _back_to_last_save(self) -> None:
        # What was written after it will be written again.
        state, gone = self.state, self.gone()
        done = filtering.read_faces(self.folder)
        done = [record for record in done if record["number"] < state["lines"]]
        records.write_lines(self.index, done)
        self.save(frames=None)
        self.next_save = 0.0
        # A photo's place among the photos is the number of its frame.
        photos = [
            f["name"]
            for i, f in enumerate(state["files"])
            if images.is_image(self.paths.get(i, f["name"]))
        ]
        self.places = {name: place for place, name in enumerate(photos)}
        self.novelty = filtering.Novelty(state["limits"]["alike"])
        for pile in filtering.piles(self.folder):
            for record in filtering.read_faces(pile):
                image = records.own_file(pile, record["image"])
                if image and record["source"] not in gone:
                    self.novelty.add(
                        filtering.looks(filtering.decode(image.read_bytes()))
                    )

    def _filter(self, crew, workers) -> Iterator[tuple]:
        """((files, pieces so far, whether that is all), what was found), in order."""
        limits, waiting = self.state["limits"], deque()
        for group in _groups(self._to_do()):
            files, paths = zip(*group, strict=True)
            still = images.is_image(paths[0])
            first = last = files[0]["at"]
            try:
                pieces = filtering.pieces(paths if still else paths[0])
                if pieces is None:  # it can only be read from its beginning, so here
                    while waiting:
                        yield _result(*waiting.popleft())
                    pieces, start = [], first * filtering.FRAMES
                    for filtered in filtering.filter_clip(paths[0], limits, start):
                        last += 1
                        yield (files, last, False), filtered
            except video.MediaError as error:
                pieces = []
                warnings.warn(f"Left out: {error}", stacklevel=2)
            for last, piece in enumerate(pieces[first:], first + 1):
                future = crew.submit(filtering.filter_piece, piece, limits)
                part = (files, 0 if still else last, last == len(pieces))
                waiting.append((part, future))
                if len(waiting) > workers:
                    yield _result(*waiting.popleft())
            if not pieces[first:]:
                nothing = Future()
                nothing.set_result(filtering.Filtered())
                waiting.append(((files, last, True), nothing))
        while waiting:
            yield _result(*waiting.popleft())

    def _is_new(self, face: filtering.Candidate, filtered: filtering.Filtered) -> bool:
        image = filtering.decode(face.jpeg)
        if self.novelty.add(filtering.looks(image)):
            return True
        filtered.reject("near-duplicate", image)
        return False

    def _described(self, kept: list[filtering.Candidate], crew) -> list[Future]:
        chips = [face.chip for face in kept] if self.state["describe"] else []
        parts = (chips[i : i + 8] for i in range(0, len(chips), 8))
        return [crew.submit(detect.describe_chips, part) for part in parts]

    def _store(self, part, filtered, kept, described, bar) -> None:
        state, (files, at, is_done) = self.state, part
        for text in filtered.warnings:
            warnings.warn(text, stacklevel=3)
        vectors = [vector for part in described for vector in part.result().tolist()]
        for i, face in enumerate(kept):
            record = face.record
            file, record["number"] = files[0], state["lines"] + i
            if file["name"] in self.places:
                file = files[record["frame"]]
                record["frame"] = self.places[file["name"]]
            record["source"] = file["name"]
            record["image"] = f"{file['stem']}_{record['frame']:06d}{record['image']}"
            if state["describe"]:
                record["descriptor"] = [round(v, 5) for v in vectors[i]]
            records.write(self.folder / record["image"], face.jpeg)
        for reason, pictures in filtered.examples.items():
            place = self.folder / "rejected" / reason
            place.mkdir(parents=True, exist_ok=True)
            free = (place / f"{i:02d}.jpg" for i in range(filtering.EXAMPLES))
            free = (file for file in free if not file.exists())
            for file, jpeg in zip(free, pictures, strict=False):
                records.write(file, jpeg)
        lines = (json.dumps(face.record) + "\n" for face in kept)
        records.append(self.index, "".join(lines))
        for file in files:
            file["at"], file["done"] = at, is_done
        state["lines"] += len(kept)
        state["seen"] += filtered.frames
        state["with_face"] += filtered.with_face
        state["rejected"] = dict(Counter(state["rejected"]) + filtered.rejected)
        started = time.monotonic()
        if started >= self.next_save:  # a list of many thousand files takes its time
            self.save()
            self.next_save = started + 20 * (time.monotonic() - started)
        bar.set_postfix(kept=state["lines"], refresh=False)
        bar.update(filtered.frames)


def _footage(sources: list[Path], folder: Path) -> list[tuple[Path, int]]:
    """Each clip and photo, and how many parts of its path name it in its source."""
    found = {}
    for source in sources:
        if not source.is_dir():
            if not source.exists():
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
        name = sources[0] if len(sources) == 1 else f"{len(sources)} sources"
        raise video.MediaError(
            f"{name} holds no image or clip; give footage of a person."
        )
    return list(found.items())


def refuse_inside(folder: Path, source: Path) -> None:
    """Raise ValueError where a folder to fill lies in the footage that fills it."""
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"{folder} lies in {source}, and what is written there would be taken for "
            "footage; choose a folder outside it."
        )


def _digest(path: Path) -> str:
    try:
        return records.digest(path)
    except OSError:  # said when it is looked through
        return f"unreadable {path.stat().st_size}"


def _ends(path: Path) -> list[str]:
    """The last part of a path, the last two, and so on."""
    parts = path.parts
    return ["/".join(parts[-count:]) for count in range(1, len(parts))]


def _name(path: Path, parts: int, ends: Counter, taken: set[str]) -> str:
    """As much of a path as tells a file from all others."""
    names = _ends(path)
    for name in names[parts - 1 :]:
        if ends[name] == 1 and name not in taken:
            return name
    number = 2
    while f"{names[parts - 1]} ({number})" in taken:
        number += 1
    return f"{names[parts - 1]} ({number})"


def _stem(name: str) -> str:
    """A name as the beginning of file names, on every system."""
    stem = PurePosixPath(name).with_suffix("").as_posix()
    stem = re.sub(r'[\x00-\x1f\x7f\\/:*?"<>|]', "_", stem)[-50:]
    return stem.lstrip(". ") or "face"


def _same(stem: str) -> str:
    """Equal for names that are one on a disk that knows no upper case."""
    return unicodedata.normalize("NFC", stem).casefold()


#: What follows the stem in the name of a face.
_FACE = re.compile(r"_\d{6,}(_\d+)?\.jpg$")


def _groups(to_do: list[tuple[dict, Path]]) -> Iterator[list[tuple[dict, Path]]]:
    """A clip each, or as many photos in a row as make a piece."""
    group = []
    for file, path in to_do:
        still = images.is_image(path)
        if group and (not still or len(group) == filtering.PHOTOS):
            yield group
            group = []
        group.append((file, path))
        if not still:
            yield group
            group = []
    if group:
        yield group


def discard(folder: Path, state: dict) -> None:
    """Remove what an extraction wrote into a folder, and nothing else."""
    for pile in reversed(filtering.piles(folder)):
        for record in filtering.read_faces(pile):
            (pile / record["image"]).unlink(missing_ok=True)
        (pile / "faces.jsonl").unlink(missing_ok=True)
        if pile != folder:
            _remove_empty(pile)
    for reason in state["rejected"]:
        for i in range(filtering.EXAMPLES):
            (folder / "rejected" / reason / f"{i:02d}.jpg").unlink(missing_ok=True)
        _remove_empty(folder / "rejected" / reason)
    (folder / "extraction.json").unlink(missing_ok=True)
    for name in ("rejected", "others"):
        _remove_empty(folder / name)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody's files lie there, or it is not there
        folder.rmdir()


def _result(part, future) -> tuple:
    return part, future.result()
