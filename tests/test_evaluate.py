import numpy as np
import pytest

from deepfakery import evaluate, images
from deepfakery.video import VideoWriter, read_frames


@pytest.fixture(scope="module")
def judged(facesets, short_clips):
    """What is said of an unseen clip of Hopper, and of one of Collins, as a swap."""
    painted, target = (facesets[n].descriptors() for n in ("hopper", "collins"))
    return {
        name: evaluate.identity(clip, painted, target, workers=0)
        for name, clip in short_clips.items()
    }


def test_the_person_themselves_is_verified_in_every_frame(judged):
    said = judged["hopper"]
    assert said["frames"] == 12
    assert said["found_fraction"] == said["verified_fraction"] == 1
    assert said["nearer_fraction"] == 1
    assert said["distance_painted"] < 0.4 < 0.6 < said["distance_target"]


def test_an_unswapped_clip_is_verified_in_none(judged):
    said = judged["collins"]
    assert said["found_fraction"] == 1
    assert said["verified_fraction"] == said["nearer_fraction"] == 0
    assert said["distance_target"] < said["distance_painted"]


def test_distances_have_a_row_a_frame(judged):
    for said in judged.values():
        rows = said["distances"]
        assert rows.shape == (12, 2) and np.isfinite(rows).all()
        medians = said["distance_painted"], said["distance_target"]
        np.testing.assert_allclose(np.median(rows, axis=0), medians)


def test_only_the_painted_frames_are_judged(facesets, short_clips, judged):
    painted, target = (facesets[n].descriptors() for n in ("hopper", "collins"))
    said = evaluate.identity(
        short_clips["hopper"], painted, target, among={1, 5, 11}, workers=0
    )
    assert said["frames"] == 3
    expected = judged["hopper"]["distances"][[1, 5, 11]]
    np.testing.assert_allclose(said["distances"], expected)


def test_a_frame_without_a_face_counts_against(facesets, short_clips, tmp_path):
    frames = list(read_frames(short_clips["hopper"]))
    images.write_image(tmp_path / "0.png", frames[0].image)
    images.write_image(tmp_path / "1.png", np.full_like(frames[0].image, 90))
    painted, target = (facesets[n].descriptors() for n in ("hopper", "collins"))
    said = evaluate.identity(tmp_path, painted, target, workers=0)
    assert said["frames"] == 2
    assert said["found_fraction"] == said["verified_fraction"] == 0.5
    assert np.isnan(said["distances"][1]).all()
    assert np.isfinite(said["distance_painted"])


def test_somebody_else_altogether_is_not_verified(facesets, short_clips):
    """Nearer to one of the two, and still too far to be that person."""
    mean = facesets["collins"].descriptors()
    far = mean + np.float32(1)
    said = evaluate.identity(
        short_clips["hopper"], painted=mean, target=far, among={0, 6}, workers=0
    )
    assert said["nearer_fraction"] == 1 and said["verified_fraction"] == 0


def test_the_truth_is_perfect_and_an_unswapped_clip_is_not(short_clips):
    truth, target = short_clips["hopper"], short_clips["collins"]
    best = evaluate.against_truth(truth, truth, every=4, workers=0)
    floor = evaluate.against_truth(target, truth, every=4, workers=0)
    assert best["ssim"] == pytest.approx(1, abs=1e-6)
    assert 0 < floor["ssim"] < 0.6 and 5 < floor["psnr"] < 20
    assert best["psnr"] > 60


def test_a_worse_copy_of_the_truth_is_further_from_it(short_clips, tmp_path):
    """Even a good copy stays below 1: dlib's landmarks tremble with every pixel."""
    truth, noise = short_clips["hopper"], np.random.default_rng(0)
    figures = []
    for level in (2, 50):
        path = tmp_path / f"{level}.mp4"
        with VideoWriter(path, fps=30) as writer:
            for frame in read_frames(truth):
                noisy = frame.image + noise.normal(0, level, frame.image.shape)
                writer.write(noisy.clip(0, 255).astype(np.uint8))
        figures.append(evaluate.against_truth(path, truth, every=2, workers=0))
    near, far = figures
    assert 1 > near["ssim"] > far["ssim"] + 0.15 > 0.2
    assert near["psnr"] > far["psnr"] + 2
