"""What a clip holds beside its picture, and how long: kept when it is written again."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from deepfakery.media import images
from deepfakery.media.video import VideoWriter, probe, read_frames

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is read, not video stream:UserWarning"
)

MS = Fraction(1, 1000)
RATE = 48_000


def sound_frames(seconds, layout="mono", rate=RATE, pitch=440):
    """A tone, at a loudness of its own in every channel."""
    channels = av.AudioLayout(layout).nb_channels
    t = np.arange(1024)
    for start in range(0, int(seconds * rate), 1024):
        tone = np.sin(2 * np.pi * pitch * (start + t) / rate)
        samples = np.stack([tone / (i + 2) for i in range(channels)])
        samples = (samples * 32767).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "s16", layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start
        yield frame


def make(
    path, seconds=1.0, sounds=(), lines=(), held=None, pictures=(1,), prepare=None
):
    """A clip: pictures of 25 a second, sounds (codec, layout, seconds, labels), lines
    of subtitles; of several pictures each is as bright as its number says."""
    with av.open(path, "w") as out:
        videos = []
        for _ in pictures:
            videos.append(out.add_stream("libx264", rate=25, options={"bf": "0"}))
            videos[-1].width, videos[-1].height = 64, 48
            videos[-1].pix_fmt = "yuv420p"
        tracks = []
        for codec, layout, _, language, disposition in sounds:
            tracks.append(out.add_stream(codec, rate=RATE, layout=layout))
            tracks[-1].bit_rate = 128_000
            tracks[-1].metadata["language"] = language
            tracks[-1].disposition = disposition
        texts = []
        for codec, language, _ in lines:
            texts.append(out.add_mux_stream(codec))
            texts[-1].metadata["language"] = language
        if prepare:
            prepare(out, videos)
        packets = []
        for video, level in zip(videos, pictures, strict=True):
            image = np.full((48, 64, 3), 40 * level, np.uint8)
            for i in range(round(25 * seconds)):
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                packets += video.encode(frame)
            packets += video.encode(None)
        if held:
            packets[-1].duration = round(held / packets[-1].time_base)
        for track, (_, layout, length, *_) in zip(tracks, sounds, strict=True):
            for frame in sound_frames(length, layout):
                packets += track.encode(frame)
            packets += track.encode(None)
        for text, (_, _, data) in zip(texts, lines, strict=True):
            packet = av.Packet(data)
            packet.pts = packet.dts = 200
            packet.duration, packet.time_base, packet.stream = 400, MS, text
            packets.append(packet)
        out.mux(packets)
    return path


def copy(source, target, count=None, **options):
    with VideoWriter(target, like=probe(source), **options) as writer:
        for frame in read_frames(source):
            if count is None or frame.index < count:
                writer.write(frame.image, frame.pts)
    return target


def sound_end(path, number=0):
    """When the sound ends, in seconds, and the loudness of its channels."""
    with av.open(path) as container:
        frames = list(container.decode(container.streams.audio[number]))
    to_planes = av.AudioResampler("fltp")
    planes = [f.to_ndarray() for a in frames for f in to_planes.resample(a)]
    return frames[-1].time + frames[-1].samples / frames[-1].sample_rate, np.std(
        np.concatenate(planes, 1)[:, 4096:-4096], 1
    )


def picture_length(path):
    with av.open(path) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        last = max(packets, key=lambda packet: packet.pts)
        return float((last.pts + last.duration) * last.time_base)


TONE = ("aac", "mono", 3.0, "eng", 1)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_goes_on_while_the_last_frame_is_held(codec, tmp_path):
    sounds = [(codec, "mono", 3.0, "eng", 1)]
    clip = make(tmp_path / "a.mov", sounds=sounds, held=2.0)
    copy(clip, tmp_path / "b.mp4")
    assert sound_end(tmp_path / "b.mp4")[0] == pytest.approx(3, abs=0.05)
    assert picture_length(clip) == pytest.approx(2.96, abs=0.01)
    assert picture_length(tmp_path / "b.mp4") == pytest.approx(2.96, abs=0.01)
    assert probe(tmp_path / "b.mp4").frames == 25


def test_parts_put_together_keep_it_too(tmp_path):
    clip = make(tmp_path / "a.mp4", sounds=[TONE], held=2.0)
    info, frames = probe(clip), list(read_frames(clip))
    for name, some in (("1.mp4", frames[:10]), ("2.mp4", frames[10:])):
        with VideoWriter(tmp_path / name, like=info, sound=False, part=True) as part:
            for frame in some:
                part.write(frame.image, frame.pts)
    with VideoWriter(tmp_path / "b.mp4", like=info) as writer:
        writer.append(tmp_path / "1.mp4", frames[0].pts)
        writer.append(tmp_path / "2.mp4", frames[10].pts)
    assert sound_end(tmp_path / "b.mp4")[0] == pytest.approx(3, abs=0.05)
    assert picture_length(tmp_path / "b.mp4") == pytest.approx(2.96, abs=0.01)
    assert probe(tmp_path / "b.mp4").frames == 25


def test_a_held_frame_without_sound(tmp_path):
    clip = make(tmp_path / "a.mp4", held=2.0)
    copy(clip, tmp_path / "b.mp4")
    copy(clip, tmp_path / "c.mp4", sound=False)
    for name in ("b.mp4", "c.mp4"):
        assert picture_length(tmp_path / name) == pytest.approx(2.96, abs=0.01)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.mov"])
def test_sound_longer_than_the_picture_is_kept(name, tmp_path):
    clip = make(tmp_path / name, sounds=[TONE])
    copy(clip, tmp_path / "b.mp4")
    start = probe(tmp_path / "b.mp4").start_pts * probe(tmp_path / "b.mp4").time_base
    end = sound_end(tmp_path / "b.mp4")[0] - float(start)
    assert end == pytest.approx(3, abs=0.06)
    assert picture_length(tmp_path / "b.mp4") - float(start) == pytest.approx(
        1, abs=0.01
    )


def test_whoever_cuts_a_part_says_so(tmp_path):
    clip = make(tmp_path / "a.mp4", sounds=[TONE])
    whole = copy(clip, tmp_path / "whole.mp4", count=10)
    part = copy(clip, tmp_path / "part.mp4", count=10, part=True)
    assert sound_end(whole)[0] == pytest.approx(3, abs=0.05)
    assert sound_end(part)[0] == pytest.approx(0.4, abs=0.05)


SRT = b"Hello <i>there</i>"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.mkv", "subrip", SRT),
        ("a.mkv", "webvtt", SRT),
        ("a.mp4", "mov_text", b"\0\x0bHello there"),
    ],
)
def test_every_sound_and_subtitle_is_carried_over(name, text, line, tmp_path):
    sounds = [("aac", "mono", 1.0, "eng", 0), ("aac", "stereo", 1.0, "fra", 1)]
    lines = [(text, "deu", line), (text, "ita", line)]
    clip = make(tmp_path / name, sounds=sounds, lines=lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy(clip, tmp_path / "b.mp4")
    with av.open(tmp_path / "b.mp4") as out:
        told = [(s.language, s.layout.name, s.disposition) for s in out.streams.audio]
        assert told == [("eng", "mono", 0), ("fra", "stereo", 1)]
        assert [s.language for s in out.streams.subtitles] == ["deu", "ita"]
        assert out.streams.best("audio").language == "fra"
        packets = [p for p in out.demux(subtitles=0) if p.size > 2]
        assert [bytes(p)[2:13] for p in packets] == [b"Hello there"]
        video = probe(tmp_path / "b.mp4")
        start = float(packets[0].pts * packets[0].time_base)
        start -= float(video.start_pts * video.time_base)
        assert start == pytest.approx(0.2, abs=0.01)
        length = float(packets[0].duration * packets[0].time_base)
        assert length == pytest.approx(0.4, abs=0.01)


def test_what_mp4_cannot_hold_is_named(tmp_path):
    # Pictures of text; and text that lacks its styles.
    lines = [("hdmv_pgs_subtitle", "fra", b"\x80\0\0"), ("ass", "ita", b"0,0,,,,,,,A")]
    clip = make(tmp_path / "a.mkv", sounds=[TONE], lines=lines)
    with pytest.warns(UserWarning, match=r"stream 2 \(hdmv_pgs.*, fra\).*ita"):
        copy(clip, tmp_path / "b.mp4")
    assert sound_end(tmp_path / "b.mp4")[0] == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("layout", ["5.1", "5.1(side)", "4.0"])
def test_sound_encoded_again_keeps_its_channels(layout, tmp_path):
    clip = make(tmp_path / "a.mkv", sounds=[("pcm_s16le", layout, 1.0, "eng", 1)])
    copy(clip, tmp_path / "b.mp4")
    before, after = sound_end(clip)[1], sound_end(tmp_path / "b.mp4")[1]
    assert len(after) == len(before)
    deep = 3 if layout.startswith("5.1") else None  # the bass alone
    for i in set(range(len(before))) - {deep}:
        assert after[i] == pytest.approx(before[i], rel=0.1)


def test_a_decoder_keeps_nothing_back(tmp_path):
    clip = make(tmp_path / "a.wmv", sounds=[("wmav2", "mono", 1.0, "eng", 1)])
    copy(clip, tmp_path / "b.mp4")
    with av.open(clip) as container:
        count = sum(frame.samples for frame in container.decode(audio=0))
    with av.open(tmp_path / "b.mp4") as container:
        after = sum(frame.samples for frame in container.decode(audio=0))
    assert count <= after < count + 2048


def test_the_default_picture_is_read_and_the_others_are_named(tmp_path):
    def prepare(_, videos):
        for i, video in enumerate(videos):
            video.disposition = int(i == 1)

    clip = make(tmp_path / "a.mkv", pictures=(1, 4, 2), prepare=prepare)
    with pytest.warns(
        UserWarning, match="video stream 1 .* is read, not video stream 0"
    ):
        assert next(read_frames(clip)).image.mean() == pytest.approx(160, abs=6)
    copy(clip, tmp_path / "b.mp4")
    assert next(read_frames(tmp_path / "b.mp4")).image.mean() > 150


def test_a_cover_is_not_the_picture(tmp_path):
    plain, clip = make(tmp_path / "plain.mp4", pictures=(4,)), tmp_path / "a.mp4"
    with av.open(plain) as source, av.open(clip, "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video = out.add_stream_from_template(source.streams.video[0])
        image = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), "rgb24")
        packets = cover.encode(image) + cover.encode(None)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                packets.append(packet)
        out.mux(packets)
    assert next(read_frames(clip)).image.mean() == pytest.approx(160, abs=6)
    with pytest.warns(UserWarning, match=r"stream \d \(mjpeg\) cannot be carried"):
        copy(clip, tmp_path / "b.mp4")


def test_titles_and_chapters_stay(tmp_path):
    chapters = [
        {"id": i, "start": 400 * i, "end": 400 * i + 400, "time_base": MS}
        | {"metadata": {"title": f"Part {i}"}}
        for i in range(2)
    ]

    def prepare(out, _):
        out.metadata["title"] = "Film"
        out.set_chapters(chapters)

    clip = make(tmp_path / "a.mp4", sounds=[TONE], prepare=prepare)
    copy(clip, tmp_path / "b.mp4")
    with av.open(tmp_path / "b.mp4") as out:
        assert out.metadata["title"] == "Film"
        found = [
            (c["metadata"]["title"], float(c["start"] * c["time_base"]))
            for c in out.chapters()
        ]
        assert found == [("Part 0", 0), ("Part 1", 0.4)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_title_in_other_letters_than_utf_8(name, tmp_path):
    def title(out, videos):
        out.metadata["title"] = "Caf# d'Or"

    source = make(tmp_path / name, 0.2, prepare=title)
    data = source.read_bytes()
    source.write_bytes(data.replace(b"Caf#", b"Caf\xe9"))
    with VideoWriter(tmp_path / "out.mp4", like=probe(source)) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts)
    with av.open(tmp_path / "out.mp4") as out:
        assert out.metadata["title"] == "Caf\ufffd d'Or"


@pytest.mark.parametrize("name", ["joined.ts", "joined.vob"])
def test_recordings_joined_end_to_end_play_one_after_the_other(name, tmp_path):
    one = make(tmp_path / f"one{name[6:]}", 2, [("mp2", "mono", 2, "eng", 1)])
    (tmp_path / name).write_bytes(2 * one.read_bytes())
    target = copy(tmp_path / name, tmp_path / "out.mp4")
    times = np.array([frame.time for frame in read_frames(target)])
    assert len(times) == 100 and np.diff(times).min() == pytest.approx(0.04, abs=1e-3)
    assert times[-1] - times[0] == pytest.approx(3.96, abs=0.1)
    assert sound_end(target)[0] == pytest.approx(4, abs=0.2)
    with av.open(target) as container:  # the sound of the second begins with it
        starts = [f.time for f in container.decode(audio=0)]
    apart = np.searchsorted(starts, times[50]) - len(starts) / 2
    assert abs(apart) < 6


@pytest.mark.parametrize("code", ["01:02:03:04", "01:02:03;04", "one past two"])
def test_a_timecode_stays_where_it_is_one(code, tmp_path):
    def prepare(out, videos):
        videos[0].metadata["TIMECODE"] = code

    source = make(tmp_path / "coded.mkv", prepare=prepare)
    target = copy(source, tmp_path / "out.mp4")
    with av.open(target) as container:
        said = container.streams.video[0].metadata.get("timecode")
    assert said == (code if code == "01:02:03:04" else None)  # no frames drop at 25


def test_a_colon_in_a_name_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "take: 1 (50%) 🎬.mp4", sounds=[TONE])
    copy("take: 1 (50%) 🎬.mp4", "out: 2.mp4")
    assert sound_end(tmp_path / "out: 2.mp4")[0] == pytest.approx(3, abs=0.05)
    assert sorted(p.name[:4] for p in tmp_path.iterdir()) == ["out:", "take"]


def test_what_an_edit_list_hides_is_not_counted(tmp_path):
    whole = make(tmp_path / "whole.mp4", 2)
    cut = tmp_path / "cut.mp4"
    with av.open(whole) as source, av.open(cut, "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts -= round(0.8 / packet.time_base)
                packet.dts = packet.pts
                packet.stream = stream
                out.mux(packet)
    assert probe(cut).frames == len(list(read_frames(cut))) == 30
    assert len(images.stills(cut, 8)) == 8
