import itertools
from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image

from deepfakery import training
from deepfakery.studies.upscaler import Bicubic, Share, Upscaler, train

TINY = {
    "pyramid": {"widths": [12, 8, 8], "blocks": [1, 1, 1]},
    "discriminator": {"widths": [8, 16]},
}


def make(**options):
    """A new one; what takes only a few steps runs eagerly, for tracing takes longer."""
    keras.utils.set_random_seed(0)
    upscaler = Upscaler(TINY, precision="float32")
    upscaler.compile(**options)
    return upscaler


def feed(start=0, factors=(2, 4), batch=4, patch=16, seed=0):
    """Stripes of random direction and colour; the small ones are their means."""
    y, x = np.mgrid[:patch, :patch]
    for step in itertools.count(start):
        random = np.random.default_rng((seed, step))
        angle = random.uniform(0, np.pi, (batch, 1, 1, 1))
        phase = random.uniform(0, 6, (batch, 1, 1, 3))
        along = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
        large = np.float32(0.5 + 0.5 * np.sin(along + phase))
        small = {}
        for k in factors:
            parts = large.reshape(batch, patch // k, k, patch // k, k, 3)
            small[k] = parts.mean((2, 4))
        yield small, dict.fromkeys(factors, large)


@pytest.fixture(scope="module")
def smooth():
    """(2, 12, 20, 3) float32 in [0.2, 0.8], so soft that bicubic never overshoots."""
    noise = np.random.default_rng(0).random((2, 3, 4, 3), np.float32)
    large = keras.ops.convert_to_numpy(keras.ops.image.resize(noise, (12, 20)))
    return 0.2 + 0.6 * large.clip(0, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upscaler") / "run"
    upscaler = make(optimizer=keras.optimizers.Adam(5e-3))
    training.Run(folder, upscaler, upscaler.config, steps=150).fit(feed)
    return upscaler, folder


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bicubic_is_the_one_of_picture_editors(factor, smooth):
    size = (20 * factor, 12 * factor)
    kind = Image.Resampling.BICUBIC
    ours = keras.ops.convert_to_numpy(Bicubic(factor)(smooth))
    for mine, picture in zip(ours, smooth, strict=True):
        theirs = [
            np.asarray(Image.fromarray(channel).resize(size, kind))
            for channel in np.moveaxis(picture, -1, 0)
        ]
        theirs = np.stack(theirs, -1)
        inner = np.s_[2 * factor : -2 * factor, 2 * factor : -2 * factor]
        np.testing.assert_allclose(mine[inner], theirs[inner], atol=1e-5)


def test_untrained_it_is_exactly_bicubic_at_every_factor(smooth):
    upscaler = make()
    for factor in upscaler.factors:
        large = upscaler.enlarge(smooth, factor)
        assert large.shape == (2, 12 * factor, 20 * factor, 3)
        plain = keras.ops.convert_to_numpy(Bicubic(factor)(smooth))
        np.testing.assert_allclose(large, plain, atol=1e-6)


def test_one_object_serves_all_factors_by_shared_layers():
    upscaler = make()
    assert upscaler.factors == (2, 4, 8)
    held = {w.path for w in upscaler.whole.weights}
    for model in upscaler.pyramid.values():
        assert {w.path for w in model.weights} <= held
    with pytest.raises(ValueError, match="16"):
        upscaler.enlarge(np.zeros((1, 8, 8, 3)), 16)


def test_it_learns_what_bicubic_leaves_out(trained):
    upscaler, _ = trained
    small, large = next(feed(start=10_000))
    for factor in (2, 4):
        plain = keras.ops.convert_to_numpy(Bicubic(factor)(small[factor]))
        ours = upscaler.enlarge(small[factor], factor)
        error, bicubic = (np.abs(p - large[factor]).mean() for p in (ours, plain))
        assert error < 0.8 * bicubic


def test_losses_fall(trained):
    _, folder = trained
    losses = [entry["loss"] for entry in training.read(folder)["history"]]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_folder_and_a_file_give_it_back(trained, tmp_path, smooth):
    upscaler, folder = trained
    again = Upscaler.from_preset(folder)
    upscaler.save_base(tmp_path / "tiny.npz")
    kept = Upscaler(TINY).start_from(tmp_path / "tiny.npz")
    for factor in upscaler.factors:
        pixels = upscaler.enlarge(smooth, factor)
        np.testing.assert_allclose(again.enlarge(smooth, factor), pixels, atol=0.02)
        np.testing.assert_allclose(kept.enlarge(smooth, factor), pixels, atol=0.02)
    exact = make().start_from(tmp_path / "tiny.npz")
    exact.save_base(tmp_path / "again.npz")
    assert make().start_from(tmp_path / "again.npz").sha256() == exact.sha256()


def test_a_file_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        Upscaler.from_preset(tmp_path / "none.npz")
    make().save_base(tmp_path / "tiny.npz")
    with pytest.raises(ValueError, match="tiny.npz.*light"):
        Upscaler.from_preset(tmp_path / "tiny.npz")


def test_stages_above_the_trained_ones_stand_still():
    upscaler = make(factors=(2,), run_eagerly=True)
    names = [v.path for v in upscaler.trainable_variables]
    assert names and all("x2_" in name for name in names)
    before = upscaler.whole.get_weights()
    for batch in itertools.islice(feed(factors=(2,)), 3):
        upscaler.train_on_batch(*batch)
    after = upscaler.whole.get_weights()
    moved = {
        weight.path.split("_")[0]
        for weight, a, b in zip(upscaler.whole.weights, before, after, strict=True)
        if (a != b).any()
    }
    assert moved == {"x2"}


def test_a_new_stage_is_faded_in():
    upscaler = make(factors=(2, 4), fade=4, run_eagerly=True)
    shares = []
    for batch in itertools.islice(feed(), 6):
        upscaler.train_on_batch(*batch)
        shares.append(float(upscaler.whole.get_layer("x4_fade").share))
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 1, 1, 1])
    assert float(upscaler.whole.get_layer("x2_fade").share) == 1
    half = Share()
    half.build(None)
    half.share.assign(0.5)
    assert float(half(np.float32([4.0]))[0]) == 2


def test_a_stage_that_is_not_faded_in_changes_nothing(trained, smooth):
    upscaler, folder = trained
    faded = Upscaler.from_preset(folder)
    faded.whole.get_layer("x4_fade").share.assign(0.0)
    coarse = keras.ops.convert_to_numpy(Bicubic(2)(smooth))
    residual = upscaler.pyramid[2].predict_on_batch(smooth) - coarse
    expected = keras.ops.convert_to_numpy(
        Bicubic(4)(smooth) + Bicubic(2)(keras.ops.convert_to_tensor(residual))
    )
    np.testing.assert_allclose(faded.enlarge(smooth, 4), expected.clip(0, 1), atol=0.02)


def test_a_stopped_run_goes_on_exactly(tmp_path):
    def run(name, steps):
        upscaler = make(train="both", factors=(2,), fade=12)
        config = upscaler.config
        run = training.Run(tmp_path / name, upscaler, config, steps=steps, decay=0)
        run.fit(partial(feed, factors=(2,)))
        return upscaler.get_weights()

    whole = run("whole", 20)
    run("parts", 10)
    for a, b in zip(whole, run("parts", 20), strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_network_learns_from_its_own_loss_alone():
    """A discriminator that stands still moves no other way than with the pyramid."""
    batch = next(feed(factors=(2,)))

    def moved(part, **options):
        upscaler = make(train="both", factors=(2,), run_eagerly=True, **options)
        weights = {
            "pyramid": upscaler.whole.weights,
            "discriminator": upscaler.discriminators[2].weights,
        }[part]
        before = [keras.ops.convert_to_numpy(w) for w in weights]
        upscaler.train_on_batch(*batch)
        steps = [
            (keras.ops.convert_to_numpy(w) - b).ravel()
            for w, b in zip(weights, before, strict=True)
        ]
        return np.concatenate(steps)

    # What the pyramid is asked changes nothing for the discriminator.
    scorer = moved("discriminator")
    np.testing.assert_allclose(
        scorer, moved("discriminator", adversarial=0.0, matching=0.0), atol=1e-6
    )
    assert np.abs(scorer).max() > 1e-5
    # And to be scored changes the pyramid.
    plain = moved("pyramid", adversarial=0.0, matching=0.0)
    assert np.abs(moved("pyramid", adversarial=1.0) - plain).max() > 1e-5


def test_the_discriminator_learns_to_tell_residuals():
    options = {"train": "both", "adversarial": 0.0, "factors": (2,)}
    upscaler = make(optimizer=keras.optimizers.Adam(2e-3, 0.5), **options)
    right = [
        upscaler.train_on_batch(*batch, return_dict=True)["d_accuracy"]
        for batch in itertools.islice(feed(factors=(2,)), 60)
    ]
    assert right[-1] > right[0]


def test_what_is_unknown_is_named():
    upscaler = make()
    for options in ({"factors": (3,)}, {"train": "colours"}):
        [value] = options.values()
        with pytest.raises(ValueError, match=str(value[0] if value == (3,) else value)):
            upscaler.compile(**options)
    with pytest.raises(ValueError, match="huge"):
        Upscaler("huge")


def test_a_stage_is_faded_in_however_short_it_is(tmp_path):
    stages = {
        "x4": {"steps": 20, "factors": (2, 4), "batch": 2, "patch": 16, "fade": 10},
        "more": {"steps": 10, "factors": (2, 4), "batch": 2, "patch": 16},
    }
    upscaler = make()
    first = dict(list(stages.items())[:1])
    train(upscaler, tmp_path, feed, first, times=0.1)
    assert float(keras.ops.convert_to_numpy(upscaler._fading)) == 1
    train(upscaler, tmp_path, feed, stages, times=0.1)
    assert float(keras.ops.convert_to_numpy(upscaler._fading)) == 1


def test_a_curriculum_goes_stage_by_stage_and_is_not_gone_through_twice(tmp_path):
    stages = {
        "x2": {"steps": 10, "factors": (2,), "batch": 2, "patch": 16},
        "x4": {"steps": 20, "factors": (2, 4), "batch": 2, "patch": 16, "fade": 5},
    }
    seen = []

    def fed(**options):
        seen.append((options["factors"], options["start"]))
        return feed(**options)

    upscaler = make()
    histories = train(upscaler, tmp_path, fed, stages, times=2)
    assert [h[-1]["step"] for h in histories.values()] == [20, 40]
    assert float(keras.ops.convert_to_numpy(upscaler._fading)) == 1
    assert seen == [((2,), 0), ((2, 4), 0)]
    again = make()
    train(again, tmp_path, fed, stages, times=2)
    assert len(seen) == 2  # nothing was trained anew
    assert again.sha256() == upscaler.sha256()
    assert again.sha256() != make().sha256()
