import itertools

import keras
import numpy as np
import pytest

from deepfakery import training
from deepfakery.studies.dcgan import (
    DCGAN,
    PRESETS,
    build_discriminator,
    build_generator,
    invert,
    walk,
)

TINY = {
    "generator": {"widths": [32, 16], "kernel": 4},
    "discriminator": {"widths": [16, 32], "kernel": 4},
}


def make(latent=8, **options):
    keras.utils.set_random_seed(0)
    gan = DCGAN(TINY, latent)
    gan.compile(options.pop("optimizer", None), **options)
    return gan


def feed(start=0):
    """Pictures that are dark on the left and bright on the right, never alike."""
    while True:
        random = np.random.default_rng(start)
        noise = random.standard_normal((16, 8), np.float32)
        low, high = random.uniform(0, 0.2, (16, 1)), random.uniform(0.8, 1, (16, 1))
        rows = np.concatenate([low.repeat(8, 1), high.repeat(8, 1)], 1)
        pictures = np.broadcast_to(rows[:, None, :, None], (16, 16, 16, 3))
        yield noise, pictures.astype(np.float32)
        start += 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcgan") / "run"
    gan = make(optimizer=keras.optimizers.Adam(2e-3, 0.5), average=0.9)
    training.Run(folder, gan, gan.config, steps=300).fit(feed)
    return gan, folder


def test_the_papers_networks_are_the_papers():
    generator = build_generator(**PRESETS["radford"]["generator"])
    shapes = [x.output.shape[1:] for x in generator.layers if "transpose" in x.name]
    assert shapes == [(8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]
    # A dense layer to 4 × 4 × 1024, then kernels of 5 × 5; four numbers a channel
    # where a batch is normalised.
    widths = [1024, 512, 256, 128, 3]
    count = 100 * 16384 + sum(25 * a * b for a, b in itertools.pairwise(widths))
    count += 3 + 4 * sum(widths[:4])
    assert generator.count_params() == count
    discriminator = build_discriminator(**PRESETS["radford"]["discriminator"])
    sides = [x.output.shape[1:] for x in discriminator.layers if "conv" in x.name]
    assert sides == [(32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)]
    normalised = [x.name for x in discriminator.layers if "normal" in x.name]
    assert len(normalised) == 3  # not the first


def test_pictures_lie_between_0_and_1_unless_that_is_the_mistake():
    noise = np.random.default_rng(0).standard_normal((32, 8), np.float32)
    for unit, lowest in ((True, 0), (False, -1)):
        keras.utils.set_random_seed(0)
        generator = build_generator(8, (16,), unit=unit)
        last = generator.layers[-3 if unit else -2]
        last.kernel.assign(100 * last.kernel)  # as far as tanh goes
        made = keras.ops.convert_to_numpy(generator(noise, training=True))
        assert made.shape == (32, 8, 8, 3)
        assert lowest <= made.min() < lowest + 0.499 and made.max() <= 1


def test_it_learns_what_the_photos_have_in_common(trained):
    gan, _ = trained
    made = gan.imagine(np.random.default_rng(1).normal(size=(32, 8)))
    assert made.shape == (32, 16, 16, 3) and made.dtype == np.float32
    left, right = made[:, :, :6].mean((1, 2, 3)), made[:, :, -6:].mean((1, 2, 3))
    assert (right - left).mean() > 0.3 and (right > left).all()


def test_a_run_folder_gives_it_back(trained):
    gan, folder = trained
    again = DCGAN.from_preset(folder)
    noise = np.random.default_rng(2).normal(size=(3, 8))
    np.testing.assert_array_equal(gan.imagine(noise), again.imagine(noise))
    real = next(feed())[1]
    np.testing.assert_array_equal(gan.discriminate(real), again.discriminate(real))
    assert gan.discriminate(real).shape == (16,)


def test_a_stopped_run_goes_on_exactly(tmp_path):
    def run(name, steps):
        gan = make(augment=True)
        training.Run(tmp_path / name, gan, gan.config, steps=steps, decay=0).fit(feed)
        return gan.get_weights()

    whole = run("whole", 20)
    run("parts", 10)
    for a, b in zip(whole, run("parts", 20), strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_network_learns_from_its_own_loss_alone():
    """One pass moves each as a pass of its own would."""
    noise, real = next(feed())

    def moved(part, rate):
        gan = make()
        gan.compile(gan.rates(*rate), run_eagerly=True)  # for a step, quicker
        before = getattr(gan, part).get_weights()
        gan.train_on_batch(noise, real)
        after = getattr(gan, part).get_weights()
        trained = [v.trainable for v in getattr(gan, part).weights]
        steps = zip(before, after, trained, strict=True)
        return np.concatenate([(b - a).ravel() for a, b, t in steps if t])

    for part, own, other in (
        ("generator", (1e-3, 0.0), (0.0, 1e-3)),
        ("discriminator", (0.0, 1e-3), (1e-3, 0.0)),
    ):
        both = moved(part, (1e-3, 1e-3))
        # Adam's first step only asks for a gradient's sign, which rounding may turn.
        assert np.mean(np.abs(moved(part, own) - both) > 1e-5) < 0.01
        assert np.abs(both).max() > 1e-4 and not moved(part, other).any()


def test_augmented_pictures_differ_and_let_gradients_through():
    gan = make()
    same = keras.ops.ones((8, 16, 16, 3)) * 0.25
    changed = keras.ops.convert_to_numpy(gan._augmented(same))
    assert changed.shape == (8, 16, 16, 3)
    assert all(np.abs(changed[0] - other).max() > 0.01 for other in changed[1:])


def test_the_average_follows_slowly():
    gan = make(average=0.75, run_eagerly=True)
    start = gan.averaged.get_weights()
    for a, b in zip(start, gan.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    steps = feed()
    gan.train_on_batch(*next(steps))
    first = gan.generator.get_weights()
    gan.train_on_batch(*next(steps))  # follows what the first step made
    kernels = [i for i, v in enumerate(gan.generator.weights) if v.trainable]
    for i in kernels:
        expected = 0.75 * start[i] + 0.25 * first[i]
        np.testing.assert_allclose(gan.averaged.get_weights()[i], expected, atol=1e-6)


def test_what_is_unknown_is_named():
    with pytest.raises(ValueError, match="tiny"):
        DCGAN("tiny")
    with pytest.raises(ValueError, match="wasserstein"):
        make(kind="wasserstein")


def test_a_made_face_is_found_again(trained):
    gan, _ = trained
    before = gan.get_weights()
    made = gan.imagine(np.random.default_rng(3).normal(size=(4, 8)))
    found = gan.imagine(invert(gan, made, steps=150))
    middle = gan.imagine(np.zeros((1, 8)))
    assert np.abs(found - made).mean() < 0.5 * np.abs(middle - made).mean()
    for a, b in zip(before, gan.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_walk_keeps_to_the_sphere_and_comes_home():
    stops = np.random.default_rng(0).normal(size=(3, 50))
    stops *= 7 / np.linalg.norm(stops, axis=1, keepdims=True)
    path = walk(stops, 10)
    assert path.shape == (30, 50)
    np.testing.assert_allclose(path[::10], stops, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 7, rtol=1e-5)
    steps = np.linalg.norm(np.diff(path[:10], axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    assert len(walk(stops, 10, loop=False)) == 20
    with pytest.raises(ValueError, match="2 stops"):
        walk(stops[:1])
    assert np.isfinite(walk(np.stack([stops[0], -stops[0]]))).all()
    assert np.isfinite(walk(np.stack([stops[0], 0 * stops[0]]))).all()


def test_a_face_is_sought_where_noise_of_zeros_is_deaf(trained):
    gan = DCGAN.from_preset(trained[1])
    norm = next(x for x in gan.averaged.layers if "batch_norm" in x.name)
    gamma, _, mean, variance = norm.get_weights()
    # Just below zero: from there no gradient comes through the first ReLU.
    norm.beta.assign(gamma * mean / np.sqrt(variance + norm.epsilon) - 0.1 * abs(gamma))
    photos = next(feed())[1][:3]
    sought = invert(gan, photos, steps=20)
    assert np.linalg.norm(sought, axis=1).min() > 0.5
    near = np.abs(gan.imagine(sought) - photos).mean()
    assert near < np.abs(gan.imagine(np.zeros((3, 8))) - photos).mean()
