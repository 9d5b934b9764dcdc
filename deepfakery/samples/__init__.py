"""The built-in people: two public-domain portraits brought to life with known motion.

    for frame in animate("collins", motion(300, seed=0)): ...

A motion is a plain array that fits either portrait. The other portrait under the same
motion is therefore the *true* swap, which no real footage can offer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

import deepfakery
from deepfakery.faces import detect, geometry
from deepfakery.media import images, provenance
from deepfakery.media.video import MediaError, VideoWriter
from deepfakery.samples.rig import EYES, EYES_AT, Rig

PEOPLE = ("collins", "hopper")

#: What each column of a motion means, by its range; all zeros is the portrait at rest.
RANGES = {
    "yaw": (-25, 25),  # degrees, positive to the image's right
    "pitch": (-15, 15),  # degrees, positive upwards
    "roll": (-10, 10),  # degrees, positive clockwise as seen
    "x": (-0.2, 0.2),  # shift to the right, in distances between the eyes
    "y": (-0.08, 0.08),  # shift down, likewise
    "zoom": (0, 0.1),  # share by which the picture grows
    "blink": (0, 1),  # 1: eyes closed
    "smile": (0, 1),  # added to the portrait's own; down to -0.5 takes some away
    "mouth_open": (0, 1),  # 1: `rig.GAP` between the lips
    "brows": (0, 1),  # 1: raised
    "light": (-1, 1),  # 15 % darker to 15 % brighter
    "light_side": (-1, 1),  # 10 % brighter on the image's left edge or on its right
}
MOTION = tuple(RANGES)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture of a person, level, with the eyes in a standard place."""

    canvas: np.ndarray  # (1.5 size, 1.5 size, 3) uint8 RGB: with a margin around it
    landmarks: np.ndarray  # (68, 2) float32 pixels of `image`
    size: int  # side of `image` in pixels
    glasses: bool = False  # expressions leave them stiff

    @classmethod
    def from_photo(cls, photo, size: int = 384, glasses: bool = False) -> "Portrait":
        """The largest face of a photo; its blurred reflection continues its edges.

        Args:
            photo: An image file, or (H, W, 3) uint8 RGB; a `MediaError` says that it
                cannot be read, or shows no face.
            size, glasses: As for the class.
        """
        image = photo if isinstance(photo, np.ndarray) else images.read_image(photo)
        # dlib answers in whole pixels; in an enlarged picture these are finer.
        finer = int(np.clip(2000 // max(image.shape[:2]), 1, 3))
        large = cv2.resize(
            image, None, fx=finer, fy=finer, interpolation=cv2.INTER_CUBIC
        )
        found = detect.detect(large)
        if not found:
            who = "The picture" if isinstance(photo, np.ndarray) else photo
            raise MediaError(f"{who} shows no face; give a photo of one, from ahead.")
        landmarks = (found[0].landmarks + 0.5) / finer - 0.5
        left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
        across = right - left
        shrink = min(1, 2 * EYES * size / np.hypot(*across))
        if shrink < 1:  # one step would skip pixels
            image = cv2.resize(
                image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA
            )
        x, y = across / (across @ across) * EYES * size
        turn = np.array([[x, y], [-y, x]])
        margin = size // 4
        shift = EYES_AT * size + margin - turn @ (left + right) / 2
        placing, shape = np.column_stack([turn, shift]), (size + 2 * margin,) * 2
        place = geometry.resize_transform(placing, source=shrink)
        canvas = cv2.warpAffine(
            image, place, shape, None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
        )
        inside = cv2.warpAffine(np.ones(image.shape[:2], np.float32), place, shape)
        if not inside.all():  # out of focus, so that nobody sees things twice
            soft = cv2.GaussianBlur(inside, (0, 0), 0.02 * size)
            inside = (2 * soft - 1).clip(0, 1)  # 0 from the photo's edge outwards
            blurred = cv2.GaussianBlur(canvas, (0, 0), 0.05 * size)
            canvas = cv2.blendLinear(canvas, blurred, inside, 1 - inside)
        placed = geometry.transform_points(landmarks, placing)
        return cls(canvas, placed - np.float32(margin), size, glasses)

    @property
    def image(self) -> np.ndarray:
        """The portrait at rest, (size, size, 3) uint8 RGB."""
        margin = self.size // 4
        return self.canvas[margin:-margin, margin:-margin]

    @cached_property
    def rig(self) -> Rig:
        return Rig(self.canvas, self.landmarks, self.size, self.glasses)


@cache
def portrait(name: str, size: int = 384) -> Portrait:
    """One of the built-in `PEOPLE`, `size` pixels wide and high.

    Both are in the public domain: NASA's portrait of Eileen Collins, in scikit-image,
    and the US Navy's of Grace Hopper, in matplotlib.
    """
    if name == "collins":
        import skimage.data

        photo = skimage.data.astronaut()
    elif name == "hopper":
        from matplotlib import cbook

        photo = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    else:
        raise ValueError(f"No built-in person {name!r}; there are {PEOPLE}.")
    return Portrait.from_photo(photo, size, glasses=name == "hopper")


def motion(frames: int = 300, seed: int = 0) -> np.ndarray:
    """Smooth random motion for 30 frames a second.

    Returns:
        (frames, len(MOTION)) float32, columns and ranges as in `RANGES`; over 300
        frames every column reaches both ends of its range. Less is the beginning of
        that.
    """
    rng = np.random.default_rng(seed)
    count = max(frames, 300)
    # Width in frames of the Gaussian that smooths the noise.
    pace = dict.fromkeys(MOTION, 16) | {"yaw": 13, "pitch": 13, "mouth_open": 6}
    pace |= {"brows": 12, "light": 40, "light_side": 40}
    columns = []
    for name, (low, high) in RANGES.items():
        if name == "blink":
            course = np.zeros(count)
            start = rng.integers(20, 60)
            while start < count - 6:
                course[start : start + 6] = 0.45, 1, 1, 0.75, 0.4, 0.12
                start += rng.integers(45, 110)
        else:
            noise = rng.standard_normal(count + 400)
            course = gaussian_filter1d(noise, pace[name])[200:-200]
            course = (course - course.min()) / np.ptp(course)
        if name in ("smile", "mouth_open", "brows"):  # at rest a good part of the time
            course = (np.clip(course - 0.35, 0, 1) / 0.65) ** 1.3
        columns.append(low + (high - low) * course)
    return np.stack(columns, -1)[:frames].astype(np.float32)


def animate(person: Portrait | str, motion: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (size, size, 3) uint8 RGB frames of a portrait under a motion.

    Args:
        person: One of `PEOPLE`, or any `Portrait`.
        motion: (frames, len(MOTION)), as from the function `motion`.
    """
    if np.ndim(motion) != 2 or np.shape(motion)[1] != len(MOTION):
        shape = f"(frames, {len(MOTION)})"
        raise ValueError(f"A motion has shape {shape}, not {np.shape(motion)}.")
    person = portrait(person) if isinstance(person, str) else person
    for row in np.asarray(motion, float):
        yield person.rig.frame(dict(zip(MOTION, row, strict=True)))


def write_clip(path, person: Portrait | str, motion: np.ndarray, fps=30) -> Path:
    """Write `animate`'s frames as MP4, unsigned; returns the path."""
    with VideoWriter(path, fps=fps) as video:
        for image in animate(person, motion):
            video.write(image)
    return Path(path)


def write_photos(folder, count: int, size: int = 178) -> list[Path]:
    """JPEGs of both built-in people, `size` pixels wide, where no data set is at hand.

    Half of the `count` show each person; photos that are there stay.
    """
    out, half = [], (min(count, 120) if deepfakery.SMOKE else count) // 2
    for name in PEOPLE:
        files = [Path(folder) / f"{i:04d}_{name}.jpg" for i in range(half)]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        frames = animate(portrait(name, size), motion(half, seed=2)[missing])
        for i, image in zip(missing, frames, strict=True):
            facts = {"kind": "animated", "target": name}
            with provenance.signing(files[i], facts) as aside:
                images.write_image(aside, image)
        out += files
    return out


def identities(face: str, target: str) -> dict[str, str]:
    """Name the two people of a swap after their footage, by its file name.

    Args:
        face: Whose face is laid in: one of `PEOPLE`, a clip or a folder of photos.
        target: What it is laid into: one of `PEOPLE` or a clip.

    Returns:
        {identity: what was given}, the target first; names must differ.
    """
    names = [who if who in PEOPLE else Path(who).stem for who in (target, face)]
    if names[0] == names[1]:
        raise ValueError(
            f"The face ({face}) and the target ({target}) have the same name; rename "
            "one file if they are two people."
        )
    return dict(zip(names, (target, face), strict=True))


def footage(who: str, folder, unseen: bool = False) -> Path:
    """A clip of one of `PEOPLE` in a folder, made if it is not there; a path as it is.

    `unseen` is another motion than the one to train on.
    """
    if who not in PEOPLE:
        return Path(who)
    clip = Path(folder) / f"{who}_{'unseen' if unseen else 'train'}.mp4"
    if not clip.exists():
        frames = (12 if unseen else 72) if deepfakery.SMOKE else 300
        # No label: it would be trained on. But that it is no footage is signed.
        with provenance.signing(clip, {"kind": "animated", "target": who}) as aside:
            write_clip(aside, who, motion(frames, seed=int(unseen)))
    return clip


def true_swap(face: str, target: str, folder) -> Path | None:
    """The ground truth of the unseen clip's swap; None but for built-in people."""
    if face in PEOPLE and target in PEOPLE:
        return footage(face, folder, unseen=True)
    return None
