"""Frames in, frames out: real files only, made here or lying in ../shared."""

import os
import resource
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deepfakery.media.images import read_image, read_source, write_image
from deepfakery.media.video import (
    MediaError,
    VideoInfo,
    VideoWriter,
    probe,
    read_frames,
)

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
TRANSPOSED = (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)  # a display matrix


def shared(name):
    path = CLIPS / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def picture(index, width=64, height=48):
    """A smooth picture, different for every index, with a bright top left corner."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 2, y * 2, np.full_like(x, index * 4)], -1) + 40
    image[: height // 3, : width // 3] = 230
    return image.clip(0, 255).astype(np.uint8)


def chirp(seconds, rate=44_100, start=0):
    """Packed mono frames of a rising tone: it matches itself at one lag only."""
    t = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (200 * t + 800 * t**2 / seconds))
    samples = (tone * 32767).astype(np.int16)
    for i in range(0, len(samples), 1000):
        frame = av.AudioFrame.from_ndarray(samples[None, i : i + 1000], "s16", "mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + i
        yield frame


def make(
    path,
    times,
    *,
    codec="libx264",
    time_base=Fraction(1, 1000),
    size=(64, 48),
    sound=None,
    sound_start=0,
    matrix=None,
    pix_fmt="yuv420p",
):
    """Write a clip with PyAV alone, with frames at the given times."""
    with av.open(path, "w") as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        if matrix:
            video.set_display_matrix(matrix)
        if sound:
            audio = container.add_stream(sound, rate=44_100, layout="mono")
        for index, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), "rgb24")
            frame.pts, frame.time_base = pts, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            seconds = max(0.2, float(times[-1] * time_base))
            for frame in chirp(seconds, start=sound_start):
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def copy(source, target, limit=None, start=0, part=False):
    """Write a clip again; returns the frames that were read from the source."""
    frames = []
    with VideoWriter(target, like=probe(source), part=part) as writer:
        for frame in islice(read_frames(source, start), limit):
            writer.write(frame.image, frame.pts)
            frames.append(frame)
    return frames


def has_sound(path):
    with av.open(path) as container:
        return bool(container.streams.audio)


def sound_of(path):
    """Sample rate, and (time in seconds, mono samples in [-1, 1]) of the sound."""
    with av.open(path) as container:
        frames = list(container.decode(container.streams.audio[0]))
    to_float = av.AudioResampler("flt", "mono")
    samples = [f.to_ndarray()[0] for a in frames for f in to_float.resample(a)]
    return frames[0].sample_rate, float(frames[0].time), np.concatenate(samples)


def sound_packets(path):
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def sound_moved(path, reference):
    """Seconds by which the sound of `path` lies later than that of `reference`."""
    rate, start, samples = sound_of(path)
    _, reference_start, reference_samples = sound_of(reference)
    n = 2 ** (len(samples) + len(reference_samples)).bit_length()
    spectrum = np.fft.rfft(samples, n) * np.fft.rfft(reference_samples, n).conj()
    lag = int(np.argmax(np.fft.irfft(spectrum, n)))
    lag = lag - n if lag > n // 2 else lag
    return start - reference_start + lag / rate


# --- round trips ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "grid_bbaf2n.mpg",
        "lowres_b.mp4",
        "rotated_90.mp4",
        "single_face.mp4",
        "studio_a.mp4",
        "vfr_face_then_none.mov",
    ],
)
def test_a_clip_written_again_keeps_frames_times_size_and_rate(name, tmp_path):
    source, target = shared(name), tmp_path / "out.mp4"
    before, frames = probe(source), copy(source, target)
    after, again = probe(target), list(read_frames(target))
    assert [f.time for f in again] == pytest.approx([f.time for f in frames], abs=1e-9)
    assert (after.width, after.height) == (before.width, before.height)
    assert frames[0].image.shape == (before.height, before.width, 3)
    assert all(f.image.flags.c_contiguous for f in frames[:2])
    assert after.fps == before.fps
    assert after.frames == len(frames) == (before.frames or len(frames))
    assert after.duration == pytest.approx(before.duration, abs=0.021)
    for i in (0, len(frames) // 2, len(frames) - 1):
        error = again[i].image.astype(int) - frames[i].image
        assert np.abs(error).mean() < 3
    assert has_sound(target) == has_sound(source)
    if has_sound(source):
        rate, start, samples = sound_of(source)
        new_rate, new_start, new = sound_of(target)
        assert new_rate == rate
        # The encoder's run-in at the front may stay: compare where the sound ends.
        end, new_end = start + len(samples) / rate, new_start + len(new) / rate
        assert new_end == pytest.approx(end, abs=1e-3)
        np.testing.assert_allclose(new[-20_000:], samples[-20_000:], atol=1e-3)
        if name == "single_face.mp4":  # AAC is copied, not encoded again
            assert sound_packets(target) == sound_packets(source)


def test_display_rotation_is_applied_clockwise():
    plain = next(read_frames(shared("single_face.mp4"))).image
    turned = next(read_frames(shared("rotated_90.mp4"))).image
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


def test_a_mirroring_display_matrix_is_applied(tmp_path):
    plain = make(tmp_path / "plain.mp4", [0, 40])
    mirrored = make(tmp_path / "mirrored.mp4", [0, 40], matrix=TRANSPOSED)
    a, b = next(read_frames(plain)).image, next(read_frames(mirrored)).image
    np.testing.assert_array_equal(b, a.swapaxes(0, 1))
    assert (probe(mirrored).width, probe(mirrored).height) == (48, 64)


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (33, 31)])
def test_odd_sizes_stay_exact(size, tmp_path):
    source = make(tmp_path / "a.mp4", [0, 40, 80], size=size, pix_fmt="yuv444p")
    copy(source, tmp_path / "b.mp4")
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height) == size


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_uneven_times_are_kept(suffix, tmp_path):
    times = [0, 33, 40, 200, 201, 700, 1000, 1010]
    source = make(tmp_path / f"a.{suffix}", times)
    copy(source, tmp_path / "b.mp4")
    after = [f.time for f in read_frames(tmp_path / "b.mp4")]
    assert after == pytest.approx([t / 1000 for t in times], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "mp2"),
        ("a.mkv", "flac"),
        ("a.mkv", "pcm_s16le"),
        ("a.avi", "pcm_s16le"),
        ("a.ts", "aac"),
        ("a.mpg", "mp2"),
    ],
)
@pytest.mark.parametrize("offset", [0, 320])
def test_sound_stays_in_step_with_the_picture(name, sound, offset, tmp_path):
    """Whichever starts first, and wherever the file's clock begins."""
    if name == "a.avi" and offset:
        pytest.skip("AVI has no timestamps")
    codec = "mpeg1video" if name == "a.mpg" else "libx264"
    base = Fraction(1, 25) if name in ("a.avi", "a.mpg") else Fraction(1, 1000)
    times = [i + offset // 40 if base > 0.01 else offset + 40 * i for i in range(50)]
    source = make(tmp_path / name, times, sound=sound, codec=codec, time_base=base)
    frames = copy(source, tmp_path / "b.mp4")
    again = list(read_frames(tmp_path / "b.mp4"))
    assert len(again) == len(frames)
    picture_moved = again[0].time - frames[0].time
    moved = sound_moved(tmp_path / "b.mp4", source)
    assert moved == pytest.approx(picture_moved, abs=1.5e-3)
    steps = np.diff([f.time for f in frames])
    assert np.diff([f.time for f in again]) == pytest.approx(steps, abs=1e-6)


def test_late_sound_stays_late(tmp_path):
    source = make(
        tmp_path / "a.mp4", list(range(0, 2000, 40)), sound="aac", sound_start=22_050
    )
    copy(source, tmp_path / "b.mp4")
    assert sound_of(source)[1] > 0.4
    assert sound_moved(tmp_path / "b.mp4", source) == pytest.approx(0, abs=1e-3)


def test_a_part_of_a_clip_takes_its_sound_along(tmp_path):
    source = make(tmp_path / "a.mp4", list(range(0, 4000, 40)), sound="aac")
    frames = copy(source, tmp_path / "b.mp4", start=40, limit=25, part=True)
    assert frames[0].index == 40
    again = list(read_frames(tmp_path / "b.mp4"))
    assert len(again) == 25 and again[0].time == 0
    moved = sound_moved(tmp_path / "b.mp4", source)
    assert moved == pytest.approx(-frames[0].time, abs=1e-3)
    rate, start, samples = sound_of(tmp_path / "b.mp4")
    assert start + len(samples) / rate == pytest.approx(1, abs=0.06)


def test_start_skips_exactly(tmp_path):
    clip = make(tmp_path / "a.mp4", list(range(0, 800, 40)))
    everything = list(read_frames(clip))
    late = list(read_frames(clip, start=7))
    assert [f.index for f in late] == list(range(7, 20))
    np.testing.assert_array_equal(late[0].image, everything[7].image)


def test_a_writer_without_a_model_counts_frames(tmp_path):
    with VideoWriter(tmp_path / "new" / "a.mp4", fps=Fraction(30000, 1001)) as writer:
        for i in range(10):
            writer.write(picture(i))
    info = probe(tmp_path / "new" / "a.mp4")
    assert (info.fps, info.frames) == (Fraction(30000, 1001), 10)
    assert not has_sound(tmp_path / "new" / "a.mp4")


def test_raw_h264_without_times_gets_some(tmp_path):
    clip = make(tmp_path / "a.h264", [0, 40, 80, 120])
    assert probe(clip).frames is None
    times = [f.time for f in copy(clip, tmp_path / "b.mp4")]
    assert len(times) == 4 and np.all(np.diff(times) > 0)
    assert probe(tmp_path / "b.mp4").frames == 4


# --- colour -----------------------------------------------------------------------


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("color_range", [1, 2])
def test_flat_colours_survive_every_matrix_and_range(matrix, color_range, tmp_path):
    like = VideoInfo(
        path=tmp_path,
        width=32,
        height=32,
        fps=Fraction(25),
        time_base=Fraction(1, 12800),
        start_pts=0,
        frames=None,
        duration=None,
        matrix=matrix,
        color_range=color_range,
    )
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 250, 5), (9, 9, 9)]
    path = tmp_path / "a.mp4"
    with VideoWriter(path, like=like) as writer:
        for colour in colours:
            writer.write(np.full((32, 32, 3), colour, np.uint8))
    info = probe(path)
    assert (info.matrix, info.color_range) == (matrix, color_range)
    for frame, colour in zip(read_frames(path), colours, strict=True):
        assert np.abs(frame.image.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_luma_and_chroma_are_read_by_the_standard(pix_fmt, tmp_path):
    """BT.709 red (254, 0, 0) is Y 63, Cb 102, Cr 240; BT.601 it is 81, 90, 240."""
    for matrix, ycc in ((1, (63, 102, 240)), (5, (81, 90, 240))):
        path = tmp_path / f"{matrix}.mkv"
        with av.open(path, "w") as container:
            video = container.add_stream("ffv1", rate=25)
            video.width = video.height = 32
            video.pix_fmt = pix_fmt
            video.codec_context.colorspace = matrix
            video.codec_context.color_range = 1
            frame = av.VideoFrame(32, 32, pix_fmt)
            for plane, value in zip(frame.planes, ycc, strict=True):
                deep = pix_fmt.endswith("10le")
                value = np.array(value * 4, "<u2") if deep else np.uint8(value)
                plane.update(value.tobytes() * (plane.buffer_size // value.nbytes))
            frame.pts = 0
            container.mux(video.encode(frame))
            container.mux(video.encode(None))
        image = next(read_frames(path)).image
        assert np.abs(image.astype(int) - (254, 0, 0)).max() <= 3
        copy(path, tmp_path / "b.mp4")
        again = next(read_frames(tmp_path / "b.mp4")).image
        assert np.abs(again.astype(int) - image).max() <= 4


# --- what goes wrong --------------------------------------------------------------


@pytest.mark.parametrize("codec", ["qtrle", "prores_ks", "png"])
def test_transparency_is_laid_on_white(codec, tmp_path):
    path, pix_fmt = tmp_path / "clear.mov", {"qtrle": "argb", "png": "rgba"}
    image = np.zeros((48, 64, 4), np.uint8)
    image[..., 0], image[:, 32:, 3] = 200, 255  # red, hidden on the left
    with av.open(path, "w") as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height = 64, 48
        video.pix_fmt = pix_fmt.get(codec, "yuva444p10le")
        frame = av.VideoFrame.from_ndarray(image, "rgba")
        container.mux(video.encode(frame))
        container.mux(video.encode(None))
    with pytest.warns(UserWarning, match="transparency, which is laid on white"):
        shown = next(read_frames(path)).image.astype(int)
    assert abs(shown[:, :28] - 255).max() < 6
    assert abs(shown[:, 36:] - (200, 0, 0)).max() < 12


def test_a_truncated_clip_yields_what_is_there_and_warns(tmp_path):
    clip = shared("truncated.mp4")
    with pytest.warns(UserWarning, match=r"truncated\.mp4 .* near frame 31; .* of 72"):
        frames = copy(clip, tmp_path / "out.mp4")
    assert len(frames) >= 31
    assert probe(tmp_path / "out.mp4").frames == len(frames)


def test_decoding_goes_on_after_bad_packets(tmp_path):
    clip = make(tmp_path / "a.mp4", list(range(0, 2000, 40)), sound="aac")
    with av.open(clip) as container:
        bad = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20:22]
    data = bytearray(clip.read_bytes())
    for position, size in bad:
        data[position : position + size] = bytes(size)
    clip.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged"):
        frames = copy(clip, tmp_path / "b.mp4")
    assert 40 <= len(frames) < 50
    assert frames[-1].time == pytest.approx(1.96)
    assert probe(tmp_path / "b.mp4").frames == len(frames)


def test_errors_name_the_file_in_one_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("These are words, not pictures.\n" * 100)
    (tmp_path / "folder.mp4").mkdir()
    with av.open(tmp_path / "sound.mp4", "w") as container:
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        for frame in chirp(0.2):
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    for name in ("empty", "text", "folder", "sound", "missing"):
        for read in (probe, lambda path: list(read_frames(path))):
            with pytest.raises(MediaError, match=rf"{name}\.mp4 .*[;.]") as caught:
                read(tmp_path / f"{name}.mp4")
            assert str(caught.value).count("\n") == 0


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_without_read_permission_is_named(tmp_path):
    clip = make(tmp_path / "a.mp4", [0, 40])
    clip.chmod(0)
    with pytest.raises(MediaError, match="permission"):
        probe(clip)


def test_an_exception_leaves_no_file_and_an_older_one_whole(tmp_path):
    target = tmp_path / "a.mp4"
    target.write_bytes(b"older")
    source = make(tmp_path / "s.mp4", [0, 40, 80], sound="aac")
    with pytest.raises(ZeroDivisionError), VideoWriter(target, like=probe(source)) as w:
        w.write(picture(0))
        assert [f.name for f in tmp_path.glob(".*")] == [".a.mp4.part"]
        raise ZeroDivisionError
    assert target.read_bytes() == b"older"
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(MediaError, match="no frame"), VideoWriter(target, fps=25):
        pass


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    path, random = tmp_path / "clip.mp4", np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"clip.mp4 could not be written .*make room"):
            with VideoWriter(path, fps=25) as writer:
                for _ in range(30):
                    writer.write(random.integers(0, 256, (96, 128, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_clip_may_be_written_over_itself(tmp_path):
    clip = make(tmp_path / "a.mp4", list(range(0, 400, 40)), sound="aac")
    copy(clip, clip)
    assert probe(clip).frames == 10 and has_sound(clip)


def test_the_writer_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ValueError, match="mp4"):
        VideoWriter(tmp_path / "a.avi", fps=25)
    with pytest.raises(ValueError, match="either"):
        VideoWriter(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="shape"):
        with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
            writer.write(picture(0))
            writer.write(picture(0)[:-2])
    with pytest.raises(ValueError, match="pts 3 after 3"):
        with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
            writer.write(picture(0), 3)
            writer.write(picture(0), 3)
    assert not list(tmp_path.iterdir())


# --- images -----------------------------------------------------------------------


def test_an_image_written_is_read_again(tmp_path):
    write_image(tmp_path / "new" / "a.png", picture(3))
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), picture(3))
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", picture(3) / 255.0)


def test_images_of_every_kind_become_rgb(tmp_path):
    image = Image.fromarray(picture(3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(turned, np.rot90(picture(3), -1))
    grey = np.full((8, 8), 128, np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 128).all()
    image.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "print.jpg") - 1.0 * picture(3)).mean() < 4
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.new("L", (8, 8), 7).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (8, 8, 3)


@pytest.mark.filterwarnings("ignore:.*passed over, which are no images:UserWarning")
def test_a_folder_is_read_in_natural_order_without_its_bad_images(tmp_path):
    for name in ("b/f2.png", "b/f10.png", "b/f1.png", "a.jpg", ".hidden.png"):
        write_image(tmp_path / name, picture(1))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "b" / "f3.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"f3\.png"):
        frames = list(read_source(tmp_path))
    names = [str(f.file.relative_to(tmp_path).as_posix()) for f in frames]
    assert names == ["a.jpg", "b/f1.png", "b/f2.png", "b/f10.png"]
    # The broken one keeps its place, so that `start` counts the same on every run.
    places = [(f.index, f.pts, f.time) for f in frames]
    assert places == [(i, i, 0) for i in (0, 1, 2, 4)]
    with pytest.warns(UserWarning, match=r"f3\.png"):
        assert [f.index for f in read_source(tmp_path, start=2)] == [2, 4]


def test_a_source_may_be_a_clip_or_one_image(tmp_path):
    clip = make(tmp_path / "a.mp4", [0, 40, 80])
    assert [f.file for f in read_source(clip)] == [clip] * 3
    write_image(tmp_path / "a.png", picture(1))
    assert len(list(read_source(tmp_path / "a.png"))) == 1


def test_nothing_to_read_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing.png"):
        with pytest.raises(MediaError, match=str(path)):
            list(read_source(path))
