"""Ways of training beside each other."""

import pytest

import deepfakery
from deepfakery import samples, training
from deepfakery.evaluate import tables
from deepfakery.media import images
from deepfakery.notebook import compare

#: The way that has all stages in it.
WAYS = {"adversarial": compare.WAYS["adversarial"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory, lay_footage):
    """A workspace and its table."""
    out = tmp_path_factory.mktemp("compare")
    lay_footage(out / "clips", out / "faces")
    moves = samples.motion(300, seed=1)[::25]
    for name in samples.PEOPLE:
        samples.write_clip(out / "clips" / f"{name}_unseen.mp4", name, moves)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepfakery, "SMOKE", True)
        patch.setattr(compare, "WAYS", WAYS)
        frames = compare.compare("hopper", "collins", out, ["small"], [1])
    return out, tables.summarise(frames)


def test_every_way_trains_its_stages_and_swaps_a_clip(made):
    out, _ = made
    for way in WAYS:
        folder, stages = out / f"small_{way}_1_min", WAYS[way]
        assert {f.name for f in folder.iterdir() if f.is_dir()} == set(stages)
        assert all(training.read(folder / stage)["step"] == 6 for stage in stages)
        assert images.count_frames(folder / "swap.mp4") == 12


def test_the_table_has_baselines_and_bounds(made):
    out, table = made
    values = table.pivot(index="clip", columns="measure", values="value")
    ways = [f"small, {way}, 1 min" for way in WAYS]
    # Likeness to a person is no bound: twelve frames of a mask may be more like it.
    like, away = values["ssim"], values["identity_distance"]
    assert like["upper bound, 64 px"] > max(like[ways]) > like["target"]
    assert max(*away[ways], away["landmark warp"]) < away["target"]
    assert images.read_image(out / "frames.png").shape[1] > 1000
