"""An extraction under way: the work for many processes, and how far it has come.

Decoding and detection run piece by piece in the processes of a pool, which hand back
small crops and no frames. This process takes the pieces in order, drops what it has
seen already, and writes. Only a few pieces are ever in memory.
"""

import json
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from deepfakery import faces, images, records, video, weeding
from deepfakery.workers import how_many, pool


class Job:
    """The extraction of some sources into a face folder.

    Attributes:
        name: The sources, for messages.
        state: What `extraction.json` in the folder holds: `source`, `bytes` and
            `limits`, which never change; `at`, the first piece not looked through
            (file, piece of it); `seen` and `with_face`, frames; `lines` of the index;
            `rejected`, reason → faces; `frames` in all, None until the end; `who`.

    Raises:
        ValueError: The folder belongs to another extraction.
    """

    def __init__(self, sources: list[Path], folder: Path, limits: dict, describe: bool):
        self.sources, self.folder, self.describe = sources, folder, describe
        self.name = str(sources[0]) if len(sources) == 1 else f"{len(sources)} sources"
        size = sources[0].stat().st_size if sources[0].is_file() else None
        source = ", ".join(s.name for s in sources)
        self.file, self.index = folder / "extraction.json", folder / "faces.jsonl"
        self.state = {"source": source, "bytes": size, "limits": limits}
        if not self.file.exists():
            self.state |= {"at": (0, 0), "seen": 0, "with_face": 0, "lines": 0}
            self.state |= {"rejected": {}, "frames": None, "who": None}
            return
        asked, self.state = self.state, json.loads(self.file.read_text())
        was = self.state["source"]
        if was != source or self.state["bytes"] != size:
            raise ValueError(
                f"{folder} holds faces of {was}, not of {source}; choose another "
                "folder or delete it."
            )
        if self.state["limits"] != asked["limits"]:
            raise ValueError(
                f"{folder} was filled with the limits {self.state['limits']}; choose "
                "another folder for other limits, or delete it."
            )

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
        # Opening the sources comes first: a bad file leaves no folder behind.
        files, total = self._files()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._back_to_last_save()
        workers = how_many(workers)
        bar = tqdm(total=total, initial=self.state["seen"], unit="frame")
        bar.set_description(f"faces of {self.folder.name}")
        waiting = deque()
        with bar, pool(workers) as crew:
            for after, sifted in self._sift(files, crew, workers):
                # Descriptors are computed while later pieces are looked through.
                kept = [face for face in sifted.kept if self._is_new(face, sifted)]
                waiting.append((after, sifted, kept, self._described(kept, crew)))
                if len(waiting) > bool(workers):
                    self._store(*waiting.popleft(), bar)
            while waiting:
                self._store(*waiting.popleft(), bar)
        if not self.state["seen"]:
            raise video.MediaError(
                f"{self.name} holds no image or clip that can be read; give one."
            )
        self.save(frames=self.state["seen"])

    def _files(self) -> tuple[list, int | None]:
        """Each clip, and each run of photos with the place of its first."""
        files, photos, place, total = [], [], 0, 0
        for source in self.sources:
            if not source.is_dir() and (len(self.sources) == 1 or not source.exists()):
                images.count_frames(source)  # says what is wrong with it
            for file in images.list_files(source) if source.is_dir() else [source]:
                if images.is_image(file):
                    photos.append(file)
                    continue
                if photos:
                    files.append((tuple(photos), place))
                    place, photos = place + len(photos), []
                files.append((file, 0))
                with suppress(video.MediaError):  # said when it is looked through
                    count = images.count_frames(file)
                    total = None if None in (total, count) else total + count
        if photos:
            files.append((tuple(photos), place))
        if not files:
            raise video.MediaError(
                f"{self.name} holds no image or clip; give footage of a person."
            )
        stills = sum(len(photos) for photos, _ in files if isinstance(photos, tuple))
        return files, None if total is None else total + stills

    def _back_to_last_save(self) -> None:
        # What was written after it will be written again.
        done = records.read_lines(self.index)[: self.state["lines"]]
        records.write_lines(self.index, done)
        self.save()
        self.novelty = weeding.Novelty(self.state["limits"]["alike"])
        for record in done:
            if (self.folder / record["image"]).exists():
                jpeg = (self.folder / record["image"]).read_bytes()
                self.novelty.add(weeding.looks(weeding.decode(jpeg)))

    def _sift(self, files, crew, workers) -> Iterator[tuple]:
        """((file, piece) to come next, what was found in a piece), in order."""
        limits, waiting = self.state["limits"], deque()
        at, step = self.state["at"]
        for number, (file, place) in enumerate(files[at:], at):
            first = step if number == at else 0
            try:
                pieces = weeding.pieces(file, place)
            except video.MediaError as error:
                warnings.warn(f"Left out: {error}", stacklevel=2)
                continue
            if pieces is None:  # it can only be read from its beginning, so here
                while waiting:
                    yield _result(*waiting.popleft())
                later = weeding.sift(file, limits, first * weeding.FRAMES)
                for i, sifted in enumerate(later, first):
                    yield (number, i + 1), sifted
                continue
            for i, piece in enumerate(pieces[first:], first):
                future = crew.submit(weeding.sift_piece, piece, limits)
                waiting.append(((number, i + 1), future))
                if len(waiting) > workers:
                    yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())

    def _is_new(self, face: weeding.Candidate, sifted: weeding.Sifted) -> bool:
        image = weeding.decode(face.jpeg)
        if self.novelty.add(weeding.looks(image)):
            return True
        sifted.reject("near-duplicate", image)
        return False

    def _described(self, kept: list[weeding.Candidate], crew) -> list[Future]:
        chips = [face.chip for face in kept] if self.describe else []
        parts = (chips[i : i + 8] for i in range(0, len(chips), 8))
        return [crew.submit(faces.describe_chips, part) for part in parts]

    def _store(self, after, sifted, kept, described, bar) -> None:
        state = self.state
        for text in sifted.warnings:
            warnings.warn(text, stacklevel=3)
        vectors = [vector for part in described for vector in part.result().tolist()]
        for i, face in enumerate(kept):
            face.record["number"] = state["lines"] + i
            if self.describe:
                face.record["descriptor"] = [round(v, 5) for v in vectors[i]]
            records.write(self.folder / face.record["image"], face.jpeg)
        for reason, pictures in sifted.examples.items():
            place = self.folder / "rejected" / reason
            place.mkdir(parents=True, exist_ok=True)
            there = len(list(place.glob("*.jpg")))
            for i, jpeg in enumerate(pictures[: weeding.EXAMPLES - there], there):
                records.write(place / f"{i:02d}.jpg", jpeg)
        lines = (json.dumps(face.record) + "\n" for face in kept)
        records.append(self.index, "".join(lines))
        self.save(
            at=after,
            lines=state["lines"] + len(kept),
            seen=state["seen"] + sifted.frames,
            with_face=state["with_face"] + sifted.with_face,
            rejected=dict(Counter(state["rejected"]) + sifted.rejected),
        )
        bar.set_postfix(kept=state["lines"], refresh=False)
        bar.update(sifted.frames)


def _result(after, future) -> tuple:
    return after, future.result()
