import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from deepfakery import networks
from deepfakery.networks import (
    DepthToSpace,
    SpectralConv2D,
    best_precision,
    build_decoder,
    build_discriminator,
    build_encoder,
    precision,
)
from deepfakery.presets import PRESETS


@pytest.fixture(scope="module")
def light():
    """Encoder and decoder of the preset `light`, untrained."""
    keras.utils.set_random_seed(0)
    preset = PRESETS["light"]
    encoder = build_encoder(preset["size"], **preset["encoder"])
    return encoder, build_decoder(encoder.output_shape[1:], **preset["decoder"])


def inputs(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize("factor", [2, 4])
def test_depth_to_space_is_tensorflows(factor):
    tf = pytest.importorskip("tensorflow")
    x = inputs(2, 5, 7, 3 * factor**2)
    found = DepthToSpace(factor)(x)
    np.testing.assert_array_equal(array(found), tf.nn.depth_to_space(x, factor).numpy())
    layer = DepthToSpace(factor)
    assert layer.compute_output_shape((None, 5, 7, 3 * factor**2)) == (
        None,
        5 * factor,
        7 * factor,
        3,
    )


def test_light_turns_a_face_into_a_latent_and_back(light):
    encoder, decoder = light
    latent = encoder(inputs(2, 128, 128, 3))
    assert latent.shape == (2, 8, 8, 128)
    painted = array(decoder(latent))
    assert painted.shape == (2, 128, 128, 4) and painted.dtype == np.float32
    assert 0 < painted.min() and painted.max() < 1
    assert encoder.get_layer("bottleneck").units == 256


def test_every_pixel_of_the_latent_can_know_the_whole_face(light):
    """The bottleneck passes on no places: one pixel changed changes everything."""
    encoder, _ = light
    x = inputs(1, 128, 128, 3)
    changed = x.copy()
    changed[0, 16:28, 16:28] = 0
    difference = np.abs(array(encoder(x)) - array(encoder(changed)))
    assert (difference.max(-1) > 0).all()


def test_the_surroundings_of_a_face_do_not_enter_the_latent(light):
    encoder, _ = light
    x = inputs(2, 128, 128, 3)
    x[1, 16:-16, 16:-16] = x[0, 16:-16, 16:-16]
    one, other = array(encoder(x))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_normalized_encoder_tells_faces_apart_before_it_has_learned_to():
    """As they come, what all faces share drowns what sets them apart."""
    faces = 0.45 + 0.2 * (inputs(8, 64, 64, 3) - 0.5)

    def spread(normalized):
        keras.utils.set_random_seed(0)
        preset = PRESETS["light"]["encoder"] | {"normalized": normalized}
        encoder = build_encoder(64, **preset)
        unfolds = next(x for x in encoder.layers if isinstance(x, keras.layers.Reshape))
        bottleneck = keras.Model(encoder.input, unfolds.input)
        latent = array(bottleneck(faces))
        return latent.std(0).mean() / np.abs(latent.mean(0)).mean()

    assert spread(True) > 2 * spread(False)


def test_everything_is_trained(light):
    for model in light:
        assert len(model.trainable_weights) == len(model.weights) >= 6


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_paints_and_judges_faces_as_large_as_it_reads(preset):
    preset = PRESETS[preset]
    size, channels = preset["size"], 4 if preset["decoder"].get("mask", True) else 3
    encoder = build_encoder(size, **preset["encoder"])
    decoder = build_decoder(encoder.output_shape[1:], **preset["decoder"])
    D = build_discriminator(size, **preset["discriminator"])
    assert encoder.input_shape == D.input_shape == (None, size, size, 3)
    assert decoder.output_shape == (None, size, size, channels)
    assert D.output_shape[1] == D.output_shape[2] >= 8 and D.output_shape[3] == 1


def test_original_is_the_historic_network():
    """Encoder 69.66 million weights, each decoder 6.20 million, latent 8 × 8 × 512."""
    preset = PRESETS["original"]
    encoder = build_encoder(preset["size"], **preset["encoder"])
    decoder = build_decoder(encoder.output_shape[1:], **preset["decoder"])
    assert encoder.output_shape == (None, 8, 8, 512)
    assert decoder.output_shape == (None, 64, 64, 3)
    assert encoder.count_params() == 69_662_976
    assert decoder.count_params() == 6_199_747
    strided = [x for x in encoder.layers if getattr(x, "strides", None) == (2, 2)]
    assert [x.filters for x in strided] == [128, 256, 512, 1024]
    assert all(x.kernel_size == (5, 5) for x in strided)
    slopes = {x.negative_slope for x in encoder.layers if hasattr(x, "negative_slope")}
    assert slopes == {0.1}
    layers = keras.layers.Rescaling, keras.layers.LayerNormalization
    assert not any(isinstance(x, layers) for x in encoder.layers)


def test_depth_width_and_activation_are_arguments():
    small = {"bottleneck": 8, "reshape_channels": 8, "latent_channels": 8}
    plain = build_encoder(32, (8, 16), first_stride=2, **small)
    deep = build_encoder(
        32, (8, 16), first_stride=2, residual=2, activation="silu", **small
    )
    assert deep.output_shape == plain.output_shape
    assert deep.count_params() > plain.count_params()
    used = {x.activation.__name__ for x in deep.layers if hasattr(x, "activation")}
    assert "silu" in used
    assert not any(isinstance(x, keras.layers.LeakyReLU) for x in deep.layers)
    D = build_discriminator(32, widths=(8, 16, 32), activation="silu")
    names = [f"feature_{i}" for i in range(3)]  # whose maps `with_features` gives
    assert {D.get_layer(name).activation.__name__ for name in names} == {"silu"}


def test_a_normalised_convolution_stretches_nothing():
    """Its kernel's largest singular value is 1 once the iteration has settled."""
    layer = SpectralConv2D(12, 3, padding="same")
    x = inputs(2, 8, 8, 5)
    for _ in range(60):
        y = layer(x, training=True)
    kernel = array(layer.kernel)
    largest = np.linalg.norm(kernel.reshape(-1, 12), 2)
    expected = keras.ops.conv(x, kernel / largest, padding="same")
    np.testing.assert_allclose(array(y), array(expected), rtol=1e-2, atol=1e-3)
    # Calling it changes no kernel, and a longer kernel gives the same result.
    np.testing.assert_array_equal(array(layer.kernel), kernel)
    layer.kernel.assign(3 * kernel)
    np.testing.assert_allclose(array(layer(x)), array(y), rtol=1e-3, atol=1e-4)


def test_a_patch_is_judged_by_what_it_shows():
    keras.utils.set_random_seed(0)
    D = build_discriminator(64, widths=(8, 16, 32))
    x = inputs(1, 64, 64, 3)
    changed = x.copy()
    changed[0, :8, :8] = 0
    moved = np.abs(array(D(x)) - array(D(changed)))[0, ..., 0]
    assert moved[0, 0] > 0 and moved[5:, 5:].max() == 0


def test_precision_is_chosen_by_the_machine_and_can_be_named():
    assert best_precision() in ("mixed_bfloat16", "float32")
    before = keras.config.dtype_policy().name
    with precision("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    with pytest.raises(RuntimeError), precision():
        assert keras.config.dtype_policy().name == best_precision()
        raise RuntimeError
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    "said, expected",
    [
        ("GenuineIntel avx512f", "float32"),
        # Slower than float32: it multiplies at half the rate.
        ("GenuineIntel avx512f avx512_bf16", "float32"),
        ("GenuineIntel avx512f avx512_bf16 amx_bf16", "mixed_bfloat16"),
        ("AuthenticAMD avx512f avx512_bf16", "mixed_bfloat16"),
    ],
)
def test_bfloat16_is_chosen_where_it_is_fast(said, expected, monkeypatch):
    monkeypatch.setattr(networks, "_processor", lambda: {*said.split()})
    monkeypatch.setattr(networks, "has_gpu", lambda: False)
    assert best_precision() == expected
    monkeypatch.setattr(networks, "has_gpu", lambda: True)
    assert best_precision() == "mixed_bfloat16"


def test_a_gpu_that_is_not_used_is_spoken_of(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(networks, "has_gpu", lambda: False)
    monkeypatch.setattr(networks, "Path", lambda _: tmp_path / "no driver")
    backend, precision = keras.backend.backend(), best_precision()
    alone = f"{backend} runs on the CPU, in {precision}."
    assert networks.device() == alone
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    advice = "GPU=1" if backend == "tensorflow" else f"install {backend} for CUDA"
    said = networks.device()
    assert said.startswith(f"{alone} There is a GPU that it does not see: ")
    assert advice in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert networks.device().endswith("unset CUDA_VISIBLE_DEVICES=-1, which hides it.")
    monkeypatch.setattr(networks, "has_gpu", lambda: True)
    assert networks.device() == f"{backend} runs on a GPU, in mixed_bfloat16."


@pytest.fixture
def bounded():
    """A layer of five axes, and the latents that it knows: they lie in a plane."""
    random = np.random.default_rng(3)
    plane = np.linalg.qr(random.normal(size=(32, 2)))[0].T
    known = 4 + random.uniform(-1, 1, (40, 2)) * (3, 1) @ plane
    layer = networks.LatentBounds(5)
    layer.build((None, 2, 4, 4))
    return layer, np.float32(known).reshape(40, 2, 4, 4)


def test_latents_come_as_they_are_until_the_known_ones_are_learned(bounded):
    layer, known = bounded
    np.testing.assert_array_equal(array(layer(known)), known)
    layer.adapt(known)
    np.testing.assert_allclose(array(layer(known)), known, atol=1e-5)
    layer.reset()
    np.testing.assert_array_equal(array(layer(9 * known)), 9 * known)


def test_a_latent_outside_comes_to_the_nearest_known_one(bounded):
    layer, known = bounded
    layer.adapt(known)
    mean = known.mean(0, keepdims=True)
    widest = known[[np.abs(known - mean).sum((1, 2, 3)).argmax()]]
    # Off the plane: back onto it, and nowhere else.
    away = np.random.default_rng(4).normal(size=known.shape)
    flat, axes = (known - mean).reshape(40, -1), array(layer.axes)[:2]
    away = away.reshape(40, -1)
    away = (away - away @ axes.T @ axes).reshape(known.shape)
    np.testing.assert_allclose(array(layer(known + away)), known, atol=1e-4)
    # Far out on it: to where the known ones end, and no further.
    held = (array(layer(mean + 10 * (widest - mean))) - mean).reshape(1, -1) @ axes.T
    places = flat @ axes.T
    assert (held <= places.max(0) + 1e-4).all() and (held >= places.min(0) - 1e-4).all()
    assert np.isclose(np.abs(held), np.abs(places).max(0), atol=0.5).any()


def test_what_sets_people_apart_on_average_is_left_out(bounded):
    layer, known = bounded
    apart = np.random.default_rng(4).normal(size=known.shape[1:])
    layer.adapt(known, [(known.mean(0) + apart).ravel(), known.mean(0).ravel() + 1])
    own = array(layer(known))
    for share in (0.3, 1.0):  # the other's face, whatever it does
        made = array(layer(known + share * np.float32(apart)))
        np.testing.assert_allclose(made, own, atol=1e-4)
        np.testing.assert_allclose(array(layer(known + share)), own, atol=1e-4)
    # All else of a latent is kept.
    axes = np.linalg.qr(np.stack([apart.ravel(), np.ones(32)]).T)[0]
    lost = (known - own).reshape(40, -1)
    np.testing.assert_allclose(lost, lost @ axes @ axes.T, atol=1e-4)


def test_few_latents_are_enough_to_stay_within(bounded):
    layer, known = bounded
    layer.adapt(known[:3])
    np.testing.assert_allclose(array(layer(known[:3])), known[:3], atol=1e-5)


def test_networks_survive_their_configuration(light):
    for model in light:
        again = keras.Model.from_config(model.get_config())
        again.set_weights(model.get_weights())
        x = inputs(2, *model.input_shape[1:])
        np.testing.assert_array_equal(array(again(x)), array(model(x)))


def test_networks_survive_a_file(tiny, tmp_path):
    encoder = build_encoder(tiny["size"], **tiny["encoder"])
    decoder = build_decoder(encoder.output_shape[1:], **tiny["decoder"])
    D = build_discriminator(tiny["size"], **tiny["discriminator"])
    for model in (encoder, decoder, D):
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        x = inputs(2, *model.input_shape[1:])
        np.testing.assert_array_equal(array(again(x)), array(model(x)))


def test_pictures_stay_in_full_precision_when_training_is_mixed(tiny):
    with precision("mixed_bfloat16"):
        encoder = build_encoder(tiny["size"], **tiny["encoder"])
        decoder = build_decoder(encoder.output_shape[1:], **tiny["decoder"])
        D = build_discriminator(tiny["size"], **tiny["discriminator"])
    latent = encoder(inputs(1, 32, 32, 3))
    assert keras.backend.standardize_dtype(latent.dtype) == "bfloat16"
    painted = array(decoder(latent))
    assert array(D(painted[..., :3])).dtype == np.float32
    assert painted.dtype == np.float32
    assert len(np.unique(painted)) > 256
