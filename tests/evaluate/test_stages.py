import numpy as np
import pytest

from deepfakery.evaluate import stages


@pytest.fixture(scope="module")
def looked(untrained, short_clips):
    """Without a word of training: only the upper bound knows the face."""
    target, truth = short_clips["collins"], short_clips["hopper"]
    return stages.look(target, untrained, "hopper", truth, frames=8)[0]


def test_every_stage_of_every_frame_is_measured(looked):
    assert set(looked.stage) == set(stages.STAGES)
    assert looked.groupby("stage").size().eq(8).all()
    assert looked.ssim.between(-1, 1).all()


def test_the_upper_bound_is_the_most_that_can_be_had(looked):
    table = stages.table(looked)
    assert list(table.index) == list(stages.STAGES)
    bound = table.loc["upper bound"]
    assert bound.of_bound == bound.seam == 1 and bound.ssim > 0.5
    others = table.drop("upper bound")
    assert (others.ssim < bound.ssim).all() and (others.of_bound < 1).all()
    assert bound.landmark_error < 8 and bound.mouth > 0.5


def test_without_ground_truth_the_finished_frame_stands_beside_the_target(
    untrained, short_clips
):
    found, shown = stages.look(short_clips["collins"], untrained, "hopper", frames=4)
    assert set(shown) == {"target", "finished"} and len(shown["finished"]) == 1
    table = stages.table(found)
    assert list(table.index) == ["finished"]
    assert np.isnan(table.ssim["finished"]) and table.sharpness["finished"] > 0


def test_the_landmarks_of_the_ground_truth_do_not_count_as_flicker(
    looked, untrained, short_clips
):
    """They tremble behind glasses; a steady swap would look too still beside them."""
    alone, _ = stages.look(short_clips["collins"], untrained, "hopper", frames=8)
    alone, beside = stages.table(alone), stages.table(looked)
    finished = alone.flicker["finished"]
    assert beside.flicker["finished"] == pytest.approx(finished, rel=1e-6)
