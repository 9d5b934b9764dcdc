"""The detector's room: pairs, detectors, wear, and where a detector looks."""

import numpy as np
import pytest
from swappers import IdentityCopy

from deepfakery import training
from deepfakery.evaluate import metrics, tables
from deepfakery.media.images import write_image
from deepfakery.media.video import VideoWriter
from deepfakery.studies import detection

random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def textures():
    """(40, 32, 32, 3) uint8 of noise, and the same out of focus: real and generated."""
    noise = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), np.uint8)
    sharp = noise.repeat(2, 1).repeat(2, 2)
    return sharp, np.stack([detection.blur(face, 2.0) for face in sharp])


@pytest.fixture(scope="module")
def pairs(short_clips, untrained):
    swappers = {
        "copy": (IdentityCopy(), "hopper", {"colour": "none"}),
        "noise": (untrained, "hopper", {}),
    }
    return detection.pairs(short_clips["collins"], swappers, size=64, limit=6)


def test_pairs_are_the_same_faces_and_only_painting_differs(pairs):
    assert pairs.real.shape == (6, 64, 64, 3) and pairs.real.dtype == np.uint8
    assert pairs.frames.tolist() == list(range(6))
    assert pairs.landmarks.shape == (6, 68, 2)
    # What leaves every face as it was changes next to nothing; noise does.
    differs = {
        name: np.abs(faces.astype(float) - pairs.real).mean()
        for name, faces in pairs.generated.items()
    }
    assert differs["copy"] < 2 < 10 < differs["noise"]
    # The corners lie outside every mask.
    corners = np.s_[:, :6, :6]
    assert (pairs.generated["noise"][corners] == pairs.real[corners]).all()


def test_pairs_of_photos_are_spread_over_the_folder(posed, untrained, tmp_path):
    for number in range(4):
        write_image(tmp_path / f"{number}.png", posed("hopper", yaw=5 * number))
    found = detection.pairs(tmp_path, {"x": (untrained, "collins", {})}, 32, limit=2)
    assert found.real.shape == found.generated["x"].shape == (2, 32, 32, 3)


def test_footage_without_a_face_is_named(tmp_path):
    with VideoWriter(tmp_path / "fog.mp4", fps=25) as writer:
        for _ in range(3):
            writer.write(np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="fog.mp4 shows no face"):
        detection.pairs(tmp_path / "fog.mp4", {})


def test_batches_are_half_real_and_the_nth_is_always_the_same(textures):
    for augmented in (False, True):
        stream = detection.batches(*textures, batch=4, seed=3, augmented=augmented)
        next(stream)
        x, y = next(stream)
        assert x.shape == (8, 32, 32, 3) and x.dtype == np.float32
        assert 0 <= x.min() and x.max() <= 1
        assert y.ravel().tolist() == [1] * 4 + [0] * 4
        later = detection.batches(
            *textures, batch=4, seed=3, start=1, augmented=augmented
        )
        assert (next(later)[0] == x).all()
    plain = next(detection.batches(*textures, batch=4, seed=3, start=1))[0]
    assert (plain != x).any()


def test_a_detector_learns_to_tell_apart_what_it_has_not_seen(textures, tmp_path):
    real, generated = textures
    detector = detection.build_detector(32, (8, 16))
    before = [detection.judge(detector, kind[30:]) for kind in textures]
    run = training.Run(tmp_path / "run", detector, {"seed": 0}, steps=60)
    run.fit(lambda start: detection.batches(real[:30], generated[:30], start=start))
    after = [detection.judge(detector, kind[30:]) for kind in textures]
    assert before[0].shape == (10,)
    assert metrics.auc(*after) > 0.95
    assert after[0].mean() > 0 > after[1].mean()  # higher for real
    assert run.history[-1]["accuracy"] > 0.9


@pytest.mark.parametrize("name", detection.DEGRADATIONS)
def test_wear_keeps_the_face_and_takes_its_detail(name, posed):
    face = np.ascontiguousarray(posed("hopper")[100:228, 120:248])
    change, (low, high) = detection.DEGRADATIONS[name]
    worn = change(face)
    assert worn.shape == face.shape and worn.dtype == np.uint8
    assert 0.5 < np.abs(worn.astype(float) - face).mean() < 12
    fine = [detection.spectrum(x[None])[0, -20:].mean() for x in (face, worn)]
    assert fine[1] < fine[0]
    assert low < high


def test_a_spectrum_says_how_fine_a_picture_is():
    x, found = np.arange(64), {}
    for waves in (4, 20):
        wave = 127 + 100 * np.sin(2 * np.pi * waves * x / 64)
        picture = np.broadcast_to(wave[None, :, None], (64, 64, 3)).astype(np.uint8)
        found[waves] = detection.spectrum(picture[None])[0]
        assert found[waves].shape == (32,)
    coarse, fine = found[4], found[20]
    assert coarse[3] > fine[3] + 2 and fine[19] > coarse[19] + 2


def test_the_classical_detector_parts_sharp_from_soft(textures):
    real, generated = textures
    judging = detection.build_spectral(real[:30], generated[:30])
    assert metrics.auc(judging(real[30:]), judging(generated[30:])) == 1
    assert judging(real[30:]).mean() > 0 > judging(generated[30:]).mean()


def test_what_is_hidden_shows_where_a_detector_looks():
    pictures = np.full((2, 48, 48, 3), 128, np.uint8)
    pictures[:, 30:44, 4:18] = 0  # dark there: generated

    def judging(faces):
        return faces[:, 30:44, 4:18].mean((1, 2, 3)) / 255

    maps = detection.occlusion(judging, pictures, patch=16, step=4)
    assert maps.shape == (2, 48, 48)
    y, x = np.unravel_index(maps[0].argmax(), (48, 48))
    assert 28 <= y < 46 and 2 <= x < 20
    assert np.abs(maps[0, :12, 36:]).max() == pytest.approx(0, abs=1e-6)


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    real, fake = random.normal(1, 1, 37), random.normal(0, 1, 23)
    real[:5] = fake[:5]  # ties count half
    above = (real[:, None] > fake).mean() + (real[:, None] == fake).mean() / 2
    assert metrics.auc(real, fake) == pytest.approx(above)
    assert metrics.auc(fake, real) == pytest.approx(1 - above)
    assert metrics.auc(np.ones(4), np.zeros(3)) == 1
    assert metrics.auc(np.ones(4), np.ones(3)) == 0.5


def test_the_table_has_intervals_that_know_frames_are_alike():
    slow = np.repeat(random.normal(0, 1, 10), 30)  # ten moments, a second each
    real, fake = slow + 0.8, slow[::-1].copy()
    judges = {"scores": lambda scores: scores}
    cases = {"blocks": (real, fake, 30), "frames": (real, fake, 1)}
    table = detection.measure(cases, judges, draws=200).set_index("case")
    for row in table.itertuples():
        assert row.low <= row.auc <= row.high and row.faces == 300
        assert row.auc == pytest.approx(metrics.auc(real, fake))
    width = table["high"] - table["low"]
    assert width["blocks"] > 2 * width["frames"]


def test_blocks_go_round_and_are_whole():
    drawn = tables.draw_blocks(10, 5, draws=50)
    assert drawn.shape == (50, 10)
    steps = np.diff(drawn.reshape(50, 2, 5)) % 10
    assert (steps == 1).all()
