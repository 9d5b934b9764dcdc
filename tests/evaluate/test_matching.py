"""What any tool exports is scored: shorter, later, slower, smaller, or with gaps."""

import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deepfakery import samples
from deepfakery.evaluate import matching, measure
from deepfakery.faces import detect
from deepfakery.media import images, video

FRAMES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def target(folder):
    """A second of Collins, in motion. She takes the part of the ground truth, too."""
    moves = samples.motion(300, seed=1)[60 : 60 + FRAMES]
    return samples.write_clip(folder / "target.mp4", "collins", moves)


@pytest.fixture(scope="module")
def seen(target):
    return [frame.image for frame in video.read_frames(target)]


@pytest.fixture
def export(folder):
    """A function: pictures as a clip, at a frame rate."""

    def write(name, pictures, fps=30):
        with video.VideoWriter(folder / name, fps=fps, crf=12) as writer:
            for picture in pictures:
                writer.write(picture)
        return folder / name

    return write


@pytest.fixture(scope="module")
def who(seen):
    faces = [detect.detect(image, describe=True)[0] for image in seen[::15]]
    return np.stack([face.descriptor for face in faces])


@pytest.fixture
def score(target, who, capsys):
    """A function: figures of a swap frame by frame, and what was said of it."""

    def scored(swap, target=target, truth=target, **more):
        options = {"described": 2, "workers": 0} | more
        frames = measure.measure(swap, target, who, truth, **options)
        said = [x for x in capsys.readouterr().out.splitlines() if "matched" in x]
        own = frames[frames["clip"] == "swap"].set_index("frame")
        return own, next(x for x in said if x.startswith(str(swap.name)))

    return scored


def partners(own) -> list[int]:
    return np.flatnonzero(own["ssim"].notna()).tolist()


def is_the_same(own, least=0.97):
    """Every frame that counts is scored beside itself."""
    assert own["ssim"].min() > least and own["background_ssim"].min() > 0.97
    assert own["landmark_error"].max() < 2.5
    assert own["found"].dropna().eq(1).all()


@pytest.mark.parametrize(("first", "last"), [(0, 25), (5, 30), (2, 27)])
def test_a_clip_that_is_shorter_finds_its_place(first, last, seen, export, score):
    swap = export("shorter.mp4", seen[first:last])
    own, said = score(swap)
    assert partners(own) == list(range(first, last))
    part = f"25 of 30 frames of target.mp4, {first} to {last - 1}, matched by time"
    assert said == f"shorter.mp4: {part}"
    is_the_same(own)
    beyond = own.drop(index=range(first, last)).drop(columns=["clip", "time"])
    assert len(own) == FRAMES and beyond.isna().all(axis=None)


def test_another_frame_rate_is_matched_by_time(seen, export, score):
    kept = [round(1.2 * i) for i in range(25)]
    own, said = score(export("film.mp4", [seen[i] for i in kept], fps=25))
    assert partners(own) == kept
    assert said.endswith("25 of 30 frames of target.mp4, 0 to 29, matched by time")
    is_the_same(own)
    own, said = score(export("doubled.mp4", [x for x in seen for _ in "ab"], fps=60))
    assert said.endswith(" 30 of 30 frames of target.mp4 matched by time")
    is_the_same(own)


@pytest.mark.parametrize("last", [30, 27])
def test_every_frame_played_slowly_is_matched_in_order(last, seen, export, score):
    own, said = score(export("slow.mp4", seen[:last], fps=24))
    assert partners(own) == list(range(last)) and said.endswith("matched in order")
    is_the_same(own)


def test_another_size_is_scaled(seen, export, score):
    small = [cv2.resize(x, (192, 192), interpolation=cv2.INTER_AREA) for x in seen]
    own, said = score(export("half.mp4", small))
    plain = "half.mp4: 30 of 30 frames of target.mp4 matched in order"
    assert said == f"{plain}, scaled from 192 × 192"
    assert own["ssim"].min() > 0.9 and own["background_ssim"].min() > 0.9
    # Half a pixel of these small frames is 2 % of the distance between the eyes.
    assert own["landmark_error"].mean() < 1.5
    assert own["sharpness_ratio"].mean() < 0.9


@pytest.mark.parametrize("base", [0, 1, 4711])
def test_pictures_with_gaps_are_matched_by_number(base, seen, score, tmp_path):
    kept = [i for i in range(2, FRAMES) if i not in (5, 6, 20)]
    for i in kept:
        images.write_image(tmp_path / f"swap_2_{base + i:05d}.png", seen[i])
    own, said = score(tmp_path)
    assert partners(own) == kept
    assert said.endswith("25 of 30 frames of target.mp4, 2 to 29, matched by number")
    is_the_same(own)


def test_two_folders_are_matched_by_their_numbers(seen, score, tmp_path):
    (before := tmp_path / "before").mkdir()
    (after := tmp_path / "after").mkdir()
    for i in range(0, 12, 2):
        images.write_image(before / f"{i}.png", seen[i])
    for i in (2, 3, 4, 8):
        images.write_image(after / f"{i}.png", seen[i])
    own, said = score(after, before, before)
    assert partners(own) == [1, 2, 4] and "3 of 6 frames of before, 1 to 4," in said
    is_the_same(own)


def test_names_that_do_not_count_are_matched_in_order(seen, score, tmp_path):
    for i in range(8):
        images.write_image(tmp_path / f"{'abcdefgh'[i]}.png", seen[i])
    own, said = score(tmp_path)
    assert partners(own) == list(range(8)) and said.endswith("0 to 7, matched in order")


def test_somebody_elses_footage_is_refused(target, export, score, short_clips):
    for other in (short_clips["hopper"], samples.write_clip):
        if other is samples.write_clip:
            noise = np.random.default_rng(0).integers(0, 255, (9, 96, 96, 3), np.uint8)
            other = export("noise.mp4", noise)
        says = f"{re.escape(str(other))} was not made from .*target.mp4: .* Give the"
        with pytest.raises(ValueError, match=says):
            score(other, truth=None)


def test_pictures_of_several_sizes_are_refused(seen, score, tmp_path):
    for i, size in enumerate((384, 192)):
        images.write_image(tmp_path / f"{i}.png", cv2.resize(seen[i], (size, size)))
    with pytest.raises(ValueError, match=r"192 × 192 and 384 × 384; export one size"):
        score(tmp_path)


def test_the_target_itself_scores_alike_in_whole_and_in_part(seen, export, score):
    whole, _ = score(export("whole.mp4", seen))
    part, _ = score(export("part.mp4", seen[4:]))
    both = whole[["ssim", "background_ssim", "sharpness_ratio"]].loc[8:26]
    np.testing.assert_allclose(both, part[both.columns].loc[8:26], atol=0.02)


def test_memory_grows_with_the_clip_alone():
    """Ten minutes: 18,000 frames, which a matrix of all pairs would not bear."""
    count, random = 18_000, np.random.default_rng(0)
    small = random.integers(0, 255, (count, matching.SIDE, matching.SIDE), np.uint8)
    clip = SimpleNamespace(
        source=Path("long.mp4"),
        files=[Path("long.mp4")] * count,
        times=np.arange(count) / 30,
        thumbnails=small,
        landmarks=np.zeros((count, 68, 2), np.float32),
        sizes={(384, 384)},
    )
    part = SimpleNamespace(**vars(clip))
    part.times, part.thumbnails = clip.times[:-40], small[30:-10]
    tracemalloc.start()
    at, said = matching.match(part, clip)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (at[30:-10] == np.arange(count - 40)).all() and (at[:30] == -1).all()
    assert said.startswith("17960 of 18000") and most < 100e6
