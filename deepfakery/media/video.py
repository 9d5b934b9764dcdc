"""Frames in, frames out, by PyAV (https://pyav.basswood-io.com).

    with VideoWriter("out.mp4", like=probe("clip.mp4")) as writer:
        for frame in read_frames("clip.mp4"):
            writer.write(frame.image, frame.pts)

writes the clip again, upright, with every timestamp and its sound.
"""

import os
import warnings
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import floor
from pathlib import Path

import av
import numpy as np

from deepfakery.media import records, remux
from deepfakery.media.filters import EXACT, FOREIGN, SWS_MATRIX, Filters, tags

# Name -> FFmpeg's encoder and options that look like the source. With B-frames the
# header would give a clip of varying rate a slightly wrong duration.
_X265 = {"preset": "superfast", "x265-params": "bframes=0:log-level=error"}
CODECS = {
    "h264": ("libx264", {"crf": "17", "preset": "veryfast", "bf": "0"}),
    "hevc": ("libx265", {"crf": "20", **_X265}),
}


class MediaError(ValueError):
    """A file cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Frame:
    """One picture of a clip or folder: RGB uint8 (H, W, 3), upright, contiguous."""

    index: int  # 0-based, in display order
    time: float  # seconds, presentation time
    pts: int  # the same, in units of VideoInfo.time_base
    image: np.ndarray
    file: Path  # the clip, or the image itself when read from a folder


@dataclass(frozen=True)
class VideoInfo:
    """What a clip's header and its first frame say."""

    path: Path
    width: int  # of the upright picture of square pixels, like height
    height: int
    fps: Fraction  # on average: the rate may vary
    time_base: Fraction  # seconds in one unit of pts
    start_pts: int = 0  # of the first frame
    frames: int | None = None  # None where the header does not say
    duration: float | None = None  # seconds of picture
    matrix: int = 1  # like the next three a number of H.273; 1: BT.709, limited range
    color_range: int = 1
    primaries: int = 1
    transfer: int = 1


def refuse_unreadable(path: Path, wanted: str) -> None:
    """Say why there is nothing to read, as a `MediaError`."""
    if os.path.isdir(path):
        raise MediaError(f"{path} is a folder; give {wanted}.")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError(f"{path} is empty; copy or download it again.")
    except OSError as error:
        raise MediaError(
            f"{path} does not exist or may not be read ({error.strerror}); check its "
            "name and permissions."
        ) from error


@contextmanager
def _opened(path):
    """The container and its picture stream."""
    refuse_unreadable(Path(path), "one video file")
    try:
        container = remux.opened(path)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path} is not a video that FFmpeg can read; it may be unfinished or cut "
            "off: copy it again, or convert it to MP4 first."
        ) from error
    with container:
        stream = remux.picture_stream(container)
        if stream is None:
            raise MediaError(f"{path} holds no video that can be decoded; give a clip.")
        yield container, stream


def _decoded(path, container, stream, entry: int | None = None) -> Iterator[tuple]:
    """(pts, frame) of all that can be decoded; damage is skipped, then warned of.

    With `entry`, a pts, decoding begins at the last keyframe before it.
    """
    # Decoding one frame a thread would be no faster here, and it hides errors.
    count, arrived, last, damage = 0, 0, None, []
    step = max(1, round(1 / (_rate(stream) * stream.time_base)))
    if entry is not None:
        container.seek(entry, stream=stream)
    packets, packet = remux.demuxed(container, [stream]), True
    while packet is not None:
        frames = []
        try:
            packet = next(packets, None)
            arrived += bool(packet and packet.size)
            frames = stream.decode(packet)
        except av.FFmpegError as error:  # what comes after this may be sound
            if not isinstance(error, av.EOFError):
                damage.append(count)
        for frame in frames:
            if not count and frame.colorspace in FOREIGN:
                raise MediaError(
                    f"{path} stores its colours as {FOREIGN[frame.colorspace]}, which "
                    "cannot be read; convert it to BT.709 first."
                )
            if frame.is_corrupt:
                damage.append(count)
            pts = frame.dts if frame.pts is None else frame.pts
            if last is not None:  # time only runs forward, whatever the file says
                pts = last + step if pts is None else max(pts, last + 1)
            last = pts or 0
            yield last, frame
            count += 1
    if not count:
        raise MediaError(f"{path} holds no frame that can be decoded; copy it again.")
    if container.format.name == "avi":  # its header counts empty places, too
        arrived = max(arrived, (last or 0) + 1)
    if entry is None and arrived < stream.frames:
        damage.append(count)
    if damage:
        promised = f" of {stream.frames}" if stream.frames else ""
        warnings.warn(
            f"{path} is damaged: decoding failed near frame {damage[0]}; "
            f"{count}{promised} frames were read.",
            stacklevel=3,
        )


def _entered(path, container, stream, pts, filters) -> Iterator[tuple]:
    """The same from a keyframe before `pts` on, so that what comes before is known."""
    back, begin = 0, stream.start_time or 0
    while True:
        entry = max(pts - back, begin)
        frames = _decoded(path, container, stream, entry)
        first = next(frames)
        if first[0] < pts or entry == begin or not filters.looks_back(first[1]):
            return chain([first], frames)
        back = 2 * back or round(1 / stream.time_base)


def _rate(stream) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def probe(path) -> VideoInfo:
    """Read a clip's header and first frame; a MediaError says why it cannot be."""
    with _opened(path) as (container, stream):
        with closing(_decoded(path, container, stream)) as frames:
            start_pts, frame = next(frames)
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = container.duration / av.time_base if container.duration else None
        count = stream.frames or None
        if count and stream.duration:  # an edit list may hide some
            shown = round(duration * _rate(stream))
            count = shown if 0 < shown < count - 1 else count
        return VideoInfo(
            Path(path),
            *Filters(path, stream, frame).size,
            fps=_rate(stream),
            time_base=stream.time_base,
            start_pts=start_pts,
            frames=count,
            duration=duration,
            **tags(frame),
        )


def index(path) -> list[tuple[int, bool]] | None:
    """List a clip's frames without decoding them, for reading parts of it at once.

    Returns:
        (pts, whether it is a keyframe) of each frame in display order, or None where
        only decoding from the beginning can tell.
    """
    with _opened(path) as (container, stream):
        if not {"mp4", "matroska"} & set(container.format.name.split(",")):
            return None  # others find a place only nearly
        try:
            found = sorted(
                (packet.pts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            )
        except (av.FFmpegError, TypeError):  # damaged, or not every frame has a time
            return None
        times = {pts for pts, _ in found}
        whole = len(times) == len(found) >= stream.frames and None not in times
        return found if found and whole and found[0][1] else None


def read_frames(
    path, start: int = 0, part: list[int] | None = None, quick: bool = False
) -> Iterator[Frame]:
    """Decode a clip frame by frame; of a damaged one what can be, and then a warning.

    Args:
        path: a video file.
        start: the first frame wanted; those before it are decoded, not converted.
        part: the pts of the frames wanted, as from `index`, `start` being the first
            of them; the clip is entered at the keyframe before it.
        quick: convert colours in a tenth of the time, a level or two off.

    A `MediaError` comes at the first step, if nothing can be read.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        frames = _decoded(path, container, stream)
        first = next(frames)
        filters = Filters(path, stream, first[1], quick)
        others = (remux.name_of(s) for s in remux.moving(container) if s != stream)
        if others := ", ".join(others):
            text = f"{path}: {remux.name_of(stream)} is read, not {others}."
            warnings.warn(text, stacklevel=2)
        frames = chain([first], frames)
        if part and start:
            frames = _entered(path, container, stream, part[0], filters)
        for index, (pts, *shown) in enumerate(filters.deinterlaced(frames)):
            if part and pts > part[-1]:
                return
            if pts < part[0] if part else index < start:
                continue
            index = start + bisect_left(part, pts) if part else index
            time = float(pts * stream.time_base)
            yield Frame(index, time, pts, filters.picture(index, *shown), path)


class VideoWriter:
    """Write frames as H.264 or HEVC in MP4; use it in a `with` statement.

    It is written beside its final place and renamed when complete; after an exception
    nothing is left. What MP4 cannot hold of `like` is encoded again, or named in a
    warning.

    Args:
        path: the file to write, ending in `.mp4`.
        like: `VideoInfo` of the clip whose timestamps, colour tags, sound, subtitles,
            chapters and titles to keep.
        size: (width, height) of the frames; by default the first frame's.
        fps: frames a second, when there is no `like`.
        codec: a name in `CODECS`.
        crf: the encoder's quality, 0 (lossless) to 51; by default as the source looks.
        sound: also write sound and subtitles of `like`.
        part: only a part of `like` is written: they stop where the frames do.
    """

    def __init__(
        self,
        path,
        like: VideoInfo | None = None,
        *,
        size=None,
        fps=None,
        codec="h264",
        crf=None,
        sound=True,
        part=False,
    ):
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{path} must end in .mp4, the format that is written.")
        if (like is None) == (fps is None):
            raise ValueError("Give VideoWriter either `like` or `fps`, not both.")
        if codec not in CODECS:
            raise ValueError(f"codec must be one of {list(CODECS)}, not {codec!r}.")
        if like is None:
            fps = Fraction(fps).limit_denominator(100_000)
            like = VideoInfo(Path(), 0, 0, fps, 1 / fps)
        self.like, self.size, self.codec, self.crf = like, size, codec, crf
        self.sound, self.part, self.time_base = sound, part, like.time_base
        self.temporary = records.aside(self.path)
        self._step = max(1, round(1 / (like.fps * self.time_base)))
        self._pts, self._next = None, like.start_pts  # of the last frame and the next
        self._held = None  # the packet last encoded
        self._container = self._rest = None

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, image: np.ndarray, pts: int | None = None):
        """Add one frame, RGB uint8 (H, W, 3) of the same size as the first.

        `pts` is its time in units of `like.time_base`, else as a count of frames; by
        default one frame after the last.
        """
        image = np.ascontiguousarray(image)
        width, height = self.size = self.size or (image.shape[1], image.shape[0])
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            wanted, kind = (height, width, 3), f"{image.dtype} {image.shape}"
            raise ValueError(f"{self.path} takes uint8 of shape {wanted}, not {kind}.")
        pts = self._next if pts is None else pts
        self._advance(pts)
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
            format=self._video.pix_fmt,
            dst_colorspace=SWS_MATRIX[self._video.codec_context.colorspace],
            dst_color_range=self._video.codec_context.color_range,
            interpolation=EXACT,
        )
        frame.pts, frame.time_base = pts - self._origin, self.time_base
        self._mux(self._video.encode(frame))

    def append(self, path, pts: int):
        """Add the frames of a clip, the first at `pts`, without encoding them again.

        Another writer of the same arguments must have written it, without sound.
        """
        with remux.opened(path) as part:
            stream, first = part.streams.video[0], None
            for packet in part.demux(stream):
                if packet.dts is None:  # the end
                    continue
                first = packet.pts if first is None else first
                passed = (packet.pts - first) * packet.time_base
                now = pts + round(passed / self.time_base)
                self._advance(now, stream)
                packet.stream, packet.time_base = self._video, self.time_base
                packet.pts = packet.dts = now - self._origin
                self._mux([packet])

    def _advance(self, pts, template=None):
        if self._pts is not None:
            if pts <= self._pts:
                raise ValueError(f"{self.path}: pts {pts} after {self._pts}.")
            self._step = pts - self._pts
        if self._container is None:
            self._open(pts, template)
        self._pts, self._next = pts, pts + self._step

    def _open(self, pts, template):
        """Start the file, now that size and first timestamp are known."""
        like = self.like
        # Edit lists count in the movie's time scale; a coarse one would shift streams.
        scale = str(max(1000, self.time_base.denominator))
        options = {"movflags": "+faststart", "movie_timescale": scale}
        options = {"format": "mp4", "container_options": options}
        self._container = remux.opened(self.temporary, "w", **options)
        if template:
            video = self._container.add_stream_from_template(template)
            video.time_base = self.time_base
        else:
            video = self._encoder()
        self._video, self._origin = video, pts
        self._encodes = template is None
        if like.path.is_file() and (self.sound or not self.part):
            self._rest = remux.Remux(like.path, self._container, self.sound)
        if pts == like.start_pts:  # the clip begins with its first stream, or at 0
            sound = self._rest.start if self._rest else 0
            self._origin = min(pts, floor(sound / self.time_base))
        if self._rest:
            whole = pts == like.start_pts and not self.part
            self._rest.begin(self._origin * self.time_base, whole)

    def _encoder(self):
        like, (width, height) = self.like, self.size
        encoder, options = CODECS[self.codec]
        options = options if self.crf is None else options | {"crf": str(self.crf)}
        video = self._container.add_stream(encoder, rate=like.fps, options=options)
        video.width, video.height = width, height
        # Halved colour planes need even sizes; players are less fond of 4:4:4.
        video.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        video.time_base = video.codec_context.time_base = self.time_base
        context = video.codec_context
        context.thread_type, context.thread_count = "AUTO", 0
        context.colorspace, context.color_range = like.matrix, like.color_range
        context.color_primaries, context.color_trc = like.primaries, like.transfer
        if self.codec == "hevc":
            context.codec_tag = "hvc1"  # the one of two names that every player knows
        return video

    def _mux(self, packets):
        with records.told(self.path):
            for packet in packets:
                # Only the last one counts: MP4 stores where each of the others ends.
                packet.duration = self._step
                if self._held:
                    self._container.mux(self._held)
                self._held = packet
            if self._rest:
                self._rest.copy_until(self._pts * self.time_base)

    def _finish(self):
        if self._container is None:
            raise MediaError(f"{self.path} was given no frame; check the source.")
        if self._encodes:
            self._mux(self._video.encode(None))
        if self._rest:
            end = self._next * self.time_base
            self._rest.finish(end if self.part else None)
            if not self.part:  # the last frame may be held
                self._held.duration = self._rest.ends.get(self._pts) or self._step
        with records.told(self.path):
            self._container.mux(self._held)
            self._container.close()
            os.replace(self.temporary, self.path)

    def __exit__(self, exception_type, exception, traceback):
        try:
            if exception_type is None:
                self._finish()
        finally:
            if self._rest:
                self._rest.source.close()
            if self._container:
                with suppress(av.FFmpegError):  # the first error is the one to show
                    self._container.close()
            self.temporary.unlink(missing_ok=True)
