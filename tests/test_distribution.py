"""Two devices train what one trains: here, two halves of the processor."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

STEPS = 4

#: Run in a process of its own: devices are divided before a backend starts.
SCRIPT = """
import json, os, sys
from contextlib import nullcontext
import keras
import numpy as np

backend, preset, folder = keras.backend.backend(), json.loads(sys.argv[1]), sys.argv[2]
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])

from deepfakery import training
from deepfakery.swapper import FaceSwapper

random = np.random.default_rng(0)
x = {n: random.random((4, 32, 32, 3), np.float32) for n in "ab"}
y = {n: random.random((4, 32, 32, 5), np.float32) for n in "ab"}
for faces in y.values():
    for i, face in enumerate(faces):  # each device gets masks of other sizes
        face[..., 3:] = 0
        face[4 + 2 * i : 28 - 2 * i, 6:26, 3] = 1
        face[10 : 14 + i, 10:20, 4] = 1

def train(name, scope):
    # As in the notebook: only the swapper is made in the scope, Adam is the default.
    keras.utils.set_random_seed(0)
    with scope:
        swapper = FaceSwapper("ab", preset, "float32")
    swapper.compile(train="both")
    before = [w.copy() for w in swapper.get_weights()]
    run = training.Run(f"{folder}/{name}", swapper, swapper.config, steps=4, every=2)
    run.fit(lambda start: iter(lambda: (x, y), None))
    moved = np.concatenate(
        [(b - a).ravel() for a, b in zip(before, swapper.get_weights(), strict=True)]
    )
    scores = swapper.discriminate(x["a"][:3], "b")
    made = [*swapper.swap(x["a"][:3], "b")[0].ravel(), *scores]
    return moved, [entry["loss"] for entry in run.history], made

alone, losses, made = train("alone", nullcontext())
if backend == "tensorflow":
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    scope, devices = strategy.scope(), strategy.num_replicas_in_sync
else:
    import jax
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    scope, devices = nullcontext(), len(jax.devices())
shared, shared_losses, shared_made = train("shared", scope)
print(json.dumps({
    "devices": devices,
    "moved": float(np.linalg.norm(alone)),
    "apart": float(np.linalg.norm(alone - shared)),
    "losses": losses,
    "shared_losses": shared_losses,
    "made_apart": float(np.abs(np.subtract(made, shared_made)).max()),
}))
"""


def test_two_devices_train_as_one_does(tiny, tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("Keras distributes over TensorFlow and JAX, not over PyTorch")
    divided = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(tiny), tmp_path],
        env={**os.environ, **divided},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["devices"] == 2
    assert len(seen["losses"]) == STEPS // 2
    assert seen["shared_losses"] == pytest.approx(seen["losses"], rel=1e-5)
    assert seen["apart"] < 1e-3 * seen["moved"]
    assert seen["made_apart"] < 1e-3
    assert np.isfinite(seen["moved"]) and seen["moved"] > 0
