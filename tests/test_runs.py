import json
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from deepfakery import runs
from deepfakery.batches import batches

EVERY = 4


class StopAt(keras.callbacks.Callback):
    """The stop button of a notebook, pressed after a step."""

    def __init__(self, run, step):
        super().__init__()
        self.run, self.stop = run, step

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == self.stop:
            raise KeyboardInterrupt


def start(folder, swapper, steps=24, **options):
    options = {"every": EVERY, **options}
    return runs.Run(folder, swapper, swapper.config, steps=steps, **options)


def go_on(run, facesets, callbacks=()):
    stream = batches(facesets, run.trained.size, batch=4, start=run.step)
    run.fit(stream, callbacks)


def assert_equal(one, other):
    """In weights and in everything that the optimizer remembers."""
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations)
    pairs = [(one.get_weights(), other.get_weights())]
    kept = [
        [keras.ops.convert_to_numpy(v) for v in m.optimizer.variables]
        for m in (one, other)
    ]
    for a, b in (*pairs, kept):
        assert len(a) == len(b) > 10
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


class Note(keras.callbacks.Callback):
    """Writes down the learning rate of every step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.fixture(scope="module")
def sitting(make_swapper, facesets, tmp_path_factory):
    """24 steps in one go: the run, its learning rates, when previews were drawn."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run, note, drawn = start(folder, make_swapper(), save_seconds=0), Note(), []

    def draw():
        drawn.append(run.step)
        return f"a picture at step {run.step}"

    go_on(run, facesets, [note, runs.Preview(draw, seconds=0)])
    return run, note.rates, drawn


@pytest.fixture(scope="module")
def whole(sitting):
    return sitting[0]


def test_a_run_writes_down_how_it_went(whole):
    assert whole.step == 24 and whole.seconds > 0
    assert [entry["step"] for entry in whole.history] == list(range(4, 25, EVERY))
    assert all(np.isfinite(entry["loss"]) for entry in whole.history)
    said = runs.read(whole.folder)
    assert said["step"] == 24 and said["history"] == whole.history
    assert said["config"] == json.loads(json.dumps(whole.trained.config))
    newest = runs.latest(whole.folder)
    assert {f.name for f in newest.iterdir()} == {"model.weights.h5", "run.json"}


def test_a_stopped_run_goes_on_exactly(whole, make_swapper, facesets, tmp_path, capsys):
    first = start(tmp_path / "run", make_swapper())
    go_on(first, facesets, [StopAt(first, 10)])  # in the middle of an entry
    assert "Stopped at step 10, saved" in capsys.readouterr().out
    second = start(tmp_path / "run", make_swapper())
    assert second.step == 10
    assert_equal(second.trained, first.trained)
    go_on(second, facesets)
    assert second.step == 24
    assert_equal(second.trained, whole.trained)


KILLED = """
import sys, time
import keras
from deepfakery import runs
from deepfakery.batches import batches
from deepfakery.faceset import FaceSet
from deepfakery.swapper import FaceSwapper

folder, preset, *people = sys.argv[1:]
facesets = {path.split("/")[-1]: FaceSet.load(path) for path in people}
keras.utils.set_random_seed(0)
swapper = FaceSwapper(facesets, eval(preset))
swapper.compile(keras.optimizers.Adam(2e-3))
run = runs.Run(folder, swapper, swapper.config, steps=24, every=4, save_seconds=0)


class Wait(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if run.step == 14:
            print("waiting", flush=True)
            time.sleep(600)


run.fit(batches(facesets, swapper.size, batch=4), [Wait()])
"""


def test_a_killed_run_goes_on_exactly(whole, make_swapper, tiny, facesets, tmp_path):
    people = [str(f.folder) for f in facesets.values()]
    script = [sys.executable, "-c", KILLED, str(tmp_path / "run"), repr(tiny), *people]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "waiting\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    run = start(tmp_path / "run", make_swapper())
    assert run.step == 12  # the last whole checkpoint
    go_on(run, facesets)
    assert_equal(run.trained, whole.trained)
    steps = [entry["step"] for entry in run.history]
    assert steps == [entry["step"] for entry in whole.history]


def test_two_checkpoints_are_kept(whole):
    kept = sorted(f.name for f in whole.folder.iterdir())
    assert kept == ["checkpoint-00000020", "checkpoint-00000024"]
    assert runs.latest(whole.folder).name == kept[-1]


def test_a_torn_checkpoint_is_cleared_away(whole, make_swapper, tmp_path):
    torn = tmp_path / "run" / ".checkpoint-00000099.part"
    torn.mkdir(parents=True)
    (torn / "model.weights.h5").write_bytes(b"half")
    assert runs.latest(tmp_path / "run") is None
    run = start(tmp_path / "run", make_swapper())
    assert run.step == 0 and not torn.exists()


def test_a_run_with_another_configuration_is_refused(whole, make_swapper, tmp_path):
    swapper = make_swapper()
    before = swapper.get_weights()
    other = {**swapper.config, "seed": 1}
    with pytest.raises(ValueError, match="seed=None, not 1") as caught:
        runs.Run(whole.folder, swapper, other, steps=24)
    assert str(whole.folder) in str(caught.value)
    fewer = {"identities": whole.config["identities"]}
    with pytest.raises(ValueError, match="preset="):
        runs.Run(whole.folder, swapper, fewer, steps=24)
    for a, b in zip(before, swapper.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert runs.read(whole.folder)["step"] == 24


def test_a_low_enough_loss_stops_early(make_swapper, facesets, tmp_path):
    run = start(tmp_path / "run", make_swapper(), steps=500, threshold=10)
    go_on(run, facesets)
    assert run.step == EVERY
    assert runs.read(run.folder)["step"] == EVERY


def test_minutes_are_a_budget_too(make_swapper, facesets, tmp_path):
    swapper = make_swapper()
    run = runs.Run(tmp_path / "run", swapper, {}, minutes=2 / 60, every=2)
    go_on(run, facesets)
    assert run.step > 0 and 2 <= run.seconds < 20
    again = runs.Run(tmp_path / "run", make_swapper(), {}, minutes=2 / 60)
    assert again.seconds == pytest.approx(run.seconds, abs=0.01)
    made = again.step
    go_on(again, facesets)
    assert again.step == made


@pytest.mark.parametrize(
    "budget", [{}, {"minutes": 0}, {"steps": 0}, {"minutes": -1}, {"steps": -5}]
)
def test_a_run_without_a_budget_is_refused(budget, untrained, tmp_path):
    with pytest.raises(ValueError, match="budget"):
        runs.Run(tmp_path / "run", untrained, {}, **budget)
    assert not (tmp_path / "run").exists()


def test_a_spent_budget_trains_nothing_more(whole, make_swapper, facesets):
    again = start(whole.folder, make_swapper())
    started = time.monotonic()
    go_on(again, facesets)
    assert time.monotonic() - started < 1
    assert again.step == 24 and again.history == whole.history
    for a, b in zip(
        again.trained.get_weights(), whole.trained.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_larger_budget_goes_on(whole, make_swapper, facesets, tmp_path):
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    run = start(folder, make_swapper(), steps=28)
    go_on(run, facesets)
    assert run.step == runs.read(folder)["step"] == 28
    assert [entry["step"] for entry in run.history] == list(range(4, 29, EVERY))


def test_the_learning_rate_falls_at_the_end(sitting):
    """Over the last 40 % of the budget, to a twentieth at the least."""
    _, rates, _ = sitting
    share = np.arange(24) / 24
    expected = 2e-3 * np.clip((1 - share) / 0.4, 0.05, 1)
    np.testing.assert_allclose(rates, expected, rtol=1e-4)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing holds no checkpoint"):
        runs.read(tmp_path / "nothing")
    assert runs.latest(tmp_path / "nothing") is None


def test_previews_are_drawn_while_training_goes_on(sitting):
    _, _, drawn = sitting
    assert drawn == [*range(4, 25, EVERY), 24]
