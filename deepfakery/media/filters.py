"""Decoded frames as a player shows them: progressive, square pixels, SDR, RGB.

What a frame becomes depends on it, its neighbours and the clip's first frame alone, so
that a clip may be entered anywhere.
"""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cache
from itertools import chain

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

# Matrix numbers of a file (H.273) -> the numbers swscale has for the same matrices.
SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
BT709, BT601 = 1, 6
LIMITED, FULL = 1, 2
# Transfer functions of high dynamic range, by their number in H.273.
HDR = {16: "PQ", 18: "HLG"}

# swscale's default shortcuts shift flat colours by a level or two each way.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EXACT, SCALED = Interpolation.BILINEAR | _EXACT, Interpolation.BICUBIC | _EXACT
QUICK = Interpolation.FAST_BILINEAR

# Pixels longer than this, or this near to squares, are taken for squares.
ODDEST, NEARLY = Fraction(4), Fraction(1, 100)


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
    if frame.color_trc in HDR:
        return {}
    return {
        "matrix": _matrix(frame),
        "color_range": LIMITED if frame.format.is_rgb else _range(frame),
        "primaries": int(frame.color_primaries),
        "transfer": int(frame.color_trc),
    }


class Filters:
    """How the frames of one clip become RGB pictures (H, W, 3) uint8 of one size.

    Args:
        path: The clip, for warnings.
        stream: Its picture stream.
        first: Its first frame, which decides size and rotation.
        quick: Convert colours in a tenth of the time, a level or two off.
    """

    def __init__(self, path, stream, first, quick=False):
        self.path, self.stream, self.quick = path, stream, quick
        self._reformatter, self._said = VideoReformatter(), set()
        self._kind = first.width, first.height
        width, height = self._kind
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        if 1 + NEARLY <= aspect <= ODDEST:
            width = 2 * round(width * aspect / 2)
        elif 1 / ODDEST <= aspect <= 1 - NEARLY:
            height = 2 * round(height / aspect / 2)
        self._stored = width, height
        self._display_matrix = a, b, _, _ = _display_matrix(first)
        self.size = self._stored[::-1] if abs(b) > abs(a) else self._stored

    def progressive(self, frames) -> Iterator[tuple]:
        """The same (pts, frame); what is interlaced is deinterlaced by bwdif."""
        graph = None
        for pts, frame in chain(frames, [(None, None)]):
            if not graph and frame and frame.interlaced_frame:
                self._say("is interlaced; its frames are deinterlaced.")
                graph, base = av.filter.Graph(), self.stream.time_base
                size = {"width": frame.width, "height": frame.height}
                source = graph.add_buffer(**size, format=frame.format, time_base=base)
                weave = graph.add("bwdif", "mode=send_frame:deint=interlaced")
                graph.link_nodes(source, weave, graph.add("buffersink")).configure()
            if not graph:
                if frame:
                    yield pts, frame
                continue
            if frame:
                frame.pts, frame.time_base = pts, base
            graph.push(frame)
            with suppress(av.error.BlockingIOError, av.error.EOFError):
                while True:
                    done = graph.pull()
                    yield round(done.pts * done.time_base / base), done

    def picture(self, frame) -> np.ndarray:
        """The RGB picture of a progressive frame."""
        wide, high = self.size
        if (frame.width, frame.height) != self._kind:
            self._say(f"changes its size on the way; stretched to {wide}x{high}.")
        elif self._kind != self._stored:
            self._say(f"has pixels that are not square; read as {wide}x{high}.")
        image, (a, b, c, d) = self._rgb(frame), self._display_matrix
        if abs(b) > abs(a):  # turned by a quarter
            image, a, d = image.swapaxes(0, 1), c, b
        return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

    def _rgb(self, frame) -> np.ndarray:
        is_scaled = (frame.width, frame.height) != self._stored
        is_hdr = frame.color_trc in HDR
        image = self._reformatter.reformat(
            frame,
            *self._stored,
            format="gbrp16le" if is_hdr else "rgb24",
            src_colorspace=SWS_MATRIX[_matrix(frame)],
            src_color_range=_range(frame),
            interpolation=QUICK if self.quick else SCALED if is_scaled else EXACT,
        ).to_ndarray()
        if not is_hdr:
            return image
        name = HDR[frame.color_trc]
        self._say(f"has high dynamic range ({name}); tone-mapped to SDR.")
        return _sdr(image, name, frame.color_primaries != BT709)

    def _say(self, text):
        if text not in self._said:
            self._said.add(text)
            warnings.warn(f"{self.path} {text}", stacklevel=4)


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """a, b, c, d: the stored pixel (x, y) is shown at (a x + c y, b x + d y)."""
    data = None
    with suppress(ValueError):  # PyAV stumbles over side data that it cannot name
        data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    return a, b, c, d


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
