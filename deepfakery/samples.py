"""The built-in people: two public-domain portraits brought to life with known motion.

    for frame in animate("collins", motion(300, seed=0)): ...

A motion is a plain array that fits either portrait. The other portrait under the same
motion is therefore the *true* swap, which no real footage can offer.

Every frame is made in two steps. Mouth and lids are opened and closed in the portrait
itself, because there the picture tears: a lip leaves the other, a lid covers an eye.
Everything that bends without tearing (smile, brows, the head's turn) is one smooth
displacement: thin-plate splines over the landmarks for the expression, then a rotation
of the points on a smooth head-shaped relief for the pose.

Reference:
    Bookstein 1989, "Principal Warps: Thin-Plate Splines and the Decomposition of
    Deformations" (the expression).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from deepfakery import faces

PEOPLE = ("collins", "hopper")

#: Columns of a motion and their ranges. Degrees for the angles (yaw positive to the
#: image's right, pitch upwards, roll clockwise), shares of the distance between the
#: eyes for x (right) and y (down), a factor for zoom; 0 is the portrait, 1 the full
#: expression for the others; light and its side run from -1 to 1.
RANGES = {
    "yaw": (-25, 25),
    "pitch": (-15, 15),
    "roll": (-10, 10),
    "x": (-0.2, 0.2),
    "y": (-0.08, 0.08),
    "zoom": (1, 1.1),
    "blink": (0, 1),
    "smile": (0, 1),
    "mouth_open": (0, 1),
    "brows": (0, 1),
    "light": (-1, 1),
    "light_side": (-1, 1),
}
MOTION = tuple(RANGES)

#: Distance between the eyes, and where their middle lies, as shares of the side.
EYES = 0.175
EYES_AT = (0.5, 0.42)

#: Full mouth opening, as a share of the distance between the eyes.
GAP = 0.31
#: Cells of the grid on which smooth displacements are computed.
GRID = 64


def _step(t):
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _curve(points, x, degree=2):
    return np.polyval(np.polyfit(points[:, 0], points[:, 1], degree), x)


@dataclass(frozen=True)
class Portrait:
    """A person's picture, upright, with the eyes in a standard place.

    Attributes:
        canvas: (size + 2 margin, size + 2 margin, 3) uint8 RGB: the picture and what
            lies around it, which rolls and shifts bring into view.
        landmarks: (68, 2) float32 pixels of `image`.
        size: Side of `image` in pixels.
        glasses: The person wears glasses; expressions leave them stiff.
        source, licence: Where the picture comes from.
    """

    canvas: np.ndarray
    landmarks: np.ndarray
    size: int
    glasses: bool = False
    name: str = ""
    source: str = ""
    licence: str = ""

    @classmethod
    def from_image(cls, image, landmarks, size=384, **facts) -> "Portrait":
        """Level, scale and crop any picture of a face.

        Args:
            image: (H, W, 3) uint8 RGB.
            landmarks: (68, 2) pixels of that image.
            size: Side of the portrait in pixels.
            **facts: `name`, `glasses`, `source`, `licence`.
        """
        left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
        x, y = (right - left) / ((right - left) ** 2).sum() * EYES * size
        turn = np.array([[x, y], [-y, x]])
        margin = size // 4
        shift = np.array(EYES_AT) * size + margin - turn @ (left + right) / 2
        transform = np.column_stack([turn, shift])
        canvas = cv2.warpAffine(
            image,
            transform,
            (size + 2 * margin,) * 2,
            flags=cv2.INTER_AREA if np.hypot(x, y) < 1 else cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        placed = faces.transform_points(landmarks, transform) - margin
        return cls(canvas, placed, size, **facts)

    @property
    def margin(self) -> int:
        return self.size // 4

    @property
    def image(self) -> np.ndarray:
        """The portrait at rest, (size, size, 3) uint8 RGB."""
        m = self.margin
        return self.canvas[m:-m, m:-m]

    @cached_property
    def rig(self) -> "_Rig":
        return _Rig(self)


class _Rig:
    """What moves a portrait, computed once."""

    def __init__(self, portrait: Portrait):
        self.portrait = portrait
        size, points = portrait.size, portrait.landmarks.astype(np.float64)
        self.unit = EYES * size
        self.centre = np.array(EYES_AT) * size
        centres = (np.arange(GRID) + 0.5) * size / GRID - 0.5
        self.grid = np.stack(np.meshgrid(centres, centres), -1)  # (GRID, GRID, 2)
        self._relief(points)
        self._expressions(points)
        self._mouth(points)
        self._eyelids(points)

    def _relief(self, points):
        """Depth of the head in front of its axis, and where the head ends."""
        u, v = np.moveaxis((self.grid - self.centre) / self.unit, -1, 0)
        width = 1.75 - 0.5 * _step((v - 0.6) / 0.7)  # head, then jaw and neck
        inside = np.clip(1 - (u / width) ** 2 - ((v - 0.2) / 2.6) ** 4, 0, 1)
        nose, chin = (points[[30, 8]] - self.centre) / self.unit
        bump = np.exp(-(((u - nose[0]) / 0.26) ** 2))
        bump *= np.exp(-(((v - nose[1]) / np.where(v < nose[1], 0.5, 0.2)) ** 2))
        jut = np.exp(-(((u - chin[0]) / 0.5) ** 2) - ((v - chin[1]) / 0.4) ** 2)
        self.depth = (1.3 * inside + 0.45 * bump + 0.2 * jut) * self.unit
        # How much of the turn each place takes part in, across and up. The head's sides
        # must give way early to yaw, or they would fold; pitch does not fold them.
        self.follow_head = np.stack([inside, 1 - (1 - inside) ** 3], -1)

    def _expressions(self, points):
        """One displacement field for each smooth expression."""
        u = self.unit
        move = {name: np.zeros((68, 2)) for name in ("smile", "brows", "mouth_open")}
        for corner, side in ((48, -1), (54, 1)):
            move["smile"][corner] = (side * 0.11, -0.11)
            move["mouth_open"][corner] = (-side * 0.05, 0.06)
        for inner, side in ((60, -1), (64, 1)):
            move["smile"][inner] = (side * 0.09, -0.09)
            move["mouth_open"][inner] = (-side * 0.045, 0.06)
        for lip, side in ((49, -1), (59, -1), (53, 1), (55, 1)):
            move["smile"][lip] = (side * 0.06, -0.05)
        for cheek, side in ((3, -1), (4, -1), (12, 1), (13, 1)):
            move["smile"][cheek] = (side * 0.03, -0.03)
        for lid in (40, 41, 46, 47):
            move["smile"][lid] = (0, -0.02)
        move["brows"][17:27, 1] = -0.12
        ring = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([np.sin(ring) * 1.7, np.cos(ring) * 2.3 + 0.1], -1)
        nodes = np.concatenate([points, ring * u + self.centre]) / u
        grid = self.grid.reshape(-1, 2) / u

        def kernel(a, b):
            r2 = ((a[:, None] - b[None]) ** 2).sum(-1)
            return r2 * np.log(r2 + 1e-9)

        count = len(nodes)
        system = np.zeros((count + 3, count + 3))
        # The small diagonal lets lips that touch in the portrait share one place.
        system[:count, :count] = kernel(nodes, nodes) + 0.002 * np.eye(count)
        system[:count, count:] = np.column_stack([np.ones(count), nodes])
        system[count:, :count] = system[:count, count:].T
        basis = np.column_stack([kernel(grid, nodes), np.ones(len(grid)), grid])
        basis = (basis @ np.linalg.inv(system))[:, :68]
        x, y = np.moveaxis((self.grid - self.centre) / u, -1, 0)
        soft = _step(self.follow_head[..., 0] * 3) * _step((y + 0.8) / 0.45)
        if self.portrait.glasses:
            frame = np.maximum(abs(x) - 1.1, abs(y - 0.13) - 0.38)
            soft = soft * _step(frame / 0.12)
        self.fields = {
            name: (basis @ shift * u).reshape(GRID, GRID, 2) * soft[..., None]
            for name, shift in move.items()
        }

    def _mouth(self, points):
        """How far each pixel of the lower face follows the jaw."""
        u, m = self.unit, self.portrait.margin
        points = points + m
        side = len(self.portrait.canvas)
        y, x = np.mgrid[:side, :side].astype(np.float32)
        left, right = points[60], points[64]
        middle, half = (left[0] + right[0]) / 2, (right[0] - left[0]) / 2
        columns = np.arange(side)
        slit = points[[60, 67, 66, 65, 64]]  # below the upper teeth, if they show
        lip = np.interp(columns, slit[:, 0], slit[:, 1])
        self.lip = gaussian_filter1d(lip, u * 0.04)
        self.opening = (
            np.clip(1 - ((columns - middle) / (half * 0.97)) ** 2, 0, 1) ** 0.7
        )
        chin = points[8, 1]
        below = _step((y - self.lip) / (0.85 * (chin - self.lip.mean())))
        follow = self.opening + (1 - self.opening) * below
        # The jaw's outline, and the throat below the chin, which it pushes down.
        jaw = np.zeros((side, side), np.float32)
        throat = points[[10, 6]] + (0, u)
        for outline in (points[:17], np.concatenate([points[6:11], throat])):
            cv2.fillPoly(jaw, [np.int32(outline)], 1)
        jaw = cv2.dilate(jaw, np.ones((int(0.2 * u),) * 2))
        follow = follow * cv2.GaussianBlur(jaw, (0, 0), 0.14 * u)
        follow = follow * (1 - _step((y - chin - 0.05 * u) / (0.95 * u)))
        self.follow = np.where(y >= self.lip, follow, 0).astype(np.float32)
        top = int(self.lip.min() - 0.2 * u)
        self.mouth_box = (
            slice(top, int(chin + 1.4 * u)),
            slice(int(middle - 1.3 * u), int(middle + 1.3 * u)),
        )
        self.x, self.y = x, y

    def draw(self, blink, mouth_open):
        """The portrait with the mouth and the lids as asked."""
        if blink < 1e-3 and mouth_open < 1e-3:
            return self.portrait.canvas
        canvas = self.portrait.canvas.copy()
        if mouth_open >= 1e-3:
            self._open_mouth(canvas, mouth_open)
        if blink >= 1e-3:
            for eye in self.eyes:
                self._close_eye(canvas, eye, blink)
        return canvas

    def _open_mouth(self, canvas, amount):
        box, drop = self.mouth_box, amount * GAP * self.unit
        x, y = self.x[box], self.y[box]
        lip, gap = self.lip[box[1]], drop * self.opening[box[1]]
        source = np.where(y > lip + gap, y - gap, y)
        source = source.astype(np.float32)
        for _ in range(6):  # where did the pixel that the jaw brought here come from?
            follow = cv2.remap(self.follow, x, source, cv2.INTER_LINEAR)
            source = np.maximum(y - drop * follow, np.minimum(y, lip))
            source = source.astype(np.float32)
        moved = cv2.remap(self.portrait.canvas, x, source, cv2.INTER_LINEAR)
        moved = moved.astype(np.float32)
        # One pixel of overlap hides the row that belongs to both edges of the tear.
        ends = _step(gap / 2)
        inside = np.clip(y - lip + 0.5, 0, 1) * np.clip(lip + gap + 1.5 - y, 0, 1)
        deep = np.clip((y - lip) / np.maximum(gap, 1), 0, 1)[..., None]
        dark = np.array([42, 14, 14]) + deep**3 * np.array([70, 26, 26])  # tongue
        inside = cv2.GaussianBlur(inside * ends, (0, 0), 0.6)[..., None]
        canvas[box] = np.clip(moved + inside * (dark - moved) + 0.5, 0, 255)

    def _eyelids(self, points):
        """What a closed eye looks like: the skin around it, drawn over the eyeball."""
        u, self.eyes = self.unit, []
        # Behind glasses, skin from below and from above the frame, none of the frame.
        reach = 0.3 if self.portrait.glasses else 0.1
        for first in (36, 42):
            eye = points[first : first + 6] + self.portrait.margin
            low, high = eye.min(0) - 0.45 * u, eye.max(0) + 0.45 * u
            box = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
            x, y = self.x[box], self.y[box]
            upper = _curve(eye[[0, 1, 2, 3]], x[0])
            lower = _curve(eye[[0, 5, 4, 3]], x[0])
            ends = np.minimum(x[0] - eye[0, 0], eye[3, 0] - x[0]) / u
            hidden = (y > upper - reach * u) & (y < lower + 0.05 * u) & (ends > -0.06)
            patch = np.ascontiguousarray(self.portrait.canvas[box])
            skin = cv2.inpaint(patch, np.uint8(hidden), 0.1 * u, cv2.INPAINT_TELEA)
            skin = cv2.GaussianBlur(skin, (0, 0), 0.02 * u).astype(np.float32)
            t = (y - upper) / np.maximum(lower - upper, 1)
            bulge = np.exp(-(((t - 0.45) / 0.35) ** 2)) * _step(ends / 0.15)
            skin *= (0.96 + 0.06 * bulge)[..., None]  # light on the eyeball's roundness
            self.eyes.append((box, upper, lower, ends, skin))

    def _close_eye(self, canvas, eye, amount):
        box, upper, lower, ends, skin = eye
        y, u = self.y[box], self.unit
        top, bottom = upper - 0.1 * u, lower + 0.01 * u
        edge = upper + amount * np.maximum(bottom - upper, 0)
        lid = _step((y - top) / (0.06 * u)) * np.clip(edge - y + 0.5, 0, 1)
        lid = cv2.GaussianBlur(lid * _step((ends + 0.06) / 0.08), (0, 0), 0.5)
        patch = canvas[box].astype(np.float32)
        patch += min(1, 3 * amount) * lid[..., None] * (skin - patch)
        lash = np.exp(-(((y - edge) / (0.022 * u)) ** 2)) * _step((ends + 0.03) / 0.12)
        dark = skin * np.float32((0.36, 0.28, 0.24))
        patch += 0.75 * min(1, 3 * amount) * lash[..., None] * (dark - patch)
        canvas[box] = np.clip(patch + 0.5, 0, 255)

    def displacement(self, move):
        """Where each output place comes from, relative to itself, (GRID, GRID, 2)."""
        bent = self.grid - self.centre
        for name, field in self.fields.items():
            bent = bent + move[name] * field
        yaw, pitch = np.radians([move["yaw"], move["pitch"]])
        x, y, z = bent[..., 0], bent[..., 1], self.depth
        ahead = z * np.cos(yaw) - x * np.sin(yaw)
        turned = np.stack(
            [
                x * np.cos(yaw) + z * np.sin(yaw),
                y * np.cos(pitch) - ahead * np.sin(pitch),
            ],
            -1,
        )
        rest = self.grid - self.centre
        forward = bent - rest + self.follow_head * (turned - bent)
        forward = forward.astype(np.float32)
        cell = self.portrait.size / GRID
        down = np.gradient(forward, cell, axis=0)
        right = np.gradient(forward, cell, axis=1)
        slope = np.concatenate([right, down], -1)  # d(x, y)/dx, d(x, y)/dy
        # Solve backward + forward(backward) = 0 by Newton steps, kept short at first:
        # a full step from afar can land beyond a crease and stay there.
        backward = np.zeros_like(forward)
        for longest in (4, 3, 3, 2, 1, 1, 1, 1):
            places = self.grid + backward
            miss = backward + self._lookup(forward, places)
            xx, yx, xy, yy = np.moveaxis(self._lookup(slope, places), -1, 0)
            area = np.maximum((1 + xx) * (1 + yy) - xy * yx, 0.1)
            dx, dy = miss[..., 0] / area, miss[..., 1] / area
            step = np.stack([(1 + yy) * dx - xy * dy, (1 + xx) * dy - yx * dx], -1)
            backward -= np.clip(step, -longest * cell, longest * cell)
        return backward

    def _lookup(self, field, places):
        scale = GRID / self.portrait.size
        places = ((places + 0.5) * scale - 0.5).astype(np.float32)
        return cv2.remap(field, places, None, cv2.INTER_LINEAR)

    def frame(self, row) -> np.ndarray:
        """One frame, (size, size, 3) uint8 RGB."""
        move = dict(zip(MOTION, map(float, row), strict=True))
        size, margin = self.portrait.size, self.portrait.margin
        canvas = self.draw(move["blink"], move["mouth_open"])
        # Out to in: undo shift, zoom and roll of the camera, then the head's own bend.
        roll = np.exp(-1j * np.radians(move["roll"])) / move["zoom"]
        turn = np.array([[roll.real, -roll.imag], [roll.imag, roll.real]])
        pivot = self.centre + (0, self.unit)
        shift = pivot - turn @ (pivot + self.unit * np.array([move["x"], move["y"]]))
        places = self.grid @ turn.T + shift
        bend = self._lookup(self.displacement(move), places)
        bend = cv2.resize(bend, (size, size), interpolation=cv2.INTER_CUBIC)
        y, x = self.y[:size, :size], self.x[:size, :size]
        turn, shift = np.float32(turn), np.float32(shift + margin)
        bend[..., 0] += turn[0, 0] * x + turn[0, 1] * y + shift[0]
        bend[..., 1] += turn[1, 0] * x + turn[1, 1] * y + shift[1]
        image = cv2.remap(
            canvas, bend, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        across = np.linspace(-1, 1, size, dtype=np.float32)
        gain = 1 + 0.15 * move["light"] + 0.1 * move["light_side"] * across
        gain = np.broadcast_to(gain[:, None], (size, size, 3))
        return cv2.multiply(image, np.ascontiguousarray(gain), dtype=cv2.CV_8U)


@cache
def portrait(name: str, size: int = 384) -> Portrait:
    """One of the built-in people.

    Args:
        name: One of `PEOPLE`.
        size: Side in pixels.

    Raises:
        ValueError: If there is no such person.
    """
    if name == "collins":
        import skimage.data

        image = skimage.data.astronaut()
        facts = {"source": "NASA, portrait of Eileen Collins (skimage.data.astronaut)"}
    elif name == "hopper":
        from matplotlib import cbook

        path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        image = cv2.imread(str(path))[..., ::-1].copy()
        facts = {
            "source": "US Navy, portrait of Grace Hopper (matplotlib sample data)",
            "glasses": True,
        }
    else:
        raise ValueError(f"No built-in person {name!r}; there are {PEOPLE}.")
    # dlib answers in whole pixels; an enlarged picture makes them finer.
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    landmarks = (faces.detect(large)[0].landmarks + 0.5) / 3 - 0.5
    return Portrait.from_image(
        image, landmarks, size, name=name, licence="Public domain", **facts
    )


def motion(frames: int = 300, seed: int = 0) -> np.ndarray:
    """Smooth random motion at 30 frames a second.

    Args:
        frames: How many.
        seed: Different seeds, different motion.

    Returns:
        (frames, len(MOTION)) float32 with the columns, units and ranges of `RANGES`.
        Over 300 frames every column reaches both ends of its range.
    """
    rng = np.random.default_rng(seed)
    count = max(frames, 300)
    pace = {"mouth_open": 6, "brows": 12, "smile": 20, "light": 40, "light_side": 40}
    columns = []
    for name, (low, high) in RANGES.items():
        noise = rng.standard_normal(count + 400)
        noise = gaussian_filter1d(noise, pace.get(name, 16))[200:-200]
        noise = (noise - noise.min()) / np.ptp(noise)
        if name == "blink":
            noise = np.zeros(count)
            at = int(rng.integers(20, 60))
            while at < count - 8:
                noise[at : at + 6] = (0.45, 1, 1, 0.75, 0.4, 0.12)
                at += int(rng.integers(45, 110))
        elif name in ("smile", "mouth_open", "brows"):
            noise = np.clip(noise - 0.35, 0, 1) / 0.65
            noise = noise**1.3
        columns.append(low + (high - low) * noise)
    return np.stack(columns, -1)[:frames].astype(np.float32)


def animate(person: Portrait | str, motion: np.ndarray) -> Iterator[np.ndarray]:
    """A portrait under a motion.

    Args:
        person: A `Portrait` or one of `PEOPLE`.
        motion: (frames, len(MOTION)) from `motion`.

    Yields:
        (size, size, 3) uint8 RGB frames.
    """
    person = portrait(person) if isinstance(person, str) else person
    for row in motion:
        yield person.rig.frame(row)


def write_clip(path, name: str, motion: np.ndarray, fps: int = 30) -> Path:
    """Write a built-in person under a motion to a video file."""
    from deepfakery.video import VideoWriter

    person = portrait(name)
    with VideoWriter(path, size=(person.size, person.size), fps=fps) as video:
        for frame in animate(person, motion):
            video.write(frame)
    return Path(path)
