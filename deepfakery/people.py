"""Who is who: faces grouped by descriptor, and one person chosen among them.

A face folder holds one person. The others that the footage shows lie beside, each in
`others/person_<number>`, a face folder of its own; number 1 is seen most often. Faces
that are nobody's for sure lie in `others/unsure`.
"""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from deepfakery import faces, images
from deepfakery.records import read_lines, write_lines
from deepfakery.video import MediaError

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
    sure = distances.min(1) < faces.SAME_PERSON
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

    It can be asked again for somebody else.

    Args:
        folder: A face folder whose faces are described.
        who: "most" for the person seen most often, a person's number, the path of a
            photo of that person, or "everyone".

    Raises:
        ValueError: There is no such person.
    """
    folder = Path(folder)
    records, places = _gather(folder)
    described = np.float32([r["descriptor"] for r in records]).reshape(-1, 128)
    if who == "everyone":
        numbers, chosen = np.ones(len(records), int), 1
    else:
        numbers = group(described)
        chosen = _number(who, described, numbers, folder)
    piles = {}
    for record, number in zip(records, numbers.tolist(), strict=True):
        piles.setdefault(_pile(folder, number, chosen), []).append(record)
    # First the others' records, then the pictures, last the person's own records:
    # stopped in between, every face is still found when this is called again.
    old = [p for p in (folder / "others").glob("*") if p.is_dir()]
    for pile in sorted(piles, key=lambda pile: pile == folder):
        pile.mkdir(parents=True, exist_ok=True)
        for record in piles[pile]:
            if places[record["image"]] != pile:
                os.replace(
                    places[record["image"]] / record["image"], pile / record["image"]
                )
        write_lines(pile / "faces.jsonl", piles[pile])
    if folder not in piles:
        write_lines(folder / "faces.jsonl", [])
    for pile in old:
        if pile not in piles:
            shutil.rmtree(pile)
    if set(piles) <= {folder}:
        shutil.rmtree(folder / "others", ignore_errors=True)


def _pile(folder: Path, number: int, chosen: int) -> Path:
    if number == chosen:
        return folder
    return folder / "others" / (f"person_{number}" if number else "unsure")


def _gather(folder: Path) -> tuple[list[dict], dict[str, Path]]:
    """All faces that still have a picture, and where it is."""
    piles = [folder, *sorted((folder / "others").glob("*"))]
    records, places = {}, {}
    for pile in piles:
        for record in read_lines(pile / "faces.jsonl"):
            name = record["image"]
            records[name] = record
            if (pile / name).exists():
                places[name] = pile
    # A kill may have left a picture in one pile and its record in another.
    for pile in piles:
        for name in records.keys() - places.keys():
            if (pile / name).exists():
                places[name] = pile
    kept = [r for name, r in records.items() if name in places]
    return sorted(kept, key=lambda r: r["number"]), places


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
    found = faces.detect(images.read_image(who), describe=True, effort=2)
    if not found:
        raise MediaError(f"{who} shows no face; give a clear photo of the person.")
    distances = np.linalg.norm(described - found[0].descriptor, axis=1)
    means = [np.mean(distances[numbers == i]) for i in range(1, people + 1)]
    if not means or min(means) > faces.SAME_PERSON:
        raise ValueError(
            f"The person of {who} is not among the {people} people that {folder} "
            "shows; give another photo, or choose by number."
        )
    return int(np.argmin(means)) + 1
