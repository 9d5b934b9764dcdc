"""What moves a portrait: a frame of a person for a row of a motion.

Mouth and lids open and close in the portrait itself, because there the picture tears.
All else is one smooth displacement: thin-plate splines over the landmarks for smile and
brows (Bookstein 1989, "Principal Warps"), then the turn of a head-shaped relief.
"""

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter1d

#: Distance between the eyes and the place of their middle, as shares of the side. All
#: other lengths are in *eyes*, that distance, so that all people do the same.
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


def _step(t):
    """A smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _hill(*t):
    """A Gaussian bump over one or more scaled coordinates."""
    return np.exp(-sum(s * s for s in t))


class Rig:
    """All that moves a `Portrait`, of which it takes the attributes."""

    def __init__(self, canvas, landmarks, size, glasses):
        self.canvas, self.size, self.unit = canvas, size, EYES * size
        self.cell, self.margin = size / GRID, size // 4
        places = (np.arange(GRID) + 0.5) * self.cell - 0.5
        self.grid = np.stack(np.meshgrid(places, places), -1)  # (GRID, GRID, 2) pixels
        side = len(canvas)
        self.y, self.x = np.mgrid[:side, :side].astype(np.float32)
        # The head's own coordinates: eyes from the middle between the eyes.
        self.centre = EYES_AT * size
        self.head = (self.grid - self.centre) / self.unit
        points = landmarks.astype(float)
        self._relief((points - self.centre) / self.unit)
        self._expressions((points - self.centre) / self.unit, glasses)
        self._jaw(points + self.margin)
        # Behind glasses: skin from below and from above the frame, none of the frame.
        reach = 0.3 if glasses else 0.1
        eyes = points[36:42] + self.margin, points[42:48] + self.margin
        self.eyes = [self._eyelid(eye, reach * self.unit) for eye in eyes]

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

    def _expressions(self, points, glasses):
        """A displacement field for each smooth expression, by thin-plate splines."""
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rim = np.stack([1.7 * np.sin(angle), 2.3 * np.cos(angle) + 0.1], -1)
        nodes = np.concatenate([points, rim])  # landmarks and what never moves
        u, v = np.moveaxis(self.head, -1, 0)
        # Hair and hat keep still, and so do glasses.
        soft = _step(3 * self.follows_head[..., 0]) * _step((v + 0.8) / 0.45)
        if glasses:
            frame = np.maximum(abs(u) - 1.1, abs(v - 0.13) - 0.38)
            soft = soft * _step(frame / 0.12)
        self.fields = {}
        for name, pairs in EXPRESSIONS.items():
            shift = np.zeros((len(nodes), 2))
            for (left, right), (outwards, down) in pairs.items():
                shift[left], shift[right] = (-outwards, down), (outwards, down)
            # The smoothing lets lips that touch in the portrait share one place.
            spline = RBFInterpolator(nodes, shift, smoothing=0.001)
            field = spline(self.head.reshape(-1, 2)).reshape(GRID, GRID, 2)
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
        moved = cv2.remap(self.canvas, x, source, cv2.INTER_LINEAR)
        # A pixel of overlap hides the row that belongs to both edges of the tear.
        inside = np.clip(y - lip + 0.5, 0, 1) * np.clip(lip + gap + 1.5 - y, 0, 1)
        inside = cv2.GaussianBlur(inside * _step(gap / 2), (0, 0), 0.6)[..., None]
        deep = np.clip((y - lip) / np.maximum(gap, 1), 0, 1)[..., None]
        cavity = np.array([42, 14, 14]) + deep**3 * np.array([70, 26, 26])  # tongue
        canvas[self.mouth] = moved + inside * (cavity - moved) + 0.5

    def _eyelid(self, eye, reach):
        """What a closed eye looks like: the skin around it, drawn over the eyeball."""
        unit = self.unit
        (x0, y0), (x1, y1) = eye.min(0) - 0.45 * unit, eye.max(0) + 0.45 * unit
        box = slice(int(y0), int(y1)), slice(int(x0), int(x1))
        x, y = self.x[box][0], self.y[box]
        upper = np.polyval(np.polyfit(*eye[[0, 1, 2, 3]].T, 2), x)
        lower = np.polyval(np.polyfit(*eye[[0, 5, 4, 3]].T, 2), x)
        ends = np.minimum(x - eye[0, 0], eye[3, 0] - x) / unit
        hidden = (y > upper - reach) & (y < lower + 0.05 * unit) & (ends > -0.06)
        patch = np.ascontiguousarray(self.canvas[box])
        skin = cv2.inpaint(patch, np.uint8(hidden), 0.1 * unit, cv2.INPAINT_TELEA)
        skin = cv2.GaussianBlur(skin, (0, 0), 0.02 * unit).astype(np.float32)
        down = (y - upper) / np.maximum(lower - upper, 1)
        ball = _hill((down - 0.45) / 0.35) * _step(ends / 0.15)  # it is round
        skin *= (0.96 + 0.06 * ball)[..., None]
        return box, upper, lower, ends, skin

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
        size, canvas = self.size, self.canvas.copy()
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
        turn, shift = np.float32(turn), np.float32(shift + self.margin)
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
