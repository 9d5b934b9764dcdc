import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from deepfakery.networks import DepthToSpace, build_decoder, build_encoder
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
    latent = encoder(inputs(2, 64, 64, 3))
    assert latent.shape == (2, 8, 8, 128)
    painted = array(decoder(latent))
    assert painted.shape == (2, 64, 64, 4) and painted.dtype == np.float32
    assert 0 < painted.min() and painted.max() < 1
    assert encoder.get_layer("bottleneck").units == 256


def test_every_pixel_of_the_latent_can_know_the_whole_face(light):
    """The bottleneck passes on no places: one pixel changed changes everything."""
    encoder, _ = light
    x = inputs(1, 64, 64, 3)
    changed = x.copy()
    changed[0, :8, :8] = 0
    difference = np.abs(array(encoder(x)) - array(encoder(changed)))
    assert (difference.max(-1) > 0).all()


def test_everything_is_trained(light):
    for model in light:
        assert len(model.trainable_weights) == len(model.weights) >= 6


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_paints_faces_as_large_as_it_reads(preset):
    preset = PRESETS[preset]
    encoder = build_encoder(preset["size"], **preset["encoder"])
    decoder = build_decoder(encoder.output_shape[1:], **preset["decoder"])
    assert encoder.input_shape == (None, preset["size"], preset["size"], 3)
    assert decoder.output_shape == (None, preset["size"], preset["size"], 4)


def test_networks_survive_their_configuration(light):
    for model in light:
        again = keras.Model.from_config(model.get_config())
        again.set_weights(model.get_weights())
        x = inputs(2, *model.input_shape[1:])
        np.testing.assert_array_equal(array(again(x)), array(model(x)))


def test_networks_survive_a_file(tiny, tmp_path):
    encoder = build_encoder(tiny["size"], **tiny["encoder"])
    decoder = build_decoder(encoder.output_shape[1:], **tiny["decoder"])
    for model in (encoder, decoder):
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        x = inputs(2, *model.input_shape[1:])
        np.testing.assert_array_equal(array(again(x)), array(model(x)))


def test_pictures_stay_in_full_precision_when_training_is_mixed(tiny):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = build_encoder(tiny["size"], **tiny["encoder"])
        decoder = build_decoder(encoder.output_shape[1:], **tiny["decoder"])
        latent = encoder(inputs(1, 32, 32, 3))
        assert keras.backend.standardize_dtype(latent.dtype) == "bfloat16"
        painted = array(decoder(latent))
    finally:
        keras.config.set_dtype_policy(before)
    assert painted.dtype == np.float32
    assert len(np.unique(painted)) > 256
