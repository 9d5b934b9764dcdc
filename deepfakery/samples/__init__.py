"""The built-in people: two public-domain portraits brought to life with known motion.

    for frame in animate("collins", motion(300, seed=0)): ...

A motion is a plain array that fits either portrait. The other portrait under the same
motion is therefore the *true* swap, which no real footage can offer.

A frame is made in two steps. Mouth and lids open and close in the portrait itself,
because there the picture tears: one lip leaves the other, a lid covers an eye. All that
bends without tearing is one smooth displacement: thin-plate splines over the landmarks
for smile and brows, then the turn of a head-shaped relief. Lengths are in *eyes*, the
distance between the eyes, so that both people do the same.

Reference:
    Bookstein 1989, "Principal Warps: Thin-Plate Splines and the Decomposition of
    Deformations".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

import deepfakery
from deepfakery.faces import detect, geometry
from deepfakery.media import images, provenance
from deepfakery.media.video import MediaError, VideoWriter

PEOPLE = ("collins", "hopper")

#: What each column of a motion means, by its range; all zeros is the portrait at rest.
RANGES = {
    "yaw": (-25, 25),  # degrees, positive to the image's right
    "pitch": (-15, 15),  # degrees, positive upwards
    "roll": (-10, 10),  # degrees, positive clockwise as seen
    "x": (-0.2, 0.2),  # shift to the right, in eyes
    "y": (-0.08, 0.08),  # shift down, in eyes
    "zoom": (0, 0.1),  # share by which the picture grows
    "blink": (0, 1),  # 1: eyes closed
    "smile": (0, 1),  # added to the portrait's own; down to -0.5 takes some away
    "mouth_open": (0, 1),  # 1: `GAP` between the lips
    "brows": (0, 1),  # 1: raised
    "light": (-1, 1),  # 15 % darker to 15 % brighter
    "light_side": (-1, 1),  # 10 % brighter on the image's left edge or on its right
}
MOTION = tuple(RANGES)

#: Distance between the eyes and the place of their middle, as shares of the side.
EYES, EYES_AT = 0.175, np.array([0.5, 0.42])
#: Full opening of the mouth, in eyes.
GAP = 0.31
#: Cells along a side of the grid on which smooth displacements are computed.
GRID = 64

#: Smooth expressions: pairs of mirrored landmarks and how far they go outwards and
#: down, in eyes. Opening the mouth also pulls its corners in.
EXPRESSIONS = {
    "smile": {
        (48, 54): (0.11, -0.11),
        (60, 64): (0.09, -0.09),
        (49, 53): (0.06, -0.05),
        (59, 55): (0.06, -0.05),
        (3, 13): (0.03, -0.03),
        (4, 12): (0.03, -0.03),
        (40, 47): (0, -0.02),
        (41, 46): (0, -0.02),
    },
    "mouth_open": {(48, 54): (-0.05, 0.06), (60, 64): (-0.045, 0.06)},
    "brows": {(17 + i, 26 - i): (0, -0.1) for i in range(5)},
}


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture of a person, level, with the eyes in a standard place.

    Attributes:
        canvas: (size + 2 margin, size + 2 margin, 3) uint8 RGB: the portrait and what
            lies around it, which rolls and shifts bring into view.
        landmarks: (68, 2) float32 pixels of `image`.
        size: Side of `image` in pixels.
        glasses: The person wears glasses; expressions leave them stiff.
        name, source, licence: Who it is, where the picture is from, its licence.
    """

    canvas: np.ndarray
    landmarks: np.ndarray
    size: int
    glasses: bool = False
    name: str = ""
    source: str = ""
    licence: str = ""

    @classmethod
    def from_image(cls, image, landmarks, size: int = 384, **facts) -> "Portrait":
        """Level, scale and crop any picture of a face.

        Args:
            image: (H, W, 3) uint8 RGB. Beyond its edges it is continued by
                its blurred reflection.
            landmarks: (68, 2) pixels of that image.
            size: Side of the portrait in pixels.
            **facts: `glasses`, `name`, `source`, `licence`.
        """
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
        return cls(canvas, placed - np.float32(margin), size, **facts)

    @classmethod
    def from_photo(cls, photo, size: int = 384, **facts) -> "Portrait":
        """The largest face of a photo.

        Args:
            photo: An image file, or (H, W, 3) uint8 RGB.
            size: Side of the portrait in pixels.
            **facts: As for `from_image`.

        Raises:
            MediaError: It cannot be read, or shows no face.
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
        return cls.from_image(image, landmarks, size, **facts)

    @property
    def margin(self) -> int:
        """Width of the rim of `canvas` around `image`, in pixels."""
        return self.size // 4

    @property
    def image(self) -> np.ndarray:
        """The portrait at rest, (size, size, 3) uint8 RGB."""
        return self.canvas[self.margin : -self.margin, self.margin : -self.margin]

    @cached_property
    def rig(self) -> "_Rig":
        return _Rig(self)


@cache
def portrait(name: str, size: int = 384) -> Portrait:
    """One of the built-in people.

    Args:
        name: One of `PEOPLE`.
        size: Side in pixels.

    Raises:
        ValueError: There is no such person.
    """
    if name == "collins":
        import skimage.data

        image = skimage.data.astronaut()
        facts = {"source": "NASA portrait of Eileen Collins, from scikit-image"}
    elif name == "hopper":
        from matplotlib import cbook

        path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        facts = {
            "source": "US Navy portrait of Grace Hopper, from matplotlib",
            "glasses": True,
        }
    else:
        raise ValueError(f"No built-in person {name!r}; there are {PEOPLE}.")
    return Portrait.from_photo(image, size, name=name, licence="public domain", **facts)


def motion(frames: int = 300, seed: int = 0) -> np.ndarray:
    """Smooth random motion, thought for 30 frames a second.

    Args:
        frames: How many. A shorter motion is the beginning of the one of 300 frames.
        seed: Different seeds give different motion.

    Returns:
        (frames, len(MOTION)) float32, columns and ranges as in `RANGES`; over 300
        frames every column reaches both ends of its range.
    """
    rng = np.random.default_rng(seed)
    count = max(frames, 300)
    # Width in frames of the Gaussian that smooths the noise: talking is quick, light
    # drifts.
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
    """A portrait under a motion.

    Args:
        person: One of `PEOPLE`, or any `Portrait`.
        motion: (frames, len(MOTION)), as from the function `motion`.

    Yields:
        (size, size, 3) uint8 RGB frames.

    Raises:
        ValueError: The motion has another number of columns.
    """
    if np.ndim(motion) != 2 or np.shape(motion)[1] != len(MOTION):
        raise ValueError(
            f"A motion has shape (frames, {len(MOTION)}), not {np.shape(motion)}; "
            "its columns are those of `MOTION`."
        )
    person = portrait(person) if isinstance(person, str) else person
    for row in np.asarray(motion, float):
        yield person.rig.frame(dict(zip(MOTION, row, strict=True)))


def write_clip(path, person: Portrait | str, motion: np.ndarray, fps=30) -> Path:
    """Write a portrait under a motion to a video file.

    Args:
        path: The file to write, ending in `.mp4`.
        person: One of `PEOPLE`, or any `Portrait`.
        motion: (frames, len(MOTION)).
        fps: Frames a second.

    Returns:
        The path.
    """
    person = portrait(person) if isinstance(person, str) else person
    with VideoWriter(path, size=(person.size, person.size), fps=fps) as video:
        for image in animate(person, motion):
            video.write(image)
    return Path(path)


def write_photos(folder, count: int, size: int = 178) -> list[Path]:
    """Photos of both built-in people, where a data set of many is not at hand.

    Args:
        folder: Where to write them, as JPEG; photos that are there stay.
        count: How many, half of each person.
        size: Side in pixels.

    Returns:
        Their paths.
    """
    out, count = [], min(count, 120) if deepfakery.SMOKE else count
    for name in PEOPLE:
        frames = animate(portrait(name, size), motion(count // 2, seed=2))
        files = [Path(folder) / f"{i:04d}_{name}.jpg" for i in range(count // 2)]
        out += files
        if all(file.exists() for file in files):
            continue
        for file, image in zip(files, frames, strict=True):
            if not file.exists():
                sign = partial(
                    provenance.signed, name=file, kind="animated", target=name
                )
                images.write_image(file, image, sign)
    return out


def identities(face: str, target: str) -> dict[str, str]:
    """Name the two people of a swap after their footage.

    Args:
        face: Whose face is painted: one of `PEOPLE`, a clip or a folder of photos.
        target: What it is painted into: one of `PEOPLE` or a clip.

    Returns:
        {identity: what was given}, the target first. Footage gives its file name.

    Raises:
        ValueError: Both are the same.
    """
    names = [who if who in PEOPLE else Path(who).stem for who in (target, face)]
    if names[0] == names[1]:
        raise ValueError(
            f"The face ({face}) and the target ({target}) have the same name; a swap "
            "needs two people. Rename one file if they are two."
        )
    return dict(zip(names, (target, face), strict=True))


def footage(who: str, folder, unseen: bool = False) -> Path:
    """A clip of a built-in person, made if it is not there; a path is returned as is.

    Args:
        who: One of `PEOPLE`, or the path of footage.
        folder: Where the clips of the built-in people lie.
        unseen: Another motion than the one to train on.
    """
    if who not in PEOPLE:
        return Path(who)
    seed = 1 if unseen else 0
    clip = Path(folder) / f"{who}_{'unseen' if unseen else 'train'}.mp4"
    if not clip.exists():
        frames = (12 if unseen else 90) if deepfakery.SMOKE else 300
        # No label: it would be trained on. But that it is no footage is signed.
        with provenance.signing(clip, {"kind": "animated", "target": who}) as aside:
            write_clip(aside, who, motion(frames, seed))
    return clip


def true_swap(face: str, target: str, folder) -> Path | None:
    """What a perfect swap of the unseen clip would look like, or None.

    It exists only between built-in people: the painted one plays the target's motion.
    """
    if face in PEOPLE and target in PEOPLE:
        return footage(face, folder, unseen=True)
    return None


def _step(t):
    """A smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _hill(*t):
    """A Gaussian bump over one or more scaled coordinates."""
    return np.exp(-sum(s * s for s in t))


class _Rig:
    """All that moves a portrait, computed once for it."""

    def __init__(self, person: Portrait):
        self.person, self.unit = person, EYES * person.size
        self.cell = person.size / GRID
        points = person.landmarks.astype(float)
        places = (np.arange(GRID) + 0.5) * self.cell - 0.5
        self.grid = np.stack(np.meshgrid(places, places), -1)  # (GRID, GRID, 2) pixels
        side = len(person.canvas)
        self.y, self.x = np.mgrid[:side, :side].astype(np.float32)
        # The head's own coordinates: eyes from the middle between the eyes.
        self.centre = EYES_AT * person.size
        self.head = (self.grid - self.centre) / self.unit
        self._relief((points - self.centre) / self.unit)
        self._expressions((points - self.centre) / self.unit)
        self._jaw(points + person.margin)
        self._eyelids(points + person.margin)

    def _relief(self, points):
        """How far the head stands out of the picture, and where it ends."""
        u, v = np.moveaxis(self.head, -1, 0)
        width = 1.75 - 0.35 * _step((v - 0.6) / 0.7)  # of the head; then of the neck
        inside = np.clip(1 - (u / width) ** 2 - ((v - 0.2) / 2.6) ** 4, 0, 1)
        (nose_u, nose_v), (chin_u, chin_v) = points[30], points[8]
        length = np.where(v < nose_v, 0.5, 0.2)
        nose = _hill((u - nose_u) / 0.26, (v - nose_v) / length)
        chin = _hill((u - chin_u) / 0.5, (v - chin_v) / 0.4)
        self.depth = 1.3 * inside + 0.45 * nose + 0.2 * chin
        # How much of the turn each place takes part in, across and down. The sides
        # give way early to yaw, which would fold them, but not to pitch.
        self.follows_head = np.stack([inside, 1 - (1 - inside) ** 3], -1)

    def _expressions(self, points):
        """A displacement field for each smooth expression, by thin-plate splines."""
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rim = np.stack([1.7 * np.sin(angle), 2.3 * np.cos(angle) + 0.1], -1)
        nodes = np.concatenate([points, rim])  # landmarks and what never moves
        count = len(nodes)

        def kernel(a, b):
            squared = ((a[:, None] - b[None]) ** 2).sum(-1)
            return squared * np.log(squared + 1e-9)

        system = np.zeros((count + 3, count + 3))
        # The small diagonal lets lips that touch in the portrait share one place.
        system[:count, :count] = kernel(nodes, nodes) + 0.002 * np.eye(count)
        system[:count, count:] = np.column_stack([np.ones(count), nodes])
        system[count:, :count] = system[:count, count:].T
        flat = self.head.reshape(-1, 2)
        basis = np.column_stack([kernel(flat, nodes), np.ones(len(flat)), flat])
        basis = basis @ np.linalg.inv(system)[:, :68]  # (GRID * GRID, 68)

        u, v = np.moveaxis(self.head, -1, 0)
        # Hair and hat keep still, and so do glasses.
        soft = _step(3 * self.follows_head[..., 0]) * _step((v + 0.8) / 0.45)
        if self.person.glasses:
            frame = np.maximum(abs(u) - 1.1, abs(v - 0.13) - 0.38)
            soft = soft * _step(frame / 0.12)
        self.fields = {}
        for name, pairs in EXPRESSIONS.items():
            shift = np.zeros((68, 2))
            for (left, right), (outwards, down) in pairs.items():
                shift[left], shift[right] = (-outwards, down), (outwards, down)
            field = (basis @ shift).reshape(GRID, GRID, 2)
            self.fields[name] = field * soft[..., None]

    def _jaw(self, points):
        """How far each pixel of the canvas follows the jaw, and where it tears off."""
        x, y, unit = self.x, self.y, self.unit
        # Below the upper teeth, if the portrait shows them: they belong to the skull.
        slit = points[[60, 67, 66, 65, 64]]
        lip = np.interp(x[0], slit[:, 0], slit[:, 1])
        self.lip = gaussian_filter1d(lip, 0.04 * unit)
        middle, half = (slit[0, 0] + slit[-1, 0]) / 2, (slit[-1, 0] - slit[0, 0]) / 2
        across = (x[0] - middle) / (0.97 * half)
        self.opening = np.clip(1 - across**2, 0, 1) ** 0.7
        chin = points[8, 1]
        below = _step((y - self.lip) / (0.85 * (chin - self.lip.mean())))
        follows = self.opening + (1 - self.opening) * below
        # Inside the jaw's outline, and down the throat, which it pushes together.
        face = np.zeros(y.shape, np.float32)
        throat = np.concatenate([points[6:11], points[[10, 6]] + (0, unit)])
        for outline in (points[:17], throat):
            cv2.fillPoly(face, [np.int32(outline)], 1)
        face = cv2.dilate(face, np.ones((int(0.2 * unit),) * 2))
        follows = follows * cv2.GaussianBlur(face, (0, 0), 0.14 * unit)
        follows = follows * (1 - _step((y - chin) / unit))
        self.follows_jaw = np.where(y >= self.lip, follows, 0).astype(np.float32)
        self.mouth = (
            slice(int(self.lip.min() - 0.2 * unit), int(chin + 1.4 * unit)),
            slice(int(middle - 1.3 * unit), int(middle + 1.3 * unit)),
        )

    def _open_mouth(self, canvas, amount):
        drop = amount * GAP * self.unit
        x, y = self.x[self.mouth], self.y[self.mouth]
        lip, gap = self.lip[self.mouth[1]], drop * self.opening[self.mouth[1]]
        source = np.where(y > lip + gap, y - gap, y).astype(np.float32)
        for _ in range(6):  # where was the pixel that the jaw has brought here?
            follows = cv2.remap(self.follows_jaw, x, source, cv2.INTER_LINEAR)
            source = np.maximum(y - drop * follows, np.minimum(y, lip))
            source = source.astype(np.float32)
        moved = cv2.remap(self.person.canvas, x, source, cv2.INTER_LINEAR)
        # A pixel of overlap hides the row that belongs to both edges of the tear.
        inside = np.clip(y - lip + 0.5, 0, 1) * np.clip(lip + gap + 1.5 - y, 0, 1)
        inside = cv2.GaussianBlur(inside * _step(gap / 2), (0, 0), 0.6)[..., None]
        deep = np.clip((y - lip) / np.maximum(gap, 1), 0, 1)[..., None]
        cavity = np.array([42, 14, 14]) + deep**3 * np.array([70, 26, 26])  # tongue
        canvas[self.mouth] = moved + inside * (cavity - moved) + 0.5

    def _eyelids(self, points):
        """What closed eyes look like: the skin around them, drawn over the eyeball."""
        unit, self.eyes = self.unit, []
        # Behind glasses: skin from below and from above the frame, none of the frame.
        reach = 0.3 if self.person.glasses else 0.1
        for eye in (points[36:42], points[42:48]):
            (x0, y0), (x1, y1) = eye.min(0) - 0.45 * unit, eye.max(0) + 0.45 * unit
            box = slice(int(y0), int(y1)), slice(int(x0), int(x1))
            x, y = self.x[box][0], self.y[box]
            upper = np.polyval(np.polyfit(*eye[[0, 1, 2, 3]].T, 2), x)
            lower = np.polyval(np.polyfit(*eye[[0, 5, 4, 3]].T, 2), x)
            ends = np.minimum(x - eye[0, 0], eye[3, 0] - x) / unit
            hidden = (y > upper - reach * unit) & (y < lower + 0.05 * unit)
            hidden = np.uint8(hidden & (ends > -0.06))
            patch = np.ascontiguousarray(self.person.canvas[box])
            skin = cv2.inpaint(patch, hidden, 0.1 * unit, cv2.INPAINT_TELEA)
            skin = cv2.GaussianBlur(skin, (0, 0), 0.02 * unit).astype(np.float32)
            down = (y - upper) / np.maximum(lower - upper, 1)
            ball = _hill((down - 0.45) / 0.35) * _step(ends / 0.15)  # it is round
            skin *= (0.96 + 0.06 * ball)[..., None]
            self.eyes.append((box, upper, lower, ends, skin))

    def _close_eyes(self, canvas, amount):
        unit, full = self.unit, min(1, 3 * amount)
        for box, upper, lower, ends, skin in self.eyes:
            y = self.y[box]
            edge = upper + amount * np.maximum(lower + 0.01 * unit - upper, 0)
            lid = _step((y - upper) / (0.06 * unit) + 1.7)  # from above the lashes
            lid = lid * np.clip(edge - y + 0.5, 0, 1) * _step((ends + 0.06) / 0.08)
            lid = full * cv2.GaussianBlur(lid, (0, 0), 0.5)[..., None]
            lash = _hill((y - edge) / (0.022 * unit)) * _step((ends + 0.03) / 0.12)
            lash = 0.75 * full * lash[..., None]
            patch = canvas[box] + lid * (skin - canvas[box])
            patch += lash * (skin * (0.36, 0.28, 0.24) - patch)
            canvas[box] = np.clip(patch + 0.5, 0, 255)

    def _bend(self, move):
        """Where each place of the grid comes from, relative to it: (GRID, GRID, 2)."""
        bent = self.head + sum(move[name] * f for name, f in self.fields.items())
        yaw, pitch = np.radians([move["yaw"], move["pitch"]])
        x, y = np.moveaxis(bent, -1, 0)
        ahead = self.depth * np.cos(yaw) - x * np.sin(yaw)
        x = x * np.cos(yaw) + self.depth * np.sin(yaw)
        y = y * np.cos(pitch) - ahead * np.sin(pitch)
        turned = bent + self.follows_head * (np.stack([x, y], -1) - bent)
        forward = np.float32((turned - self.head) * self.unit)
        slope = [np.gradient(forward, self.cell, axis=axis) for axis in (1, 0)]
        slope = np.concatenate(slope, -1)
        # Solve backward + forward(backward) = 0 by Newton steps, kept short at first:
        # a full step from afar can land beyond a crease and stay there.
        backward = np.zeros_like(forward)
        for longest in (4, 3, 3, 2, 1, 1, 1, 1):
            places = self.grid + backward
            x, y = np.moveaxis(backward + self._at(places, forward), -1, 0)
            xx, yx, xy, yy = np.moveaxis(self._at(places, slope), -1, 0)
            area = np.maximum((1 + xx) * (1 + yy) - xy * yx, 0.1)
            step = np.stack([(1 + yy) * x - xy * y, (1 + xx) * y - yx * x], -1)
            limit = longest * self.cell
            backward -= np.clip(step / area[..., None], -limit, limit)
        return backward

    def _at(self, places, field):
        """A field of the grid, read at places given in pixels."""
        return cv2.remap(
            field, np.float32((places + 0.5) / self.cell - 0.5), None, cv2.INTER_LINEAR
        )

    def frame(self, move: dict) -> np.ndarray:
        """One frame, (size, size, 3) uint8 RGB."""
        size, canvas = self.person.size, self.person.canvas.copy()
        if move["mouth_open"] > 1e-3:
            self._open_mouth(canvas, move["mouth_open"])
        if move["blink"] > 1e-3:
            self._close_eyes(canvas, move["blink"])
        # From the frame back to the portrait: undo roll, zoom and shift of the whole
        # picture about the middle of the face, then the head's own bend.
        roll = np.exp(-1j * np.radians(move["roll"])) / (1 + move["zoom"])
        turn = np.array([[roll.real, -roll.imag], [roll.imag, roll.real]])
        pivot = self.centre + (0, self.unit)
        moved = pivot + self.unit * np.array([move["x"], move["y"]])
        shift = pivot - turn @ moved
        bend = self._at(self.grid @ turn.T + shift, self._bend(move))
        places = cv2.resize(bend, (size, size), interpolation=cv2.INTER_CUBIC)
        turn, shift = np.float32(turn), np.float32(shift + self.person.margin)
        x, y = self.x[:size, :size], self.y[:size, :size]
        for axis in (0, 1):
            places[..., axis] += turn[axis, 0] * x + turn[axis, 1] * y + shift[axis]
        image = cv2.remap(
            canvas, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        across = np.linspace(-1, 1, size, dtype=np.float32)[:, None]
        gain = 1 + 0.15 * move["light"] + 0.1 * move["light_side"] * across
        gain = np.ascontiguousarray(np.broadcast_to(gain, image.shape), np.float32)
        return cv2.multiply(image, gain, dtype=cv2.CV_8U)
