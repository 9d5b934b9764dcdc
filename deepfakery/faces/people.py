"""Who is who: faces grouped by descriptor, and one person chosen among them.

A face folder holds one person. The others that the footage shows lie beside, each in
`others/person_<number>`, a face folder of its own; number 1 is seen most often. Faces
that are nobody's for sure lie in `others/unsure`, those of footage that has gone in
`others/removed`.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from deepfakery.faces import detect, extraction, filtering
from deepfakery.media import images, records
from deepfakery.media.records import write_lines
from deepfakery.media.video import MediaError

#: Groups whose faces lie further apart on average are two people.
APART = 0.55


def group(descriptors: np.ndarray) -> np.ndarray:
    """Group faces by person.

    Args:
        descriptors: (N, 128).

    Returns:
        (N,) int, the number of each face's person, 1 for the most frequent one, 0 for
        a face that is nobody's for sure.

    Reference:
        Average-linkage clustering: Sokal & Michener 1958, "A Statistical Method for
        Evaluating Systematic Relationships".
    """
    count = len(descriptors)
    if count < 2:
        return np.ones(count, int)
    # Time grows with the square, so the people are found among a thousand faces.
    sample = descriptors[np.linspace(0, count - 1, min(count, 1000)).astype(int)]
    found = fcluster(linkage(sample, "average"), APART, "distance")
    means = np.stack([sample[found == i].mean(0) for i in range(1, found.max() + 1)])
    away = [np.linalg.norm(descriptors - mean, axis=1) for mean in means]
    distances = np.stack(away, 1)  # (N, people)
    nearest = distances.argmin(1)
    sure = distances.min(1) < detect.SAME_PERSON
    sizes = np.bincount(nearest[sure], minlength=len(means))
    rank = np.empty(len(means), int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(1, len(means) + 1)
    return np.where(sure, rank[nearest], 0)


def compare(first, second) -> float:
    """Warn where two face sets show one person: there would be nothing to swap.

    Args:
        first, second: `FaceSet`s whose faces are described.

    Returns:
        Distance of their mean descriptors.
    """
    means = [found.descriptors().mean(0) for found in (first, second)]
    distance = float(np.linalg.norm(means[0] - means[1]))
    if distance < APART:
        warnings.warn(
            f"{first.folder} and {second.folder} seem to show the same person: their "
            f"distance is {distance:.2f}, under {APART}. Nothing would be swapped; "
            "give footage of two people.",
            stacklevel=2,
        )
    return distance


def choose(folder: str | os.PathLike, who: str | int | os.PathLike) -> None:
    """Leave one person in a face folder and lay the others beside.

    The folder remembers it: `faceset.extract` keeps the person until it is asked for
    another one than before.

    Args:
        folder: A face folder whose faces are described.
        who: "most" for the person seen most often, a person's number, the path of a
            photo of that person, or "everyone".

    Raises:
        ValueError: There is no such person.
        BlockingIOError: Another process writes the folder.
    """
    folder = Path(folder)
    if not (folder / "faces.jsonl").exists():
        raise FileNotFoundError(
            f"{folder} is not a face folder: it has no faces.jsonl."
        )
    with records.one_writer(folder, "chooses a person"):
        state = extraction.read_state(folder)
        files = state["files"] if state else ()
        number = sort(folder, who, {file["name"] for file in files if file["gone"]})
        if state:
            chosen = str(who) if who in ("most", "everyone") else str(number)
            state |= {"chosen": chosen, "sorted": state["lines"]}
            records.write(folder / "extraction.json", json.dumps(state))


def sort(folder: Path, who, gone: Collection[str] = (), known: int = 0) -> int:
    """`choose`, by a caller that holds the folder.

    Args:
        folder: As for `choose`, like `who`.
        gone: Sources whose faces are laid aside.
        known: Faces up to this number are where they are by choice: the person whose
            they are in the folder is kept, whatever `who` says.

    Returns:
        The number of the person chosen.
    """
    found, places = _gather(folder)
    there = [record for record in found if record["source"] not in gone]
    if who == "everyone":
        numbers, chosen = [1] * len(there), 1
    else:
        if any(record["descriptor"] is None for record in there):
            raise ValueError(
                f"{folder} was filled without descriptors, by which people are told "
                "apart; extract into another folder with describe=True."
            )
        described = np.float32([r["descriptor"] for r in there]).reshape(-1, 128)
        numbers = group(described)
        mine = Counter(
            number
            for record, number in zip(there, numbers.tolist(), strict=True)
            if number and record["number"] < known and places[record["image"]] == folder
        )
        [(chosen, _)] = mine.most_common(1) or [(0, 0)]
        chosen = chosen or _number(who, described, numbers, folder)
    names = [record["image"] for record in there]
    numbers = dict(zip(names, map(int, numbers), strict=True))
    piles = {}
    for record in found:
        pile = _pile(folder, numbers.get(record["image"]), chosen)
        piles.setdefault(pile, []).append(record)
    for pile in (folder / "others", *piles):
        if pile != folder and pile.is_symlink():
            raise ValueError(f"{pile} is a link; put the folder itself there.")
    # First the others' records, then the pictures, last the person's own records:
    # stopped in between, every face is still found when this is called again.
    old = [pile for pile in filtering.piles(folder)[1:] if pile not in piles]
    for pile in sorted(piles, key=lambda pile: pile == folder):
        pile.mkdir(parents=True, exist_ok=True)
        for record in piles[pile]:
            image, place = record["image"], places[record["image"]]
            if place != pile and not (pile / image).exists():
                os.replace(place / image, pile / image)
        write_lines(pile / "faces.jsonl", piles[pile])
    if folder not in piles:
        write_lines(folder / "faces.jsonl", [])
    for pile in old:
        (pile / "faces.jsonl").unlink(missing_ok=True)
    for pile in (*old, folder / "others"):
        with suppress(OSError):  # it is not empty: what lies there is not ours
            pile.rmdir()
    return chosen


def _pile(folder: Path, number: int | None, chosen: int) -> Path:
    if number == chosen:
        return folder
    if number is None:
        return folder / "others" / "removed"
    return folder / "others" / (f"person_{number}" if number else "unsure")


def _gather(folder: Path) -> tuple[list[dict], dict[str, Path]]:
    """All faces that still have a picture, and where it is."""
    piles = filtering.piles(folder)
    found, places = {}, {}
    for pile in piles:
        for record in filtering.read_faces(pile):
            name = record["image"]
            found[name] = record
            if records.own_file(pile, name):
                places[name] = pile
    # A kill may have left a picture in one pile and its record in another.
    for pile in piles:
        for name in found.keys() - places.keys():
            if records.own_file(pile, name):
                places[name] = pile
    kept = [record for name, record in found.items() if name in places]
    return sorted(kept, key=lambda record: record["number"]), places


def _number(who, described, numbers, folder) -> int:
    people = max(numbers.max(initial=0), 0)
    if who == "most":
        return 1
    if isinstance(who, int) or str(who).isdecimal():
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
