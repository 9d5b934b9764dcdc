from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.faces import detect, filtering
from deepfakery.media import video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """150 small frames, each of its own grey, a keyframe every 40."""
    path = tmp_path_factory.mktemp("clip") / "grey.mp4"
    with av.open(path, "w") as out:
        options = {"g": "40", "sc_threshold": "0", "bf": "2"}
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(150):
            image = np.full((32, 48, 3), i + 50, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))
    return path


def test_pieces_read_by_themselves_are_the_whole_clip(clip, monkeypatch):
    monkeypatch.setattr(filtering, "FRAMES", 15)
    pieces = filtering.pieces(clip)
    # No longer than 30; at a keyframe (40, 80, 120) where one comes in time.
    assert [start for start, _ in pieces] == [0, 30, 60, 80, 110, 140]
    read = [frame for piece in pieces for frame in video.read_frames(clip, *piece)]
    whole = list(video.read_frames(clip))
    assert [(f.index, f.pts) for f in read] == [(f.index, f.pts) for f in whole]
    for a, b in zip(read, whole, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_clip_without_an_index_is_read_from_its_beginning(clip, tmp_path):
    torn = tmp_path / "torn.mp4"
    with video.VideoWriter(tmp_path / "clip.mp4", fps=25) as writer:
        for image in samples.animate("collins", samples.motion(30)):
            writer.write(image)
    content = (tmp_path / "clip.mp4").read_bytes()
    torn.write_bytes(content[: len(content) * 2 // 3])
    assert filtering.pieces(torn) == [(0, None)]
    found = filtering.filter_piece(torn, 0, None, "torn", "torn", filtering.LIMITS)
    assert any("damaged" in text for text in found.warnings)
    assert 10 < found.frames == len(found.kept) < 30


def test_the_same_face_is_new_once(posed):
    novelty = filtering.Novelty(filtering.LIMITS["alike"])
    faces = [
        cv2.resize(posed("collins", **move), (256, 256))
        for move in ({}, {"mouth_open": 1}, {"yaw": 20}, {"light": 1})
    ]
    assert all(map(novelty.add, faces))
    novelty.count = filtering.PLENTY  # plenty of others
    novelty.seen = np.pad(novelty.seen[:4], ((0, filtering.PLENTY), (0, 0)))
    assert not any(novelty.add(np.minimum(face, 254) + 1) for face in faces)
    assert all(filtering.Novelty(None).add(faces[0]) for _ in range(3))


def test_what_is_written_of_a_face_is_a_jpeg_of_it(posed):
    image = posed("hopper")
    again = filtering.decode(filtering.encode(image))
    assert np.abs(again.astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 9), "blurred"),
        (lambda image: image // 10, "too dark"),
        (lambda image: 255 - (255 - image) // 12, "too bright"),
    ],
)
def test_bad_faces_are_turned_away_for_their_reason(change, reason, posed):
    frame = video.Frame(0, 0.0, 0, posed("collins"), Path("clip.mp4"))
    found = detect.detect(frame.image)
    bad = video.Frame(1, 0.0, 1, change(frame.image), frame.file)
    given = [(frame, found), (bad, found)], "clip.mp4", "clip", filtering.LIMITS
    filtered = filtering.filter_faces(*given)
    assert filtered.rejected == {reason: 1} and filtered.frames == 2
    assert [record["image"] for record, *_ in filtered.kept] == ["clip_000000.jpg"]


def test_quick_colours_are_a_level_or_two_off(clip):
    for frames in zip(
        video.read_frames(clip), video.read_frames(clip, quick=True), strict=True
    ):
        exact, quick = (frame.image.astype(int) for frame in frames)
        assert np.abs(exact - quick).max() <= 3
