"""Decoded frames as a player shows them: progressive, square pixels, SDR, RGB.

What a frame becomes depends on it, its neighbours and the clip's first frame alone, so
that a clip may be entered anywhere.
"""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter

# Matrix numbers of a file (H.273) -> the numbers swscale has for the same matrices.
SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
BT709, BT601 = 1, 6
# Those that it lacks, of which nothing else can be made.
FOREIGN = {8: "YCgCo", 14: "ICtCp", 15: "IPT (Dolby Vision, profile 5)"}
LIMITED, FULL = 1, 2
# Transfer functions of high dynamic range, by their number in H.273.
HDR = {16: "PQ", 18: "HLG"}

# swscale's default shortcuts shift flat colours by a level or two each way.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EXACT, SCALED = Interpolation.BILINEAR | _EXACT, Interpolation.BICUBIC | _EXACT
QUICK = Interpolation.FAST_BILINEAR

# FFmpeg's field orders -> the field of which a frame shows the earlier moment.
FIRST_FIELD = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
# Pixels longer than this, or this near to squares, are taken for squares.
ODDEST, NEARLY = Fraction(4), Fraction(1, 100)


def _unnamed(kind, number):
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNNAMED_{number}", number
    return member


# PyAV fails at frames with side data that it has no name for: the EXIF of a camera, the
# eyes of spatial video.
Type._missing_ = classmethod(_unnamed)


def _matrix(frame) -> int:
    """The frame's colour matrix; where it is not given, what players assume."""
    if frame.colorspace in SWS_MATRIX:
        return int(frame.colorspace)
    return BT709 if min(frame.width, frame.height) > 576 else BT601


def _range(frame) -> int:
    """Whether black and white are 16 and 235, or 0 and 255."""
    full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
    return FULL if full else LIMITED


def tags(frame) -> dict:
    """Colours of the pictures made of such a frame, as in `VideoInfo`."""
    is_hdr = frame.color_trc in HDR
    return {
        "matrix": BT709 if is_hdr else _matrix(frame),
        "color_range": LIMITED if frame.format.is_rgb else _range(frame),
        "primaries": BT709 if is_hdr else int(frame.color_primaries),
        "transfer": BT709 if is_hdr else int(frame.color_trc),
    }


class Filters:
    """How the frames of one clip become RGB pictures (H, W, 3) uint8 of one size.

    Args:
        path: The clip, for warnings.
        stream: Its picture stream.
        first: Its first frame, which decides the size.
        quick: Convert colours in a tenth of the time, a level or two off.
    """

    def __init__(self, path, stream, first, quick=False):
        self.path, self.stream, self.quick = path, stream, quick
        self._reformatter, self._said = VideoReformatter(), set()
        # The container's shape of a pixel rules; without one, it may change on the way.
        self._aspect = stream.sample_aspect_ratio or 0
        self._follows = self._aspect == (stream.codec_context.sample_aspect_ratio or 0)
        # Some files say that they are interlaced, and not their frames.
        order = FIRST_FIELD.get(stream.codec_context.field_order)
        self._parity = None if first.interlaced_frame else order
        self.size = _upright_size(self._square(first), _display_matrix(first))

    def deinterlaced(self, frames) -> Iterator[tuple]:
        """(pts, frame, its size in square pixels, whether that is new) of each
        (pts, frame)."""
        frames = ((pts, frame, self._square(frame)) for pts, frame in frames)
        before, now = None, next(frames, None)
        while now is not None:
            after = next(frames, None)
            pts, frame, size = now
            if parity := self._fields(frame):
                self._say("interlaced", "is interlaced; its frames are deinterlaced.")
                frame = _bwdif(before and before[1], frame, after and after[1], parity)
            yield pts, frame, size, size != (before or now)[2]
            before, now = now, after

    def _fields(self, frame) -> str | None:
        return "auto" if frame.interlaced_frame else self._parity

    def looks_back(self, frame) -> bool:
        """Whether the frame before it must be known."""
        size = _upright_size(self._square(frame), _display_matrix(frame))
        return size != self.size or bool(self._fields(frame))

    def picture(self, index: int, frame, size, is_new) -> np.ndarray:
        """The RGB picture of a frame from `deinterlaced`."""
        display_matrix, (wide, high) = _display_matrix(frame), self.size
        if size != (frame.width, frame.height):
            text = f"has pixels that are not square; read as {wide}x{high}."
            self._say("square", text)
        turned = _upright_size(size, display_matrix)
        if turned == self.size:
            return _upright(self._rgb(frame, *size), display_matrix)
        if is_new:
            text = f"changes from {wide}x{high} to {turned[0]}x{turned[1]} at frame"
            self._say("size", f"{text} {index}; it is fitted in, with black around.")
        scale = min(Fraction(wide, turned[0]), Fraction(high, turned[1]))
        size = (max(1, round(side * scale)) for side in size)
        image = _upright(self._rgb(frame, *size), display_matrix)
        height, width = image.shape[:2]
        top, left = (high - height) // 2, (wide - width) // 2
        around = (top, high - height - top), (left, wide - width - left), (0, 0)
        return np.pad(image, around)

    def _square(self, frame) -> tuple[int, int]:
        """Width and height of the stored picture once its pixels are square."""
        # The decoder is a few frames ahead, and the shape changes at keyframes only.
        if frame.key_frame and self._follows:
            self._aspect = self.stream.codec_context.sample_aspect_ratio
        aspect, width, height = Fraction(self._aspect or 1), frame.width, frame.height
        if 1 + NEARLY <= aspect <= ODDEST:
            width = 2 * round(width * aspect / 2)
        elif 1 / ODDEST <= aspect <= 1 - NEARLY:
            height = 2 * round(height / aspect / 2)
        return width, height

    def _rgb(self, frame, width, height) -> np.ndarray:
        scaled = (width, height) != (frame.width, frame.height)
        is_hdr = frame.color_trc in HDR
        is_clear = any(part.is_alpha for part in frame.format.components)
        # FFmpeg's own decoder of WebM passes over it.
        if self.stream.metadata.get("alpha_mode") == "1" or (is_clear and is_hdr):
            self._say("alpha", "has transparency; what it hides is shown.")
        image = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp16le" if is_hdr else "rgba" if is_clear else "rgb24",
            src_colorspace=SWS_MATRIX[_matrix(frame)],
            src_color_range=_range(frame),
            interpolation=QUICK if self.quick else SCALED if scaled else EXACT,
        ).to_ndarray()
        if is_hdr:
            name = HDR[frame.color_trc]
            self._say("range", f"has high dynamic range ({name}); tone-mapped to SDR.")
            return _sdr(image, name, frame.color_primaries != BT709)
        if is_clear:
            alpha = image[..., 3:].astype(np.uint16)
            if alpha.min() < 255:
                self._say("alpha", "has transparency, which is laid on white.")
            image = 255 - ((255 - image[..., :3]) * alpha + 127) // 255
            return image.astype(np.uint8)
        return image

    def _say(self, kind, text):
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(f"{self.path} {text}", stacklevel=4)


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """a, b, c, d: the stored pixel (x, y) is shown at (a x + c y, b x + d y)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    return a, b, c, d


def _upright_size(size, display_matrix) -> tuple[int, int]:
    a, b, _, _ = display_matrix
    return size[::-1] if abs(b) > abs(a) else size


def _upright(image, display_matrix) -> np.ndarray:
    """Turn and mirror by quarter turns, as the display matrix says."""
    a, b, c, d = display_matrix
    if abs(b) > abs(a):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _bwdif(before, frame, after, parity):
    """One whole frame of the fields of one frame and its neighbours."""
    kind = frame.width, frame.height, frame.format.name
    before, after = (
        other if other and (other.width, other.height, other.format.name) == kind else 0
        for other in (before, after)
    )
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 25),
    )
    weave = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint=all")
    graph.link_nodes(source, weave, graph.add("buffersink")).configure()
    for neighbour in filter(None, (before, frame, after)):
        graph.push(neighbour)
    if not after:
        graph.push(None)
    if before:
        graph.pull()
    return graph.pull()


# ITU-R BT.2087: linear light of BT.2020 -> of BT.709.
TO_BT709 = np.float32(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
# SDR white is 100 nits by tradition and 203 in footage of high dynamic range (ITU-R
# BT.2408). White between them, and highlights from three quarters of the signal on
# rolled off in place of being cut, is fair to both.
WHITE, KNEE = 150, 0.75


def _sdr(image: np.ndarray, transfer: str, is_wide: bool) -> np.ndarray:
    """RGB uint16 in PQ or HLG, of BT.2020 if wide -> RGB uint8 of BT.709, gamma 2.4."""
    light, signal = _curves(transfer)
    light = cv2.transform(light[image], TO_BT709) if is_wide else light[image]
    # As square roots, so that 16 bits keep the shadows apart.
    roots = np.sqrt(np.clip(light, 0, 1, out=light), out=light) * 65535
    return signal[roots.astype(np.uint16)]


@cache
def _curves(transfer) -> tuple[np.ndarray, np.ndarray]:
    """(65536,) each: light in 10,000 nits of a signal; what shows a root of light."""
    x = np.linspace(0, 1, 65536)
    if transfer == "PQ":  # SMPTE ST 2084, equation 4.1
        power = x ** (32 / 2523)
        above = np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)
        light = above ** (8192 / 1305)
    else:
        # ITU-R BT.2100, table 5: the inverse OETF, then the OOTF of a display of 1000
        # nits, here for each channel by itself.
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(x <= 0.5, x**2 / 3, (np.exp((x - c) / a) + b) / 12)
        light = scene**1.2 / 10
    signal = (x**2 * 10_000 / WHITE) ** (1 / 2.4)
    rolled = 1 - (1 - KNEE) * np.exp(-(signal - KNEE) / (1 - KNEE))
    signal = np.where(signal > KNEE, rolled, signal)
    return np.float32(light), (signal * 255).round().astype(np.uint8)
