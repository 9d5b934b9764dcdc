"""Sound, subtitles, chapters and titles of a clip on their way into another MP4."""

import os
import re
import warnings
from contextlib import suppress
from fractions import Fraction

import av
from av.format import Flags
from av.stream import Disposition

# Sound and subtitles that MP4 holds. Other sound is encoded again as AAC, other text
# as mov_text; pictures of text it cannot hold.
COPIED = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus", "mov_text"}
# Channels -> their usual layout, of those that AAC has.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
MS = Fraction(1, 1000)
# What MP4 has a place for, of a clip and of one of its streams.
TITLES = {"title", "artist", "album", "comment", "date", "copyright", "genre"}
LABELS = {"language", "title", "handler_name"}
# The picture of a song, or of a film, is no video.
STILL = Disposition.attached_pic | Disposition.timed_thumbnails
# The rates at which a timecode may leave out numbers of frames.
DROPPING = [Fraction(n, 1001) for n in (30_000, 60_000, 120_000)]
# In containers whose clock may start again, a step back by more seconds than the first,
# or ahead by more than the second, is a new clock, as it is to the `ffmpeg` command.
BACK, AHEAD = Fraction(1, 2), 10


def opened(path, *args, **options):
    """`av.open` for files: with a colon in its name FFmpeg would take one for a URL."""
    # Old titles are in other letters than UTF-8.
    return av.open(os.path.abspath(path), *args, metadata_errors="replace", **options)


def demuxed(container, wanted):
    """The packets of some streams, on one clock.

    Recordings joined end to end, as on a DVD, each count time anew; here it goes on.
    """
    if not container.format.flags & Flags.ts_discont.value:
        yield from container.demux(wanted)
        return
    before = shift = now = end = Fraction(0)
    last = {}  # stream -> when its next packet is due
    for packet in container.demux():
        index = packet.stream.index
        length = (packet.duration or 0) * packet.time_base
        if packet.dts is not None:
            dts = packet.dts * packet.time_base
            now, end = (now, end) if last else (dts, dts)
            # Streams change over one after the other.
            time = min(dts + before, dts + shift, key=lambda t: abs(t - now))
            if packet.stream.type in ("audio", "video"):
                if last.get(index, time) - time > BACK or time - end > AHEAD:
                    before, shift, time = shift, end - dts, end
                last[index] = now = time
            moved = round((time - dts) / packet.time_base)
            packet.dts += moved
            packet.pts = None if packet.pts is None else packet.pts + moved
        if index in last:  # of several pictures in one piece, only the first is dated
            last[index] += length
            end = max(end, last[index])
        if packet.stream in wanted:
            yield packet


def moving(container) -> list:
    """The streams of pictures that are no song's or film's cover."""
    return [s for s in container.streams.video if not s.disposition & STILL]


def picture_stream(container):
    """The stream that FFmpeg would show; None where none can be decoded."""
    streams = [s for s in moving(container) if s.codec_context]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


def name_of(stream) -> str:
    """A stream as warnings call it, such as "subtitle stream 3 (dvd_subtitle, fra)"."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "?"
    words = ", ".join(filter(None, (codec, stream.language)))
    return f"{stream.type} stream {stream.index} ({words})"


class Remux:
    """All of a clip but its picture, handed on as time goes by.

    Args:
        path: The clip.
        output: The container to write to, before its first packet.
        sound: Carry sound and subtitles; without, only see how the picture ends.
    """

    def __init__(self, path, output, sound=True):
        self.path, self.output, self.origin = path, output, Fraction(0)
        self.source = opened(path)
        self.picture = picture_stream(self.source)
        self.ends = {}  # pts -> duration, of the picture shown last
        self.tracks, lost, kinds = {}, [], ("audio", "subtitle", "video")
        for stream in self.source.streams if sound else ():
            if track := _track(stream, output):
                self.tracks[stream.index] = track
            elif stream.type in kinds and stream not in moving(self.source):
                lost.append(name_of(stream))
        if lost:
            text = f"{path}: {', '.join(lost)} cannot be carried over to MP4."
            warnings.warn(text, stacklevel=5)
        starts = [
            s.start_time * s.time_base
            for s in self.source.streams.audio
            if s.index in self.tracks and s.start_time is not None
        ]
        self.start = min(starts, default=0)  # of the sound, in seconds
        self._packets = self._demuxed()
        self._next = next(self._packets, None)

    def begin(self, origin: Fraction, whole: bool):
        """Let the file begin at `origin`, in seconds of the source's clock."""
        self.origin, said = origin, self.source.metadata
        if self.tracks or whole:
            titles = {k: v for k, v in said.items() if k in TITLES}
            self.output.metadata.update(titles)
        if not whole:
            return
        chapters = self.source.chapters()
        for chapter in chapters:
            shift = round(origin / chapter["time_base"])
            for side in ("start", "end"):
                chapter[side] = max(0, chapter[side] - shift)
        self.output.set_chapters(chapters)
        # By its timecode an editor finds the clip's place in a film. MP4's muxer
        # refuses the whole file for one that cannot be.
        said = said | (self.picture.metadata if self.picture else {})
        code = next((v for k, v in said.items() if k.lower() == "timecode"), "")
        drops = re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d([:;.])\d\d", code)
        if drops and (drops[1] == ":" or self.picture.average_rate in DROPPING):
            self.output.metadata["timecode"] = code

    def _demuxed(self):
        """(time in seconds, packet) of what is carried over."""
        last, picture = {}, self.picture
        wanted = [self.source.streams[i] for i in self.tracks] + [picture]
        try:
            for packet in demuxed(self.source, [s for s in wanted if s]):
                if packet.stream == picture:
                    last_shown = max(self.ends, default=packet.pts)
                    if packet.pts is not None and packet.pts >= last_shown:
                        self.ends = {packet.pts: packet.duration}
                    continue
                # MP4 refuses a packet without time or one that steps back.
                index, time = packet.stream.index, packet.dts
                if time is None or time <= last.get(index, time - 1):
                    if packet.stream.type != "subtitle" or packet.pts is None:
                        continue
                    time = max(packet.pts, last.get(index, packet.pts) + 1)
                    packet.pts = packet.dts = time
                last[index] = time
                yield time * packet.time_base, packet
        except av.FFmpegError as error:
            if self.tracks:
                text = f"is damaged: its sound stops early ({error.strerror})."
                warnings.warn(f"{self.path} {text}", stacklevel=2)

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
            if isinstance(track, _Sound):
                self.output.mux(track.take(None, self.origin))


def _track(stream, output):
    """How a stream is carried over; None if it cannot be."""
    if stream.type not in ("audio", "subtitle") or not stream.codec_context:
        return None
    codec = stream.codec_context.codec
    try:
        if codec.canonical_name in COPIED:
            track = _Copied(stream, output)
        elif stream.type == "audio":
            track = _Sound(stream, output)
        elif codec.text_sub:
            track = _Text(stream, output)
        else:
            return None
    except (av.FFmpegError, ValueError):  # its header is broken
        return None
    labels = {k: v for k, v in stream.metadata.items() if k in LABELS}
    track.stream.metadata.update(labels)
    track.stream.disposition = stream.disposition
    return track


class _Copied:
    def __init__(self, source, output):
        self.stream = output.add_stream_from_template(source)

    def take(self, packet, origin):
        shift = round(origin / packet.time_base)
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        if self.stream.type == "subtitle":  # one that is shown already
            packet.duration += min(0, packet.pts)
            packet.pts = packet.dts = max(0, packet.pts)
        packet.stream = self.stream
        return [packet]


class _Sound:
    """Sound encoded again, as AAC with the same channels."""

    def __init__(self, source, output):
        self.source = source
        is_known = source.rate in av.Codec("aac", "w").audio_rates
        rate, layout = source.rate if is_known else 48_000, source.layout.name
        if (layout := layout.replace("(side)", "")) not in LAYOUTS.values():
            layout = LAYOUTS.get(source.channels, "stereo")
        self.stream = output.add_stream("aac", rate=rate, layout=layout)
        self._clock = self._first = None  # in samples; the kind of the first

    def take(self, packet, origin):
        encoded = []
        with suppress(av.error.InvalidDataError):  # one bad packet is a short silence
            for frame in self.source.decode(packet):
                rate = frame.sample_rate
                kind = frame.format.name, frame.layout.name, rate
                self._first = self._first or kind
                if frame.pts is not None:
                    # Many containers round times to milliseconds; count samples, and
                    # follow the file's clock only over a true gap.
                    pts = round((frame.pts * frame.time_base - origin) * rate)
                    off = None if self._clock is None else abs(pts - self._clock)
                    if off is None or off > rate // 20 or rate != self._first[2]:
                        self._clock = pts
                if self._clock is None:
                    continue
                frame.pts, frame.time_base = self._clock, Fraction(1, rate)
                self._clock += frame.samples
                frames = [frame]
                if kind != self._first:  # the encoder takes no other
                    frames = av.AudioResampler(*self._first).resample(frame)
                encoded += [p for some in frames for p in self.stream.encode(some)]
        return encoded + self.stream.encode(None) if packet is None else encoded


class _Text:
    """Subtitles encoded again, as MP4's own."""

    def __init__(self, source, output):
        self.source = source
        source.codec_context.open(strict=False)
        # A stream that cannot be opened would spoil the file: try with none.
        trial = av.CodecContext.create("mov_text", "w")
        header = source.codec_context.subtitle_header
        trial.time_base, trial.subtitle_header = MS, header
        trial.open()
        self.stream = output.add_stream("mov_text")
        encoder = self.stream.codec_context
        self.stream.time_base = encoder.time_base = MS
        encoder.subtitle_header = header
        self._last = -1

    def take(self, packet, origin):
        with suppress(av.error.InvalidDataError):
            text = self.source.decode2(packet)
            if text:
                encoded = self.stream.codec_context.encode_subtitle(text)
                start = round((packet.pts * packet.time_base - origin) * 1000)
                end = start + round((packet.duration or 0) * packet.time_base * 1000)
                self._last = encoded.pts = encoded.dts = max(self._last + 1, start)
                encoded.duration = max(0, end - encoded.pts)
                encoded.stream, encoded.time_base = self.stream, MS
                return [encoded]
        return []
