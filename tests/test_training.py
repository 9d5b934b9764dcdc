import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import keras
import numpy as np
import pytest

from deepfakery import presets, training
from deepfakery.batches import batches
from deepfakery.faces.faceset import FaceSet
from deepfakery.notebook import watching
from deepfakery.swapper import FaceSwapper

STEPS, EVERY = 40, 4


class StopAt(keras.callbacks.Callback):
    """The stop button of a notebook, pressed after a step."""

    def __init__(self, run, step):
        super().__init__()
        self.run, self.stop = run, step

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == self.stop:
            raise KeyboardInterrupt


def start(folder, swapper, steps=STEPS, **options):
    options = {"every": EVERY, **options}
    return training.Run(folder, swapper, swapper.config, steps=steps, **options)


def go_on(run, facesets, callbacks=()):
    run.fit(partial(batches, facesets, run.trained.size, batch=4), callbacks)


def unseen(facesets):
    """A batch that no run of these tests comes to."""
    return next(batches(facesets, 32, batch=4, start=10**6))


def assert_equal(one, other):
    """In weights and in everything that the optimizer remembers."""
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations)
    pairs = [(one.get_weights(), other.get_weights())]
    kept = [
        [keras.ops.convert_to_numpy(v) for v in m.optimizer.variables]
        for m in (one, other)
    ]
    for a, b in (*pairs, kept):
        assert len(a) == len(b) > 1
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def listed(folder):
    """What lies in a run folder, but for the file that is locked while it is used."""
    return sorted(f.name for f in folder.iterdir() if f.name != ".lock")


def timeless(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


class Note(keras.callbacks.Callback):
    """Writes down the learning rate of every step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.fixture(scope="module")
def sitting(make_swapper, facesets, tmp_path_factory):
    """40 steps in one go: the run, its learning rates, when previews were drawn."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    held_out = unseen(facesets)
    run = start(folder, make_swapper(), save_seconds=0, held_out=held_out)
    note, drawn = Note(), []

    def draw():
        drawn.append(run.step)
        return f"a picture at step {run.step}"

    go_on(run, facesets, [note, watching.Preview(draw, seconds=0)])
    return run, note.rates, drawn


@pytest.fixture(scope="module")
def whole(sitting):
    return sitting[0]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="others do not allocate all of it"
)
def test_a_batch_that_does_not_fit_is_answered_by_a_smaller_one(
    tiny, facesets, tmp_path
):
    class Hungry(FaceSwapper):
        def call(self, faces):
            made = super().call(faces)
            one = keras.ops.reshape(made["hopper"][:1, :1, :1, 0], (1, 1))
            huge = keras.ops.broadcast_to(one, (2**23, 2**23))  # 256 TB
            return {**made, "hopper": made["hopper"] + keras.ops.max(huge)}

    swapper = Hungry(facesets, tiny)
    swapper.compile()
    run = training.Run(tmp_path / "run", swapper, steps=2)
    with pytest.raises(MemoryError, match=r"batch of 6 .*fit\(…, batch=3\)"):
        run.fit(facesets, batch=6)
    assert training.latest(run.folder) is None


def test_a_run_writes_down_how_it_went(whole):
    assert whole.step == STEPS and whole.seconds > 0
    assert [entry["step"] for entry in whole.history] == list(range(4, 41, EVERY))
    assert all(np.isfinite(entry["loss"]) for entry in whole.history)
    said = training.read(whole.folder)
    assert said["step"] == STEPS and said["history"] == whole.history
    made = {**whole.trained.config, **whole.trained.objective}
    assert said["config"] == json.loads(json.dumps(made))
    newest = training.latest(whole.folder)
    assert {f.name for f in newest.iterdir()} == {"model.weights.h5", "run.json"}


def test_a_stopped_run_goes_on_exactly(whole, make_swapper, facesets, tmp_path, capsys):
    """Even without a held-out batch: looking at it changes nothing."""
    first = start(tmp_path / "run", make_swapper())
    with pytest.raises(KeyboardInterrupt):  # and whatever follows it waits
        go_on(first, facesets, [StopAt(first, 10)])  # in the middle of an entry
    assert "Stopped at step 10, saved" in capsys.readouterr().out
    second = start(tmp_path / "run", make_swapper())
    assert second.step == 10
    assert_equal(second.trained, first.trained)
    go_on(second, facesets)
    assert second.step == STEPS
    assert_equal(second.trained, whole.trained)
    assert [e["step"] for e in second.history] == [e["step"] for e in whole.history]


KILLED = """
import os, signal, sys
import keras
from deepfakery import presets, training
from deepfakery.batches import batches
from deepfakery.faces.faceset import FaceSet
from deepfakery.swapper import FaceSwapper

folder, preset, *people = sys.argv[1:]
facesets = {path.split("/")[-1]: FaceSet.load(path) for path in people}
keras.utils.set_random_seed(0)
swapper = FaceSwapper(facesets, eval(preset))
swapper.compile(keras.optimizers.Adam(2e-3))
held_out = next(batches(facesets, swapper.size, batch=4, start=10**6))
options = {"steps": 40, "every": 4, "save_seconds": 0, "held_out": held_out}
run = training.Run(folder, swapper, swapper.config, **options)
replace = os.replace


def killed_at_24(aside, final):
    if str(final).endswith("24"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(aside, final)


os.replace = killed_at_24
run.fit(lambda start: batches(facesets, swapper.size, batch=4, start=start))
"""


def test_a_run_killed_while_it_saves_goes_on_exactly(
    whole, make_swapper, tiny, facesets, tmp_path
):
    """20 steps, kill -9 in the middle of saving, 20 steps: the same as 40."""
    people = [str(f.folder) for f in facesets.values()]
    script = [sys.executable, "-c", KILLED, str(tmp_path / "run"), repr(tiny), *people]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    torn = tmp_path / "run" / ".checkpoint-00000024.part"
    assert (torn / "model.weights.h5").exists()
    run = start(tmp_path / "run", make_swapper(), held_out=unseen(facesets))
    assert run.step == 20 and not torn.exists()  # the last whole checkpoint
    go_on(run, facesets)
    assert_equal(run.trained, whole.trained)
    assert timeless(run.history) == timeless(whole.history)


def test_two_checkpoints_are_kept(whole):
    kept = listed(whole.folder)
    assert kept == ["checkpoint-00000036", "checkpoint-00000040"]
    assert training.latest(whole.folder).name == kept[-1]


def test_a_torn_checkpoint_is_cleared_away(whole, make_swapper, tmp_path):
    torn = tmp_path / "run" / ".checkpoint-00000099.part"
    torn.mkdir(parents=True)
    (torn / "model.weights.h5").write_bytes(b"half")
    assert training.latest(tmp_path / "run") is None
    run = start(tmp_path / "run", make_swapper())
    assert run.step == 0 and not torn.exists()


def test_a_run_with_another_configuration_is_refused(whole, make_swapper, tmp_path):
    swapper = make_swapper()
    before = swapper.get_weights()
    other = {**swapper.config, "seed": 1}
    with pytest.raises(ValueError, match="seed=None, not 1") as caught:
        training.Run(whole.folder, swapper, other, steps=24)
    assert str(whole.folder) in str(caught.value)
    other = {"preset": {**swapper.preset, "size": 64}}
    with pytest.raises(ValueError, match="preset.size=32, not 64"):
        training.Run(whole.folder, swapper, other, steps=24)
    swapper.compile(keras.optimizers.Adam(2e-3), dssim=0.25)
    with pytest.raises(ValueError, match="dssim=0.5, not 0.25"):
        training.Run(whole.folder, swapper, steps=24)
    for a, b in zip(before, swapper.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert training.read(whole.folder)["step"] == STEPS


@pytest.mark.usefixtures("eager")
def test_face_sets_are_made_into_batches_and_written_down(
    make_swapper, facesets, tmp_path
):
    def run(steps, faces=facesets, **settings):
        options = {"steps": steps, "every": 2, "decay": 0}
        made = training.Run(tmp_path / "run", make_swapper(), **options)
        made.fit(faces, **settings)
        return made

    first = run(2, seed=3)
    said = training.read(first.folder)["config"]
    assert said["faces"] == {n: found.fingerprint() for n, found in facesets.items()}
    assert (said["batch"], said["seed"], said["warp"]) == (8, 3, 0.07)
    whole, by_hand = run(4, seed=3), make_swapper()
    assert whole.step == 4
    other = training.Run(tmp_path / "by hand", by_hand, steps=4, every=2, decay=0)
    other.fit(lambda start: batches(facesets, by_hand.size, seed=3, start=start))
    by_hand.adapt(facesets)
    assert_equal(whole.trained, by_hand)
    with pytest.raises(ValueError, match="seed=3, not 4"):
        run(6, seed=4)
    fewer = {n: FaceSet(f.folder, f.records[1:]) for n, f in facesets.items()}
    with pytest.raises(ValueError, match="faces.*put the faces back"):
        run(6, fewer, seed=3)
    assert training.read(first.folder)["step"] == 4


@pytest.mark.usefixtures("eager")
def test_what_the_decoders_know_is_learned_at_the_end_and_forgotten_on_the_way(
    make_swapper, facesets, tmp_path
):
    class Look(keras.callbacks.Callback):
        seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append([float(b.adapted) for b in swapper.bounds.values()])

    def known(swapper):
        return [float(b.adapted) for b in swapper.bounds.values()]

    for steps in (2, 4):  # the second one goes on where the first has learned them
        swapper = make_swapper()
        run = training.Run(tmp_path / "run", swapper, steps=steps, every=2, decay=0)
        run.fit(facesets, [Look()])
        assert known(swapper) == [1, 1]
        saved = FaceSwapper.from_preset(tmp_path / "run")
        for a, b in zip(swapper.get_weights(), saved.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(Look.seen) == 4 and not np.any(Look.seen)
    # Whoever feeds it: batches of one's own move the latents just as much.
    made = partial(batches, facesets, swapper.size, batch=4)
    swapper.fit(made(), steps_per_epoch=1, shuffle=False, verbose=0)
    assert known(swapper) == [0, 0]
    # Stopped by hand, it can be used as well.
    run = training.Run(tmp_path / "run", swapper, steps=20, every=2, decay=0)
    with pytest.raises(KeyboardInterrupt):
        run.fit(facesets, [StopAt(run, 5)])
    assert known(FaceSwapper.from_preset(tmp_path / "run")) == [1, 1]


@pytest.mark.usefixtures("eager")
def test_held_out_face_sets_are_looked_at(make_swapper, facesets, tmp_path):
    swapper = make_swapper()
    watched = {"held_out": facesets, "known": facesets}
    run = training.Run(tmp_path / "run", swapper, steps=4, every=2, **watched)
    run.fit(facesets)
    last = run.history[-1]
    assert last["held_out_loss"] == pytest.approx(last["known_loss"])
    assert last["held_out_loss"] != last["loss"]


@pytest.mark.usefixtures("eager")
def test_minutes_are_a_budget_too(make_swapper, facesets, tmp_path):
    swapper = make_swapper()
    run = training.Run(tmp_path / "run", swapper, {}, minutes=2 / 60, every=2)
    go_on(run, facesets)
    assert run.step > 0 and run.seconds >= 2
    again = training.Run(tmp_path / "run", make_swapper(), {}, minutes=2 / 60)
    assert again.seconds == pytest.approx(run.seconds, abs=0.01)
    made = again.step
    go_on(again, facesets)
    assert again.step == made


@pytest.mark.parametrize(
    "budget", [{}, {"minutes": 0}, {"steps": 0}, {"minutes": -1}, {"steps": -5}]
)
def test_a_run_without_a_budget_is_refused(budget, untrained, tmp_path):
    with pytest.raises(ValueError, match="budget"):
        training.Run(tmp_path / "run", untrained, {}, **budget)
    assert not (tmp_path / "run").exists()


def test_a_spent_budget_trains_nothing_more(whole, make_swapper, facesets, capsys):
    again = start(whole.folder, make_swapper())
    go_on(again, facesets)
    assert "Nothing to train at step 40: its budget is spent" in capsys.readouterr().out
    assert again.step == STEPS and again.history == whole.history
    for a, b in zip(
        again.trained.get_weights(), whole.trained.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("eager")
def test_a_larger_budget_goes_on(whole, make_swapper, facesets, tmp_path):
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    run = start(folder, make_swapper(), steps=44)
    go_on(run, facesets)
    assert run.step == training.read(folder)["step"] == 44
    assert [entry["step"] for entry in run.history] == list(range(4, 45, EVERY))


def staged(folder, facesets, make_swapper, steps):
    """One run after the other, each from where the one before it stopped."""
    swapper, after = make_swapper(), None
    for name, train in (("first", "autoencoder"), ("second", "both")):
        swapper.compile(train=train)
        config = {**swapper.config, **swapper.objective}
        run = training.Run(folder / name, swapper, config, steps=steps, after=after)
        go_on(run, facesets)
        after = run.folder
    return run


@pytest.mark.usefixtures("eager")
def test_a_run_that_another_goes_on_from_is_over(
    make_swapper, facesets, tmp_path, capsys
):
    short = staged(tmp_path, facesets, make_swapper, 2)
    first = training.read(tmp_path / "first")["sha256"]
    assert short.config["after"] == f"first {first}"
    capsys.readouterr()
    # More is trained where the training stopped, and what came before stays.
    longer = staged(tmp_path, facesets, make_swapper, 3)
    said = capsys.readouterr().out
    assert "Nothing to train at step 2: second went on from here" in said
    assert longer.step == 3 and training.read(tmp_path / "first")["sha256"] == first
    # Without its successor it may be trained on.
    shutil.rmtree(tmp_path / "second")
    assert staged(tmp_path, facesets, make_swapper, 3).step == 3
    assert training.read(tmp_path / "first")["step"] == 3


@pytest.mark.usefixtures("eager")
def test_a_later_stage_bears_a_damaged_checkpoint_of_an_earlier(
    make_swapper, facesets, tmp_path
):
    staged(tmp_path, facesets, make_swapper, 2)
    kept = training.read(tmp_path / "second")["sha256"]
    (training.latest(tmp_path / "first") / "model.weights.h5").write_bytes(b"spoiled")
    with pytest.warns(UserWarning, match="first.*is damaged"):
        again = staged(tmp_path, facesets, make_swapper, 2)
    assert again.step == 2 and training.read(tmp_path / "second")["sha256"] == kept


@pytest.mark.usefixtures("eager")
def test_a_run_is_not_laid_over_another_start(make_swapper, facesets, tmp_path):
    staged(tmp_path, facesets, make_swapper, 2)
    shutil.rmtree(tmp_path / "first")
    kept = training.read(tmp_path / "second")["sha256"]
    with pytest.raises(ValueError, match="second did not begin where .*first is now"):
        staged(tmp_path, facesets, make_swapper, 4)
    assert training.read(tmp_path / "second")["sha256"] == kept
    with pytest.raises(FileNotFoundError, match="nowhere holds no checkpoint"):
        start(tmp_path / "third", make_swapper(), after=tmp_path / "nowhere")


@pytest.mark.usefixtures("eager")
def test_a_face_folder_that_shrank_is_named(make_swapper, facesets, tmp_path):
    def run(people):
        config = {"faces": {n: f.fingerprint() for n, f in people.items()}}
        return training.Run(tmp_path / "run", make_swapper(), config, steps=4, every=2)

    go_on(run(facesets), facesets)
    fewer = {**facesets, "hopper": facesets["hopper"].spread(70)}
    with pytest.raises(
        ValueError, match="hopper='72 faces, .*'70 faces, .*put the faces"
    ):
        run(fewer)
    assert run(facesets).step == 4


def test_the_learning_rate_falls_at_the_end(sitting):
    """Over the last 40 % of the budget, entry by entry, to a twentieth at the least."""
    _, rates, _ = sitting
    share = np.arange(STEPS) // EVERY * EVERY / STEPS
    expected = 2e-3 * np.clip((1 - share) / 0.4, 0.05, 1)
    np.testing.assert_allclose(rates, expected, rtol=1e-4)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing holds no checkpoint"):
        training.read(tmp_path / "nothing")
    assert training.latest(tmp_path / "nothing") is None


def test_previews_are_drawn_while_training_goes_on(sitting):
    _, _, drawn = sitting
    assert drawn == [*range(4, 41, EVERY), STEPS]


def test_previews_are_drawn_as_often_as_asked(tmp_path):
    run, drawn = run_of(tmp_path / "run"), []
    preview = watching.Preview(lambda: drawn.append(run.step), steps=10)
    run.fit(sums, [preview])
    assert drawn == [12, 24, 36, 40]  # at the first entry's end after ten steps


# --- any model ----------------------------------------------------------------------
# What follows needs no faces: a small model learns to add.


def adder(optimizer=None, width=16, loss="mse"):
    keras.utils.set_random_seed(0)
    x = keras.Input((8,))
    y = keras.layers.Dense(width, "relu", use_bias=False, name="hidden")(x)
    y = keras.layers.Dense(1, use_bias=False, name="sum")(y)
    model = keras.Model(x, y)
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss=loss, metrics=["mae"])
    return model


def sums(start=0):
    step = start
    while True:
        x = np.random.default_rng(step).normal(size=(16, 8)).astype("float32")
        yield x, x.sum(1, keepdims=True)
        step += 1


def spoiled(step, batch=None, times=1, started=None):
    """`sums` with a batch, of NaN if not given, in place of one; so many times."""
    left = [times]

    def stream(start):
        if started is not None:
            started.append(start)
        for n, (x, y) in enumerate(sums(start), start):
            if n == step and left[0]:
                left[0] -= 1
                yield batch or (x, np.full_like(y, np.nan))
            else:
                yield x, y

    return stream


def run_of(folder, model=None, steps=STEPS, **options):
    options = {"every": EVERY, "save_seconds": 0, **options}
    return training.Run(folder, model or adder(), {}, steps=steps, **options)


def test_every_fifth_entry_knows_the_held_out_error(tmp_path):
    held_out = next(sums(10**6))
    run = run_of(tmp_path / "run", held_out=held_out, steps=48)
    run.fit(sums)
    seen = {e["step"]: e for e in run.history if "held_out_loss" in e}
    assert list(seen) == [20, 40, 48]  # and the last
    for entry in run.history:
        expected = {"step", "seconds", "loss", "mae"}
        if entry["step"] in seen:
            expected |= {"held_out_loss", "held_out_mae"}
        assert entry.keys() == expected
    now = run.trained.evaluate(*held_out, verbose=0, return_dict=True)
    assert seen[48]["held_out_loss"] == pytest.approx(now["loss"], rel=1e-5)
    assert seen[48]["held_out_mae"] == pytest.approx(now["mae"], rel=1e-5)
    assert seen[48]["held_out_loss"] < 0.8 * seen[20]["held_out_loss"]


def test_the_gap_to_known_data_is_of_like_with_like(tmp_path):
    """Looked at in the same way, one batch gives the same error under both names."""
    batch = next(sums(10**6))
    run = run_of(tmp_path / "run", held_out=batch, known=batch)
    run.fit(sums)
    looks = [e for e in run.history if "known_loss" in e]
    assert [e["step"] for e in looks] == [20, 40]
    for entry in looks:
        assert entry["known_loss"] == entry["held_out_loss"]
        assert entry["known_mae"] == entry["held_out_mae"]


def test_looking_at_the_held_out_batch_changes_nothing(tmp_path):
    one = run_of(tmp_path / "one", held_out=next(sums(10**6)))
    other = run_of(tmp_path / "other")
    one.fit(sums)
    other.fit(sums)
    assert_equal(one.trained, other.trained)
    for a, b in zip(one.history, other.history, strict=True):
        assert a["loss"] == b["loss"]


def test_a_run_that_learns_nothing_new_stops(tmp_path, capsys):
    """Also when it is run again; with more patience it goes on."""
    x, y = next(sums(10**6))

    def fit(patience):
        # The more it learns to add, the worse it does where the sum is negated.
        run = run_of(
            tmp_path / "run",
            steps=500,
            save_seconds=9,
            held_out=(x, -y),
            patience=patience,
        )
        run.fit(sums)
        return run.step, capsys.readouterr().out

    step, said = fit(patience=2)
    assert step == 60
    assert "Stopped at step 60: its held-out loss has not improved 2 times" in said
    step, said = fit(patience=2)
    assert step == 60 and "Nothing to train at step 60: its held-out loss" in said
    assert fit(patience=3)[0] == 80


def test_patience_needs_something_to_watch(tmp_path):
    with pytest.raises(ValueError, match="held_out"):
        run_of(tmp_path / "run", patience=2)


def test_a_low_enough_loss_stops_a_run(tmp_path, capsys):
    """Also when it is run again; with a lower threshold it goes on."""

    def fit(threshold):
        run = run_of(tmp_path / "run", steps=5000, save_seconds=9, threshold=threshold)
        run.fit(sums)
        return run.step, run.history[-1]["loss"], capsys.readouterr().out

    step, loss, said = fit(4)
    assert loss < 4 and f"Stopped at step {step}: its loss" in said
    kept = training.read(tmp_path / "run")
    assert kept["step"] == step
    step, _, said = fit(4)
    assert step == kept["step"] and f"Nothing to train at step {step}" in said
    assert training.read(tmp_path / "run") == kept
    step, loss, _ = fit(1)
    assert step > kept["step"] and loss < 1


def test_several_optimizers_go_on_exactly_too(tmp_path):
    def model():
        fast, slow = keras.optimizers.Adam(1e-2), keras.optimizers.SGD(1e-3, 0.9)
        chosen = keras.optimizers.OptimizerMap(fast, {"sum/.*": slow})
        return adder(keras.optimizers.MultiOptimizer(chosen))

    whole = run_of(tmp_path / "whole", model())
    whole.fit(sums)
    first = run_of(tmp_path / "run", model())
    with pytest.raises(KeyboardInterrupt):
        first.fit(sums, [StopAt(first, 18)])
    second = run_of(tmp_path / "run", model())
    assert second.step == 18
    second.fit(sums)
    assert_equal(second.trained, whole.trained)
    rates = [float(o.learning_rate) for o in second.trained.optimizer.optimizers]
    assert sorted(rates) == pytest.approx(
        [1e-3 / 4, 1e-2 / 4]
    )  # 10 % of the budget was left


def test_batches_are_given_as_a_function(tmp_path):
    for given, settings in ((sums(), {}), (sums, {"seed": 1})):
        with pytest.raises(TypeError, match="a function of `start` alone"):
            run_of(tmp_path / "run").fit(given, **settings)


def test_the_bar_says_how_long_it_takes(tmp_path, capsys):
    run_of(tmp_path / "run", held_out=next(sums(10**6))).fit(sums)
    last = capsys.readouterr().err.strip().split("\r")[-1]
    assert "40/40 step, 00:00 left, step 40, " in last
    assert "steps/s, loss " in last and ", held out " in last


# --- what can go wrong --------------------------------------------------------------


def test_a_broken_loss_goes_back_with_half_the_rate(tmp_path, capsys):
    started = []
    run = run_of(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.fit(sums, [StopAt(run, 14)])
    calm = shutil.copytree(tmp_path / "run", tmp_path / "calm")
    run = run_of(tmp_path / "run", save_seconds=60)
    run.fit(spoiled(18, started=started))
    # To finish the entry, to go on; and both once more from the checkpoint.
    assert started == [14, 16, 14, 16]
    said = capsys.readouterr().out
    assert "no longer a number at step 20: back to step 14, with 0.5 of" in said
    assert [entry["step"] for entry in run.history] == list(range(4, 41, EVERY))
    state = training.read(tmp_path / "run")
    assert state["rate"] == 0.5 and state["rollbacks"] == []  # it got over it
    # From there it is the run that was started with half the rate.
    other = run_of(calm, adder(keras.optimizers.Adam(5e-3)))
    other.fit(sums)
    assert_equal(run.trained, other.trained)


def test_a_run_that_breaks_at_once_starts_again(tmp_path, capsys):
    run = run_of(tmp_path / "run")
    run.fit(spoiled(0, times=2))  # once to trace, once to train
    assert "at step 4: back to step 0" in capsys.readouterr().out
    assert run.step == STEPS


def test_half_the_rate_stays_half_when_resumed(tmp_path):
    run, note = run_of(tmp_path / "run"), Note()
    with pytest.raises(KeyboardInterrupt):
        run.fit(spoiled(13), [StopAt(run, 15)])  # before it is seen
    assert training.read(tmp_path / "run")["rate"] == 0.5
    run = run_of(tmp_path / "run")
    assert run.step == 12
    run.fit(sums, [note])
    assert note.rates[0] == pytest.approx(5e-3)


def root_error(y, y_pred):
    # Its slope at no error at all is not a number.
    return keras.ops.mean(keras.ops.sqrt(keras.ops.abs(y - y_pred)))


def test_broken_weights_are_never_written(tmp_path, capsys):
    """Though the loss of the step that broke them was perfect: 0."""
    nothing = np.zeros((16, 8), "float32"), np.zeros((16, 1), "float32")
    run = run_of(tmp_path / "run", adder(loss=root_error))
    run.fit(spoiled(15, nothing))  # the last step of an entry
    assert "no longer a number at step 16: back to step 12" in capsys.readouterr().out
    assert run.step == STEPS
    model = adder(loss=root_error)
    assert training.load(tmp_path / "run", model)["rate"] == 0.5
    for weight in (*model.get_weights(), *model.optimizer.variables):
        assert np.isfinite(keras.ops.convert_to_numpy(weight)).all()


def test_a_loss_that_breaks_again_and_again_ends_the_run(tmp_path):
    run = run_of(tmp_path / "run")
    with pytest.raises(ValueError, match="step 16, after 5 rollbacks") as caught:
        run.fit(spoiled(13, times=99))
    assert "checkpoint-00000012 is kept" in str(caught.value)
    state = training.read(tmp_path / "run")
    assert state["step"] == 12 and state["rate"] == 1 / 32
    assert state["rollbacks"] == [16] * 5
    assert all(math.isfinite(entry["loss"]) for entry in state["history"])
    # Mended, it goes on.
    again = run_of(tmp_path / "run")
    again.fit(sums)
    assert again.step == STEPS


@pytest.fixture
def done(tmp_path):
    """The folder of a run of 40 steps, its checkpoints 40 and 36."""
    run_of(tmp_path / "run").fit(sums)
    return tmp_path / "run"


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.weights.h5", flip),
        ("model.weights.h5", cut),
        ("model.weights.h5", os.remove),
        ("run.json", cut),
        ("run.json", os.remove),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(done, name, damage):
    damage(done / "checkpoint-00000040" / name)
    with pytest.warns(UserWarning, match="00000040 is damaged.*00000036 is used"):
        assert training.load(done, adder())["step"] == 36
    with pytest.warns(UserWarning, match="00000036 is used"):
        run = run_of(done)
    run.fit(sums)
    kept = sorted(f.name for f in done.iterdir())
    assert kept == ["checkpoint-00000036", "checkpoint-00000040"]
    assert training.load(done, adder())["step"] == STEPS


def test_two_damaged_checkpoints_are_named(done):
    for name in ("checkpoint-00000036", "checkpoint-00000040"):
        cut(done / name / "model.weights.h5")
    before = {f: f.stat().st_mtime_ns for f in done.rglob("*")}
    for use in (training.read, run_of, lambda folder: training.load(folder, adder())):
        with pytest.raises(ValueError, match="holds no whole checkpoint") as caught:
            use(done)
        assert "00000036 is damaged" in str(caught.value)
        assert "00000040 is damaged" in str(caught.value)
        assert "Nothing was deleted" in str(caught.value)
    assert {f: f.stat().st_mtime_ns for f in done.rglob("*")} == before


def deeper():
    x = keras.Input((8,))
    y = keras.layers.Dense(16, use_bias=False, name="hidden")(x)
    y = keras.layers.Dense(1, use_bias=False, name="sum")(y)
    return keras.Model(x, keras.layers.Dense(1)(y))


@pytest.mark.parametrize("model", [partial(adder, width=17), deeper])
def test_weights_that_do_not_fit_are_named(done, model):
    with pytest.raises(ValueError, match=r"40/model\.weights\.h5 does not fit"):
        training.load(done, model())


@contextmanager
def full_disk():
    """No file can grow beyond 8 kB: what a full disk does, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class FullFrom(keras.callbacks.Callback):
    """The disk fills up at a step, and is empty again at another."""

    def __init__(self, run, full, empty):
        super().__init__()
        self.run, self.full, self.empty, self.disk = run, full, empty, full_disk()

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == self.full:
            self.disk.__enter__()
        if self.run.step == self.empty:
            self.disk.__exit__(None, None, None)


def test_a_full_disk_costs_a_checkpoint_not_the_run(tmp_path):
    run, calm = run_of(tmp_path / "run"), run_of(tmp_path / "calm")
    with pytest.warns(UserWarning) as caught:
        run.fit(sums, [FullFrom(run, 14, 23)])
    said = [str(w.message) for w in caught if "could not be saved" in str(w.message)]
    assert len(said) == 2  # at 16 and 20
    assert str(tmp_path / "run") in said[0] and "checkpoint-00000012 is kept" in said[1]
    calm.fit(sums)
    assert_equal(run.trained, calm.trained)
    assert training.load(tmp_path / "run", adder())["step"] == STEPS


def test_a_disk_that_is_full_at_the_end_is_an_error(tmp_path):
    run = run_of(tmp_path / "run")
    full = FullFrom(run, 38, None)
    try:
        with pytest.raises(OSError, match="Step 40 could not be saved") as caught:
            run.fit(sums, [full])
    finally:
        full.disk.__exit__(None, None, None)
    assert "checkpoint-00000036 is kept" in str(caught.value)
    left = listed(tmp_path / "run")
    assert left == ["checkpoint-00000032", "checkpoint-00000036"]
    again = run_of(tmp_path / "run")
    assert again.step == 36
    again.fit(sums)
    assert training.read(tmp_path / "run")["step"] == STEPS


def test_a_disk_that_is_full_at_the_start_is_an_error_at_once(tmp_path):
    run = run_of(tmp_path / "run")
    with full_disk(), pytest.raises(OSError, match="Step 0 could not be saved"):
        run.fit(sums)
    assert run.step == 0 and listed(tmp_path / "run") == []


# --- one writer a folder ------------------------------------------------------------


class Meanwhile(keras.callbacks.Callback):
    """Does something after a step."""

    def __init__(self, run, step, work):
        super().__init__()
        self.run, self.at, self.work = run, step, work

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == self.at:
            self.work()


def test_nobody_else_trains_in_a_folder_meanwhile(tmp_path):
    first, early = run_of(tmp_path / "run"), run_of(tmp_path / "run")

    def second():
        torn = tmp_path / "run" / ".checkpoint-00000099.part"
        torn.mkdir()
        for work in (lambda: run_of(tmp_path / "run"), lambda: early.fit(sums)):
            with pytest.raises(BlockingIOError, match="run is in use: .*trains"):
                work()
        assert torn.exists()  # it may be half of what the first one saves

    first.fit(sums, [Meanwhile(first, 10, second)])
    kept = training.read(tmp_path / "run")
    assert kept["step"] == STEPS
    # What was made before knows nothing of it, and must not lay itself over it.
    with pytest.raises(ValueError, match="holds checkpoint-00000040, .*Make the"):
        early.fit(sums)
    assert training.read(tmp_path / "run") == kept
    assert run_of(tmp_path / "run").step == STEPS  # and nothing is left locked


def test_nobody_goes_on_from_a_run_that_is_not_over(tmp_path):
    first = run_of(tmp_path / "first")

    def second():
        after = run_of(tmp_path / "second", after=tmp_path / "first")
        with pytest.raises(BlockingIOError, match="first is in use"):
            after.fit(sums)

    first.fit(sums, [Meanwhile(first, 10, second)])


def test_a_copy_of_a_checkpoint_stays(tmp_path):
    run = run_of(tmp_path / "run", steps=8)
    run.fit(sums)
    copy = tmp_path / "run" / "checkpoint-best"
    shutil.copytree(training.latest(tmp_path / "run"), copy)
    run_of(tmp_path / "run").fit(sums)
    assert (copy / "run.json").exists() and training.read(tmp_path / "run")[
        "step"
    ] == STEPS


# --- what comes from elsewhere ------------------------------------------------------


def test_what_says_most_of_a_difference_comes_first(tmp_path):
    def config(preset, **more):
        return {"base": "4672" * 16, "preset": presets.PRESETS[preset], **more}

    training.Run(tmp_path / "run", adder(), config("light", seed=0), steps=4).fit(sums)
    other = {**config("hd", seed=1), "base": None}
    with pytest.raises(ValueError) as caught:
        training.Run(tmp_path / "run", adder(), other, steps=4)
    assert (
        "run was trained with preset='light', not 'hd'; seed=0, not 1; "
        "base='46724672…', not None. To go on, choose"
    ) in str(caught.value)


NOTES = {
    "step": [None, "4", -1, 1.5, math.nan, True],
    "seconds": [None, "1", math.nan, math.inf, -1, 10**400],
    "config": [None, [], "light"],
    "history": [None, {}, [3], [{"step": 4}], [{"step": 1, "seconds": 1, "loss": "x"}]],
    "rate": [None, "half", math.nan],
    "rollbacks": [7, ["x"]],
    "sha256": [5, None],
}


@pytest.mark.parametrize("key", NOTES)
def test_a_checkpoint_that_says_nonsense_is_named(key, done):
    shutil.rmtree(done / "checkpoint-00000036")
    note = done / "checkpoint-00000040" / "run.json"
    state = json.loads(note.read_text())
    for wrong in NOTES[key]:
        note.write_text(json.dumps(state | {key: wrong}))
        with pytest.raises(ValueError, match="40 is damaged .run.json"):
            run_of(done)
    for text in ("[]", "{", "[" * 100_000, "\xff"):
        note.write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match="40 is damaged"):
            training.read(done)


def test_a_run_that_goes_on_lies_beside(tmp_path):
    run_of(tmp_path / "a" / "first", steps=4).fit(sums)
    with pytest.raises(ValueError, match="second goes on from .*first and must lie"):
        run_of(tmp_path / "b" / "second", after=tmp_path / "a" / "first")


# --- TensorBoard --------------------------------------------------------------------


def test_tensorboard_is_shown_every_point_once(tmp_path):
    """Also where a run was killed after points that no checkpoint remembers."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing import event_accumulator as reader

    class Lost(Exception):
        pass

    class Fail(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if len(first.history) == 7:
                raise Lost

    held_out = next(sums(10**6))
    first = run_of(tmp_path / "run", held_out=held_out, save_seconds=3600)
    with pytest.raises(Lost):
        first.fit(spoiled(13), [watching.TensorBoard(first), Fail()])
    second = run_of(tmp_path / "run", held_out=held_out)
    assert second.step == 0
    second.fit(spoiled(13), [watching.TensorBoard(second)])
    done = run_of(tmp_path / "run", held_out=held_out)
    done.fit(sums, [watching.TensorBoard(done)])  # nothing more
    shown = reader.EventAccumulator(str(tmp_path / "run/logs")).Reload()
    assert set(shown.Tags()["scalars"]) == {
        "loss",
        "mae",
        "held_out_loss",
        "held_out_mae",
    }
    for tag in ("loss", "held_out_mae"):
        points = [(p.step, p.value) for p in shown.Scalars(tag)]
        kept = [(e["step"], e[tag]) for e in second.history if tag in e]
        np.testing.assert_allclose(points, kept, rtol=1e-6)


def test_curves_that_cannot_be_written_do_not_end_the_training(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.summary.writer import event_file_writer as writer

    def full(self, data):
        raise OSError("No space left on device")

    run = run_of(tmp_path / "run")
    monkeypatch.setattr(writer._AsyncWriter, "write", full)
    with pytest.warns(UserWarning, match="logs could not be written.*goes on without"):
        run.fit(sums, [watching.TensorBoard(run)])
    assert run.step == training.read(tmp_path / "run")["step"] == run.steps
