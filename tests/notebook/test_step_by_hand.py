"""The adversarial step that notebook 2 writes out, beside the package's own."""

import keras
import nbformat
import numpy as np
import pytest
from keras import ops

import deepfakery
from deepfakery import samples
from deepfakery.notebook import run
from deepfakery.swapper import FaceSwapper


@pytest.fixture
def step():
    """A function: a new swapper → the notebook's step, which trains it."""

    def write_out(hand):
        notebook = nbformat.read(run.NOTEBOOKS / "02_training.ipynb", as_version=4)
        names = {"df": deepfakery, "keras": keras, "ops": ops, "hand": hand}
        for cell in notebook.cells:
            is_code = cell.cell_type == "code"
            if is_code and "by-hand" in cell.metadata.get("tags", ()):
                exec(cell.source, names)
        return names["step"]

    return write_out


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a TensorFlow tape")
def test_the_step_by_hand_is_the_packages(step, tiny):
    random, made = np.random.default_rng(0), []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        made.append(FaceSwapper(samples.PEOPLE, tiny, "float32"))
    hand, package = made
    package.compile(train="both")
    by_hand = step(hand)
    before = package.encoder.get_weights()
    for _ in range(4):
        x, y = (
            {n: random.random((4, 32, 32, c), "float32") for n in samples.PEOPLE}
            for c in (3, 5)
        )
        package.reset_metrics()
        expected = package.train_on_batch(x, y, return_dict=True)
        found = by_hand(x, y)
        for name in ("loss", "d_loss", "g_loss"):
            np.testing.assert_allclose(float(found[name]), expected[name], rtol=1e-4)
    moved = [
        np.abs(a - b).max()
        for a, b in zip(before, package.encoder.get_weights(), strict=True)
    ]
    assert min(moved) > 1e-4
    pairs = zip(hand.weights, package.weights, strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, atol=2e-5, err_msg=theirs.path)
