"""A folder of aligned faces: images, `faces.jsonl` and `extraction.json`.

The images are the truth: delete one in a file manager and that face is gone.
"""

import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfakery.faces import geometry, segment
from deepfakery.media import images, records

#: Fewer faces than this teach a decoder nothing that holds up.
MINIMUM = 64
#: Pictures of rejected faces that are kept for each reason.
EXAMPLES = 12

#: What a face's record holds in numbers → their shape.
NUMBERS = {
    **dict.fromkeys(("frame", "number", "time", "score", "size", "sharpness"), ()),
    **{"light": (), "pose": (3,), "landmarks": (68, 2), "transform": (2, 3)},
    **{"descriptor": (128,), "outline": (-1, 2)},  # these two may be missing
}
#: What `extraction.json` holds → its type.
STATE = {
    "describe": bool,
    "limits": dict,
    "files": list,  # a dict each, as in `FILE`
    "seen": int,  # frames
    "lines": int,  # faces kept
    "rejected": dict,  # reason → faces
    "frames": int | None,  # in all, None until all is looked through and sorted
    "who": str | None,  # whom `extract` was asked for
    "chosen": str | None,  # the number of who is kept, or "everyone"
    "sorted": int,  # faces up to this number were there when that was done
}
#: What is known of a clip or photo → its type.
FILE = {
    "name": str,  # as much of its path as tells it from the others
    "stem": str,  # what the names of its faces begin with
    "digest": str,  # of its content
    "stat": list,  # inode, bytes, times: as long as they stay, so does the digest
    "at": int,  # pieces that were looked through
    "done": bool,
    "gone": bool,  # no longer among the footage
}


@dataclass(frozen=True)
class FaceSet:
    """The faces of one identity, read from a face folder.

    Attributes:
        folder: Where the images lie.
        records: One dict a face, in order of extraction, as in `faces.jsonl`:
            `image` (file name in the folder), `source` (file name, with some of its
            folders where others have the same), `frame` (index; of a photo, its place),
            `time` (seconds), `landmarks` (68 pairs, pixels of the source frame),
            `transform` (2×3, source pixels → pixels of the image), `score`, `size`
            (pixels), `sharpness`, `light` (0 to 255), `pose` (yaw, pitch, roll in
            degrees), `outline` (polygon in pixels of the image, see `segment`),
            `descriptor` (128), `number` (in all the footage), `version`
            (`geometry.GEOMETRY`).
    """

    folder: Path
    records: list[dict]

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "FaceSet":
        """Read a face folder; what is no sound face in it is warned of and left out.

        Raises:
            FileNotFoundError: It is not a face folder.
            ValueError: Another version of this project made it.
        """
        folder = Path(folder)
        if not (folder / "faces.jsonl").exists():
            raise FileNotFoundError(
                f"{folder} is not a face folder: it holds no faces.jsonl. "
                "Make one with deepfakery.extract (notebook 01)."
            )
        found = [r for r in read_faces(folder) if records.own_file(folder, r["image"])]
        torn = [r["image"] for r in found if not _is_whole(folder / r["image"])]
        if torn:
            more = f", and {len(torn) - 1} more" if torn[1:] else ""
            warnings.warn(
                f"{folder / torn[0]} is cut short{more}; left out. Delete it, or "
                "extract its footage again.",
                stacklevel=2,
            )
        return cls(folder, [r for r in found if r["image"] not in torn])

    def __len__(self) -> int:
        return len(self.records)

    def images(
        self, size: int = geometry.FACE_SIZE, limit: int | None = None
    ) -> np.ndarray:
        """(N, size, size, 3) uint8 RGB: the faces, or `limit` of them spread evenly."""
        shown = self.spread(limit).records
        out = np.empty((len(shown), size, size, 3), np.uint8)
        for i, record in enumerate(shown):
            image = images.read_image(self.folder / record["image"])
            out[i] = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        return out

    def spread(self, limit: int | None) -> "FaceSet":
        """At most `limit` of the faces, spread evenly; all of them for None."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(int)
        return FaceSet(self.folder, [self.records[i] for i in chosen])

    def landmarks(self, size: int = geometry.FACE_SIZE) -> np.ndarray:
        """(N, 68, 2) float32 landmarks in pixels of the aligned faces at `size`."""
        both = ((np.float32(r["landmarks"]), r["transform"]) for r in self.records)
        points = [geometry.transform_points(p, np.float32(t)) for p, t in both]
        points = np.float32(points).reshape(-1, 68, 2)
        return np.float32(geometry.resize_points(points, size / geometry.FACE_SIZE))

    def masks(self, size: int = geometry.FACE_SIZE) -> np.ndarray:
        """(N, size, size) float32 in [0, 1]: the faces' outlines, filled, at `size`.

        Where a record has none, the hull of its landmarks.
        """
        out = [
            segment.mask(record["outline"], size)
            if record.get("outline")
            else geometry.hull_mask(points, size)
            for record, points in zip(self.records, self.landmarks(size), strict=True)
        ]
        return np.float32(out).reshape(-1, size, size)

    def descriptors(self) -> np.ndarray:
        """(N, 128) float32 identity descriptors; ValueError if some face has none."""
        if any(r.get("descriptor") is None for r in self.records):
            raise ValueError(
                f"{self.folder} was filled without descriptors, which tell people "
                "apart; extract into another folder with describe=True."
            )
        return np.float32([r["descriptor"] for r in self.records]).reshape(-1, 128)

    def fingerprint(self) -> str:
        """How many faces and which, in a few letters, for a run's configuration."""
        known = [(r["image"], r["transform"], r["version"]) for r in self.records]
        known = hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return f"{len(self)} faces, {known[:12]}"

    def others(self) -> dict[str, "FaceSet"]:
        """The other people of the same footage: `person_<number>` → their faces."""
        return {
            pile.name: FaceSet.load(pile)
            for pile in piles(self.folder)[1:]
            if pile.name.startswith("person_") and (pile / "faces.jsonl").exists()
        }

    def rejected(self) -> dict[str, tuple[int, np.ndarray]]:
        """Reason → (faces turned away, (N, 256, 256, 3) uint8 of a few of them)."""
        state, out = read_state(self.folder), {}
        for reason, count in state["rejected"].items() if state else ():
            place = self.folder / "rejected" / reason
            names = (f"{i:02d}.jpg" for i in range(EXAMPLES))
            files = filter(None, (records.own_file(place, name) for name in names))
            few = [images.read_image(file) for file in files]
            out[reason] = count, np.uint8(few).reshape(-1, *2 * [geometry.FACE_SIZE], 3)
        return out

    def split(self, held_out: float = 0.1) -> tuple["FaceSet", "FaceSet"]:
        """(faces to train on, faces held out), always the same ones.

        Up to four stretches are held out, spread over the footage: single frames would
        be known from their neighbours.

        Args:
            held_out: Share to hold out, 0 to 1.
        """
        count = len(self)
        held = min(count, max(1, round(held_out * count))) if held_out > 0 else 0
        stretches, chosen = min(4, held), set()
        for i in range(stretches):
            length = held * (i + 1) // stretches - held * i // stretches
            start = (count * (2 * i + 1) // stretches - length) // 2
            chosen.update(range(start, start + length))
        mine = [r for i, r in enumerate(self.records) if i not in chosen]
        rest = [r for i, r in enumerate(self.records) if i in chosen]
        return FaceSet(self.folder, mine), FaceSet(self.folder, rest)

    def require(self, minimum: int = MINIMUM) -> "FaceSet":
        """This face set; ValueError if it holds too few faces to train on."""
        if len(self) < minimum:
            raise ValueError(
                f"{self.folder} holds {len(self)} faces; training needs at least "
                f"{minimum}. Extract from more footage."
            )
        return self


def _is_whole(file: Path) -> bool:
    """Whether a JPEG ends as one does; of other kinds nothing is asked."""
    return file.suffix != ".jpg" or file.read_bytes().endswith(b"\xff\xd9")


def read_faces(folder: Path) -> list[dict]:
    """The records in a face folder's index, one an image, of those that are sound."""
    found = records.read_lines(folder / "faces.jsonl", _unfit)
    if any(r.get("version") != geometry.GEOMETRY for r in found):
        raise ValueError(
            f"{folder} was made by another version of this project, which aligned "
            "faces otherwise. Extract the footage again, into another folder."
        )
    # Of two that name one image, the later one wrote it.
    return list({record["image"]: record for record in found}.values())


def _unfit(record: dict) -> str | None:
    """What is wrong with a record that was read from a file."""
    name = record.get("image")
    if not records.is_plain(name) or not images.is_image(name) or name[0] == ".":
        return f"{str(name)[:80]!r} is no plain name of an image"
    if not isinstance(record.get("source"), str):
        return "no source"
    for key, shape in NUMBERS.items():
        if key in ("descriptor", "outline") and record.get(key) is None:
            continue
        try:
            value = np.array(record.get(key))
        except (ValueError, RecursionError):  # rows of several lengths
            return f"bad {key}"
        if key == "outline" and value.ndim and len(value) > 2:
            shape = len(value), 2
        most = 1e4 if key == "outline" else 1e9
        is_count = key in ("frame", "number")
        fits = value.shape == shape and value.dtype.kind in ("i" if is_count else "if")
        if not fits or not (np.abs(np.float64(value)) < most).all():
            return f"bad {key}"
        if is_count and value < 0:
            return f"bad {key}"
    return None


def piles(folder: Path) -> list[Path]:
    """A face folder and those in its `others`, see `people`; none that is a link."""
    others = folder / "others"
    named = re.compile(r"person_\d+|unsure|removed").fullmatch
    found = [] if others.is_symlink() else sorted(others.glob("*"))
    found = [p for p in found if named(p.name) and p.is_dir() and not p.is_symlink()]
    return [folder, *found]


def refuse_links(*places: Path) -> None:
    """Raise ValueError where a place in a face folder leads out of it."""
    for place in places:
        if place.is_symlink():
            raise ValueError(f"{place} is a link; put the folder itself there.")


def read_state(folder: Path) -> dict | None:
    """What `extraction.json` in a face folder holds; None where there is none."""
    file = folder / "extraction.json"
    if not file.exists():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        files, rejected = state["files"], state["rejected"]
        names = [*rejected, *(file["stem"] for file in files)]
        is_sound = (
            _is(state, STATE)
            and all(_is(file, FILE) for file in files)
            and _is(rejected, dict.fromkeys(rejected, int))
            and all(map(records.is_plain, names))
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        is_sound = False
    if not is_sound:
        raise ValueError(
            f"{file} is damaged or of an older version. Choose another folder, or "
            "delete this one to extract its faces anew."
        )
    return state


def _is(given, fields: dict) -> bool:
    return isinstance(given, dict) and all(
        isinstance(given.get(name, ...), kind)
        and not (isinstance(given[name], int) and given[name] < 0)
        for name, kind in fields.items()
    )
