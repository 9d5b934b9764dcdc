"""Who is who: in the faces of a folder, and in those of a clip.

A face folder holds one person. The others of the footage are in face folders of their
own in it, `others/person_<number>`; number 1 is seen most often. `others/unsure` holds
faces that are nobody's for sure, `others/removed` those of footage that has gone.
"""

import itertools
import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from deepfakery.faces import detect, faceset, geometry, tracking
from deepfakery.faces.tracking import Chosen
from deepfakery.media import images, records
from deepfakery.media.records import write_lines
from deepfakery.media.video import MediaError

#: Groups whose faces lie further apart on average are two people.
APART = 0.55
#: Frames of a clip after which a face is described again, and that are held back.
REACH = 24
#: A face whose looks correlate less with all that were described is described at once.
STRANGE = 0.7
#: Two descriptors of one track further apart than this are two people's.
UNLIKE = 0.5
#: Where no rival is known a face must be nearer than `detect.SAME_PERSON`; where one
#: is, nearer by so much than the rival.
ALONE, MARGIN = 0.55, 0.1


def group(descriptors: np.ndarray) -> np.ndarray:
    """Group faces by person, by average-linkage clustering of (N, 128) descriptors.

    Returns:
        (N,) int, the number of each face's person, 1 for the most frequent one, 0 for
        a face that is nobody's for sure.
    """
    count = len(descriptors)
    if count < 2:
        return np.ones(count, int)
    # Time grows with the square, so the people are found among a thousand faces.
    sample = descriptors[np.linspace(0, count - 1, min(count, 1000)).astype(int)]
    found = fcluster(linkage(sample, "average"), APART, "distance")
    means = np.stack([sample[found == i].mean(0) for i in range(1, found.max() + 1)])
    distances = cdist(descriptors, means)  # (N, people)
    nearest, sure = distances.argmin(1), distances.min(1) < detect.SAME_PERSON
    sizes = np.bincount(nearest[sure], minlength=len(means))
    rank = np.argsort(np.argsort(-sizes, kind="stable")) + 1
    return np.where(sure, rank[nearest], 0)


def compare(first, second) -> float:
    """Warn where two `FaceSet`s show one person; returns how far they are apart."""
    means = [found.descriptors().mean(0) for found in (first, second)]
    distance = _apart(*means)
    if distance < APART:
        warnings.warn(
            f"{first.folder} and {second.folder} seem to show the same person: their "
            f"distance is {distance:.2f}, under {APART}. Nothing would be swapped; "
            "give footage of two people.",
            stacklevel=2,
        )
    return distance


def choose(folder: str | os.PathLike, who: str | int | os.PathLike) -> None:
    """Leave one person in a face folder and move the others to `others`.

    `extraction.extract` keeps the person until it is asked for another one than before.

    Args:
        folder: A face folder whose faces are described.
        who: "most" for the person seen most often, a person's number, the path of a
            photo of that person, or "everyone"; ValueError where there is none such.
    """
    folder = faceset.FaceSet.load(folder).folder
    with records.one_writer(folder, "chooses a person"):
        sort(folder, who, faceset.read_state(folder))


def sort(folder: Path, who, state: dict | None, known: int = 0) -> None:
    """`choose`, by a caller that holds the folder.

    Args:
        state: What `extraction.json` holds; who was chosen is written there.
        known: The person of the faces up to this number that lie in the folder is kept,
            whatever `who` says.
    """
    gone = {file["name"] for file in state["files"] if file["gone"]} if state else ()
    found, places = gather(folder)
    there = [record for record in found if record["source"] not in gone]
    chosen, numbers = 1, {record["image"]: 1 for record in there}
    if who != "everyone":
        described = faceset.FaceSet(folder, there).descriptors()
        people = group(described)
        numbers = dict(zip(numbers, people.tolist(), strict=True))
        placed = [r["image"] for r in there if r["number"] < known]
        mine = Counter(numbers[name] for name in placed if places[name] == folder)
        del mine[0]
        chosen = max(mine, key=mine.get, default=0)
        chosen = chosen or _number(who, described, people, folder)
    others = folder / "others"
    named = {chosen: folder, None: others / "removed", 0: others / "unsure"}
    new = defaultdict(list, {folder: []})
    for record in found:
        number = numbers.get(record["image"])
        new[named.get(number, others / f"person_{number}")].append(record)
    faceset.refuse_links(others, *(pile for pile in new if pile != folder))
    # First the others' records, then the pictures, last the person's own records:
    # stopped in between, every face is still found when this is called again.
    for pile in sorted(new, key=lambda pile: pile == folder):
        pile.mkdir(parents=True, exist_ok=True)
        for record in new[pile]:
            image, place = record["image"], places[record["image"]]
            if place != pile and not (pile / image).exists():
                os.replace(place / image, pile / image)
        write_lines(pile / "faces.jsonl", new[pile])
    old = [pile for pile in faceset.piles(folder) if pile not in new]
    for pile in old:
        (pile / "faces.jsonl").unlink(missing_ok=True)
    for pile in (*old, others):
        with suppress(OSError):  # it is not empty: what lies there is not ours
            pile.rmdir()
    if state:
        state["chosen"] = "everyone" if who == "everyone" else str(chosen)
        state["sorted"] = state["lines"]
        records.write(folder / "extraction.json", json.dumps(state))


def gather(folder: Path) -> tuple[list[dict], dict[str, Path]]:
    """The records of all faces that still have a picture, and where each picture is."""
    piles = faceset.piles(folder)
    found = {r["image"]: r for pile in piles for r in faceset.read_faces(pile)}
    # A kill may have left a picture in one pile and its record in another.
    places = {n: pile for pile in piles for n in found if records.own_file(pile, n)}
    kept = [record for name, record in found.items() if name in places]
    return sorted(kept, key=lambda record: record["number"]), places


def _number(who, described, numbers, folder) -> int:
    people = numbers.max(initial=0)
    if who == "most":
        return 1
    if str(who).isdecimal():
        if not 1 <= int(who) <= people:
            raise ValueError(
                f"{folder} shows {people} people; there is no person {who}. Look at "
                "the strips of faces and choose one of their numbers."
            )
        return int(who)
    found = detect.detect(images.read_image(who), describe=True, effort=2)
    if not found:
        raise MediaError(f"{who} shows no face; give a clear photo of the person.")
    distances = np.linalg.norm(described - found[0].descriptor, axis=1)
    means = [np.mean(distances[numbers == i]) for i in range(1, people + 1)]
    if not means or min(means) > detect.SAME_PERSON:
        raise ValueError(
            f"The person of {who} is not among the {people} people that {folder} "
            "shows; give another photo, or choose by number."
        )
    return int(np.argmin(means)) + 1


class _Identified(NamedTuple):
    """A face, and whose it is."""

    identity: str | None  # by whom it is replaced
    landmarks: np.ndarray  # (68, 2) in the frame
    distance: float  # median, of its descriptors from whom to replace
    rival: float  # the same from the nearest other person known; inf without one
    descriptor: np.ndarray  # (128,), the median


def recognised(stream: Iterable[tuple], people: dict) -> Iterator[tuple]:
    """Choose faces by whose they are; nobody else is replaced.

    Faces are described seldom: at the end of each `REACH` frames, and where they look
    like none that was described. Where two descriptors of a track disagree, the frame
    in which the person changes is searched for.

    Args:
        stream: (frame, {track: face}), as from `tracking.link`. `REACH` frames are
            held back.
        people: Identity → (N, 128) or (128,) descriptors of the person in the footage
            whom it replaces. And None → (N, 128) descriptors of people who stay as they
            are, one each, where known: a face is replaced only where these are farther.

    Yields:
        (frame, {track: `tracking.Chosen`}).
    """
    for frame, found in _identified(stream, people):
        mine = {track: one for track, one in found.items() if one.identity is not None}
        yield frame, {t: Chosen(one.identity, one.landmarks) for t, one in mine.items()}


def _identified(stream: Iterable[tuple], people: dict) -> Iterator[tuple]:
    """`recognised` with the reasons: (frame, {track: `_Identified`}) of every face."""
    people = dict(people)
    rivals = np.reshape(people.pop(None, ()), (-1, 128))
    for name, who in people.items():
        if np.size(who) == 0 or np.shape(who)[-1] != 128:
            raise ValueError(f"{name!r} needs (N, 128) descriptors of whom to replace.")
    means = np.stack([np.reshape(who, (-1, 128)).mean(0) for who in people.values()])
    # A rival so near is the same person under another name.
    near = np.linalg.norm(rivals[:, None] - means, axis=2).min(1, initial=np.inf)
    everyone = np.concatenate([means, rivals[near > UNLIKE]])
    numbers, known = itertools.count(), {}
    for _, group_ in itertools.groupby(stream, lambda item: item[0].index // REACH):
        part, now = list(group_), {}
        out = [(frame, {}) for frame, _ in part]
        for track in dict.fromkeys(t for _, found in part for t in found):
            places = [i for i, (_, found) in enumerate(part) if track in found]
            shots = [(part[i][0].image, part[i][1][track]) for i in places]
            for start, stop, run in _runs(shots, known.get(track), numbers):
                verdict = _verdict(run, list(people), everyone)
                for i in places[start:stop]:
                    points = part[i][1][track].landmarks
                    out[i][1][run.number] = verdict._replace(landmarks=points)
                now[track] = run
        known = now
        yield from ((frame, _once_each(found)) for frame, found in out)


class _Run(NamedTuple):
    """Frames of a track that show one person, as far as they were described."""

    number: int
    descriptors: list[np.ndarray]
    looks: list[np.ndarray]


def _runs(shots, before: _Run | None, numbers) -> list[tuple[int, int, _Run]]:
    """Cut a track's (image, face) where the person changes: [(start, stop, run)]."""
    looks = np.stack([tracking.looks(image, face.landmarks) for image, face in shots])
    described = {-1: before.descriptors[-1]} if before else {}

    def describe(i):
        if i not in described:
            image, face = shots[i]
            described[i] = face.descriptor
            if face.descriptor is None:
                described[i] = detect.descriptor(image, face.landmarks)
        return described[i]

    starts, pending = set(), [(-1 if before else 0, len(shots) - 1)]
    while pending:
        i, j = pending.pop()
        first, then = describe(i), describe(j)
        if _apart(first, then) > UNLIKE:
            low, high = i, j
            while high - low > 1:
                middle = (low + high) // 2
                now = describe(middle)
                if _apart(now, first) < _apart(now, then):
                    low = middle
                else:
                    high = middle
            starts.add(high)
            pending += [(i, low), (high, j)]
            continue
        # Both ends agree. What looks like neither in between may be somebody else.
        alike = [k for k, d in described.items() if _apart(d, first) <= UNLIKE]
        gallery = [looks[k] for k in alike if k >= 0]
        gallery += before.looks if before and -1 in alike else []
        between = looks[i + 1 : j]
        nearest = np.max(between @ np.transpose(gallery), axis=1, initial=-1)
        nearest[~between.any(1)] = 1
        if len(nearest) and nearest.min() < STRANGE:
            strange = i + 1 + int(nearest.argmin())
            describe(strange)
            pending += [(i, strange), (strange, j)]
    runs = []
    for start, stop in itertools.pairwise([*sorted(starts | {0}), len(shots)]):
        if before and not start and 0 not in starts:  # it goes on
            run = _Run(before.number, before.descriptors[-4:], before.looks[-32:])
        else:
            run = _Run(next(numbers), [], [])
            describe((start + stop - 1) // 2)  # one look does not decide
        own = [k for k in sorted(described) if start <= k < stop]
        seen = [*run.descriptors, *(described[k] for k in own)]
        runs.append((start, stop, _Run(run.number, seen, [*run.looks, *looks[own]])))
    return runs


def _apart(a, b) -> float:
    return float(np.linalg.norm(a - b))


def _verdict(run, names, everyone) -> _Identified:
    """Whose face it is; `everyone`: means of who is asked for, then of the others."""
    seen = np.stack(run.descriptors)
    distances = np.median(np.linalg.norm(seen[:, None] - everyone, axis=2), axis=0)
    mine = int(distances[: len(names)].argmin())
    distance, rival = distances[mine], np.delete(distances, mine).min(initial=np.inf)
    limit = min(detect.SAME_PERSON, rival - MARGIN) if np.isfinite(rival) else ALONE
    name = names[mine] if distance < limit else None
    return _Identified(
        name, None, float(distance), float(rival), np.median(seen, axis=0)
    )


def _once_each(found: dict) -> dict:
    """Of two faces taken for one person, leave the one that is clearly nearer."""
    least = {}
    for one in found.values():
        least[one.identity] = min(least.get(one.identity, np.inf), one.distance)
    far = {t for t, one in found.items() if one.distance > least[one.identity] + MARGIN}
    return {t: o._replace(identity=None) if t in far else o for t, o in found.items()}


def survey(clip, asked: dict, workers: int | None = None) -> tuple:
    """Tell who a clip shows, who of them is replaced, and how sure that is.

    Args:
        clip: The file.
        asked: `people` of `recognised`.
        workers: 0 works in this process.

    Returns:
        A `pandas.DataFrame`, a row a person: `frames`, `swapped` of them, median
        `distance` from whom to replace, and `rival`, the same from the nearest other
        person known. And {person: (N, 96, 96, 3) uint8 faces, 8 at most}.
    """
    import pandas as pd  # commands that only extract do without

    rows, last, crops = [], {}, defaultdict(list)
    found = tracking.link(tracking.follow_clip(clip, workers=workers))
    for frame, faces in _identified(found, asked):
        for track, one in faces.items():
            if track not in last or frame.index % REACH == 0:
                to_crop = geometry.alignment(one.landmarks, 96)
                crops[track].append(geometry.crop(frame.image, to_crop, 96))
            rows.append((track, 1, one.identity is not None, one.distance, one.rival))
            last[track] = one.descriptor
    groups = group(np.float32([*last.values()]).reshape(-1, 128))
    groups = [f"person_{n}" if n else "unsure" for n in groups]
    names = dict(zip(last, groups, strict=True))
    columns = ["track", "frames", "swapped", "distance", "rival"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.groupby(table.track.map(names).rename("person"), as_index=False).agg(
        {"frames": "sum", "swapped": "sum", "distance": "median", "rival": "median"}
    )
    shown = {}
    for name in table.person:
        mine = [c for track in last if names[track] == name for c in crops[track]]
        few = np.linspace(0, len(mine) - 1, min(8, len(mine))).astype(int)
        shown[name] = np.stack(mine)[few]
    return table.sort_values("frames", ascending=False, ignore_index=True), shown
