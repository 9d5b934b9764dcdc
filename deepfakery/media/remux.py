"""The sound of a clip on its way into another MP4."""

import os
import warnings
from contextlib import suppress
from fractions import Fraction

import av
from av.stream import Disposition

# Sound that MP4 holds; other sound is encoded again as AAC.
COPIED = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}
# Channels -> their usual layout, of those that AAC has.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
# The picture of a song, or of a film, is no video.
STILL = Disposition.attached_pic | Disposition.timed_thumbnails


def opened(path, *args, **options):
    """`av.open` for files: with a colon in its name FFmpeg would take one for a URL."""
    # Old titles are in other letters than UTF-8.
    return av.open(os.path.abspath(path), *args, metadata_errors="replace", **options)


def moving(container) -> list:
    """The streams of pictures that are no song's or film's cover."""
    return [s for s in container.streams.video if not s.disposition & STILL]


def picture_stream(container):
    """The stream that FFmpeg would show; None where none can be decoded."""
    streams = [s for s in moving(container) if s.codec_context]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


class Remux:
    """The sound of a clip, handed on to a container that has no packet yet."""

    def __init__(self, path, output):
        self.path, self.output, self.origin = path, output, Fraction(0)
        self.source = opened(path)
        self.tracks, lost = {}, []
        for stream in self.source.streams:
            if stream.type == "audio":
                with suppress(av.FFmpegError, ValueError):  # its header is broken
                    self.tracks[stream.index] = _Track(stream, output)
            if stream.type in ("audio", "subtitle") and stream.index not in self.tracks:
                lost.append(f"{stream.type} stream {stream.index}")
        if lost:
            warnings.warn(f"{path}: {', '.join(lost)} left out.", stacklevel=5)
        self._wanted = [self.source.streams[i] for i in self.tracks]
        starts = [(s.start_time or 0) * s.time_base for s in self._wanted]
        self.start = min(starts, default=0)  # in seconds
        self._packets = self._demuxed()
        self._next = next(self._packets, None)

    def _demuxed(self):
        """(time in seconds, packet) of the sound."""
        last, why = {}, None
        try:
            for packet in self.source.demux(self._wanted) if self._wanted else ():
                if packet.dts is None:
                    continue
                time = packet.dts * packet.time_base
                before = last.get(packet.stream.index, time - 1)
                if time < before - 1:
                    why = "its clock starts again; convert it to MP4 first"
                    break
                if time > before:  # MP4 refuses steps back
                    last[packet.stream.index] = time
                    yield time, packet
        except av.FFmpegError as error:
            why = error.strerror
        if why:
            text = f"{self.path} is damaged: its sound stops early ({why})."
            warnings.warn(text, stacklevel=2)

    def copy_until(self, end: Fraction | None):
        """Hand on what begins before `end`, in seconds of the source's clock."""
        while self._next and (end is None or self._next[0] < end):
            (time, packet), self._next = self._next, next(self._packets, None)
            over = time + (packet.duration or 0) * packet.time_base
            if over >= self.origin and packet.size:
                track = self.tracks[packet.stream.index]
                self.output.mux(track.take(packet, self.origin))

    def finish(self, end: Fraction | None):
        """The same, to the end; nothing can follow."""
        self.copy_until(end)
        for track in self.tracks.values():
            self.output.mux(track.take(None, self.origin))


class _Track:
    """Sound copied, or else encoded again as AAC with the same channels."""

    def __init__(self, source, output):
        self.source, self._clock = source, None  # the clock counts samples
        self._copies = source.codec_context.codec.canonical_name in COPIED
        if self._copies:
            self.stream = output.add_stream_from_template(source)
        else:
            is_known = source.rate in av.Codec("aac", "w").audio_rates
            rate = source.rate if is_known else 48_000
            layout = LAYOUTS.get(source.channels, "stereo")
            self.stream = output.add_stream("aac", rate=rate, layout=layout)
        if source.language:
            self.stream.metadata["language"] = source.language
        self.stream.disposition = source.disposition

    def take(self, packet, origin):
        """What becomes of a packet, or of what is left after the last, None."""
        if self._copies and packet:
            shift = round(origin / packet.time_base)
            packet.dts -= shift
            packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            packet.stream = self.stream
            return [packet]
        if self._copies:
            return []
        encoded = []
        # One bad packet is a short silence, and so is one of another kind of sound.
        with suppress(av.error.InvalidDataError, ValueError):
            for frame in self.source.decode(packet):
                rate = frame.sample_rate
                if frame.pts is not None:
                    # Many containers round times to milliseconds; follow the file's
                    # clock only over a true gap.
                    pts = round((frame.pts * frame.time_base - origin) * rate)
                    if self._clock is None or abs(pts - self._clock) > rate // 20:
                        self._clock = pts
                if self._clock is not None:
                    frame.pts, frame.time_base = self._clock, Fraction(1, rate)
                    self._clock += frame.samples
                    encoded += self.stream.encode(frame)
        return encoded if packet else encoded + self.stream.encode(None)
