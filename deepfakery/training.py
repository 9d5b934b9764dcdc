"""A training within a budget: its folder holds it, and it goes on where it stopped."""

import inspect
import itertools
import json
import math
import os
import re
import shutil
import time
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import keras
from keras import ops
from tqdm import tqdm

import deepfakery
from deepfakery import batches, checkpoints, networks
from deepfakery.checkpoints import latest, load, read
from deepfakery.media import records, workers

__all__ = ["Run", "latest", "load", "read"]

#: Entries of the history between two looks at the held-out batch: 0.3 % of a training.
LOOK = 5

#: A loss that breaks this often without progress is not mended by smaller steps.
ROLLBACKS = 5

#: By what an error says that memory is full: TensorFlow, JAX, PyTorch.
MEMORY = "(?i)ResourceExhausted|RESOURCE_EXHAUSTED|out of memory|can't allocate memory"

#: Settings of `batches.batches` that `Run.fit` takes, and their defaults.
SETTINGS = {
    name: given.default
    for name, given in inspect.signature(batches.batches).parameters.items()
    if given.default is not given.empty and name != "start"
}


class Run(keras.callbacks.Callback):
    """Train a compiled model within a budget, saving and resuming on the way.

    A loss or weight that is no longer a number sends the run back to its last
    checkpoint, with half the learning rate. A full disk costs the run a checkpoint,
    not its life: the next is tried when it is due.

    Args:
        folder: The run folder. If it holds a checkpoint, the model takes it over.
        model: A compiled `keras.Model`.
        config: What else the run is made with, plain JSON, beside the model's own
            `config` and `objective`. A checkpoint made with another configuration is
            refused.
        minutes, steps: Stop after this much training, all sittings together.
        threshold: Stop when the loss of an entry of the history is below this.
        after: Folder of the run that this one goes on from, beside this one's; the
            model must be as that run left it. From this one's first step on, that run
            trains no further: what it learned would never reach this one.
        held_out: {identity: `FaceSet`} that is never trained on, or one batch (x, y).
            Its loss and metrics enter every fifth entry of the history, as
            `held_out_loss` and so on.
        known: The same of what is trained on, as `known_loss` and so on. By how much
            they are better was learned by heart.
        patience: Stop when `held_out_loss` has not improved this many times in a row.
        every: Steps between entries of the history, counted from step 0.
        save_seconds: Seconds between checkpoints.
        decay: Share of the budget, at its end, over which the learning rate falls
            linearly to a twentieth, entry by entry. 0 where another run goes on from
            this one. With a budget in minutes it follows the clock: only one in steps
            repeats exactly when it is resumed.

    Attributes:
        step, seconds: Steps made, and seconds trained, so far.
        history: One dict per `every` steps: step, seconds and the model's metrics.

    Raises:
        BlockingIOError: Somebody trains in that folder now.
        FileNotFoundError: `after` holds no checkpoint.
        ValueError: There is no budget, the folder belongs to another run, or its
            checkpoints are damaged.

    Example:
        run = Run("data/output/pair", swapper, minutes=3)
        run.fit({"collins": faces_of_collins, "hopper": faces_of_hopper})
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: keras.Model,
        config: dict | None = None,
        *,
        minutes: float | None = None,
        steps: int | None = None,
        threshold: float | None = None,
        after: str | os.PathLike | None = None,
        held_out: dict | tuple | None = None,
        known: dict | tuple | None = None,
        patience: int | None = None,
        every: int = 20,
        save_seconds: float = 20,
        decay: float = 0.4,
    ):
        super().__init__()
        budget = [given for given in (minutes, steps) if given is not None]
        if not budget or min(budget) <= 0:
            raise ValueError("Give Run a budget above 0: minutes, steps or both.")
        if patience is not None and (held_out is None or patience < 1):
            raise ValueError("patience, 1 or more, needs a held_out batch to watch.")
        if deepfakery.SMOKE:
            minutes, steps, every = None, min(steps or 6, 6), 2
            model.run_eagerly = True  # tracing a graph takes longer than these steps
        self.folder = Path(folder)
        made = getattr(model, "config", {}) | getattr(model, "objective", {})
        config = made | (config or {})
        self._after = None if after is None else Path(after).resolve()
        if after is not None:
            config = {**config, "after": self._start()}
        self.config = json.loads(json.dumps(config))
        self.minutes, self.steps, self.threshold = minutes, steps, threshold
        self.patience = patience
        self.watched = {
            name: _batch_of(given, model) if isinstance(given, dict) else given
            for name, given in {"held_out": held_out, "known": known}.items()
            if given is not None
        }
        self.every, self.save_seconds, self.decay = every, save_seconds, decay
        self.step, self.seconds, self.history = 0, 0.0, []
        self.trained = model
        with networks.devices_of(model):
            model.optimizer.build(model.trainable_variables)
        # A MultiOptimizer has several, each with a rate of its own.
        self._optimizers = getattr(model.optimizer, "optimizers", [model.optimizer])
        self._rates = [_number(o.learning_rate) for o in self._optimizers]
        self._kept = self._broken = None  # checkpoint; step
        self._made = {}  # the configuration that a checkpoint was made with
        self._scale, self._rollbacks = 1.0, []
        self._resume()

    def fit(self, faces, callbacks=(), **settings):
        """`model.fit` until the budget is spent or there is another reason to stop.

        Args:
            faces: {identity: `FaceSet`}. Or, for a model that is no face swapper, a
                function: `faces(start=n)` gives an endless iterator over batches that
                begins at number n. A rollback calls it again.
            callbacks: More Keras callbacks, such as a `Preview`.
            **settings: Of `batches.batches`, but for `start`.

        Raises:
            KeyboardInterrupt: It was stopped by hand; what was learned is saved.
            MemoryError: A step did not fit into memory.
            OSError: The first or the last checkpoint could not be written.
            ValueError: The loss broke again and again; somebody else trained in the
                folder since; or it was trained with other faces or settings.
        """
        self._facesets = faces if isinstance(faces, dict) else None
        if self._facesets:
            faces = self._batches_of(faces, settings)
        elif not callable(faces) or settings:
            raise TypeError(
                "Give fit {identity: FaceSet}, or a function of `start` alone that "
                "gives batches."
            )
        reason = self._reason_to_stop()
        if others := checkpoints.followers(self.folder):
            names = " and ".join(others)
            reason = reason or f"{names} went on from here, and more would not reach it"
        if reason:
            print(f"Nothing to train at step {self.step}: {reason}.")
            for callback in callbacks:  # a preview shows how it ended
                callback.on_train_end()
            return
        if self._after:  # and is over, or this says that somebody trains there
            with records.one_writer(self._after, "is where another run begins"):
                pass
        with records.one_writer(self.folder, "trains"):
            if self._newest != (there := latest(self.folder)) and there:
                raise ValueError(
                    f"{self.folder} holds {there.name}, which is not of this run: it "
                    "was trained elsewhere meanwhile. Make the Run again to go on "
                    "from there."
                )
            try:
                self._train(faces, callbacks)
            except Exception as error:
                batch = self.config.get("batch")
                if not batch or not re.search(MEMORY, f"{error!r} {error}"):
                    raise
                raise MemoryError(
                    f"A batch of {batch} faces of each identity does not fit into "
                    f"memory. Train with fit(…, batch={max(1, batch // 2)})."
                ) from error

    def _start(self) -> str:
        """Which state of which run this one goes on from."""
        if self._after.parent != self.folder.resolve().parent:
            raise ValueError(
                f"{self.folder} goes on from {self._after} and must lie beside it, so "
                "that the two can be moved together; choose such a folder."
            )
        name = self._after.name
        states = {f"{name} {note['sha256']}" for note in checkpoints.notes(self._after)}
        for note in checkpoints.notes(self.folder):  # the state may be damaged since
            if note["config"].get("after") in states:
                return note["config"]["after"]
        return f"{name} {read(self._after)['sha256']}"

    def _batches_of(self, faces, settings):
        """A function that gives batches; what they are made of enters the config."""
        if unknown := settings.keys() - SETTINGS.keys():
            raise TypeError(
                f"There is no {sorted(unknown)}; choose from {[*SETTINGS]}."
            )
        settings = SETTINGS | settings
        self.config |= {
            "faces": {name: found.fingerprint() for name, found in faces.items()},
            **settings,
        }
        if self._made:
            self._compare(self._made)
        return partial(batches.batches, faces, self.trained.size, **settings)

    def _train(self, make, callbacks):
        feed = iter(make(start=self.step))
        first = next(feed)
        self._trace(first)
        feed = itertools.chain([first], feed)
        if self._kept is None:
            # Something to go back to; and a full disk shows now, not in an hour.
            self._save(must=True)
        stopped = False
        with self._open_bar() as self._bar:
            while not (stopped or self._reason_to_stop()):
                step = self.step
                made = int(_number(self.trained.optimizer.iterations))
                feed = feed or make(start=step)
                try:
                    self._fit(feed, callbacks)
                except KeyboardInterrupt:
                    # The stop button of a notebook: keep what was learned.
                    made = int(_number(self.trained.optimizer.iterations)) - made
                    self.step, stopped = step + made, True
                feed = None  # wherever that ended, the next begins afresh
                if self._broken is None and (stopped or self._reason_to_stop()):
                    self._save(must=True)
                if self._broken is not None:
                    self._roll_back()
        if stopped:
            print(f"Stopped at step {self.step}, saved. Run the cell again to go on.")
            # What waits for the end of this training must not begin.
            raise KeyboardInterrupt
        print(f"Stopped at step {self.step}: {self._reason_to_stop()}.")

    def _fit(self, feed, callbacks):
        # After the stop button a first, shorter epoch ends where entries end.
        missing = -self.step % self.every
        self.trained.fit(
            (batch for batch in feed),
            steps_per_epoch=missing or self.every,
            epochs=1 if missing else 10**9,
            shuffle=False,
            verbose=0,
            callbacks=[self, *callbacks],
        )

    def on_train_begin(self, logs=None):
        self._saved = self._started = time.monotonic()
        self._before, self._first = self.seconds, self.step

    def on_epoch_begin(self, epoch, logs=None):
        _keep_memory()
        # Here, for between steps JAX does not take over what is set; and from where the
        # entry begins, so that a run stopped in its midst goes on at the same rate.
        left = 1 - self._share(self.step - self.step % self.every)
        falling = min(1.0, max(0.05, left / self.decay)) if self.decay else 1.0
        for optimizer, rate in zip(self._optimizers, self._rates, strict=True):
            optimizer.learning_rate = rate * falling * self._scale

    def on_train_batch_begin(self, batch, logs=None):
        # Not when it ends: for a callback that listens there, Keras reads the metrics
        # of every step, and an accelerator is kept waiting.
        self.step += 1
        self._tick()
        if self._share(self.step) >= 1:
            self.trained.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self._tick()
        metrics = {key: float(value) for key, value in (logs or {}).items()}
        is_last = self._share(self.step) >= 1
        is_last |= self.threshold is not None and metrics["loss"] < self.threshold
        if is_last or self.step % (LOOK * self.every) == 0:
            for name, batch in self.watched.items():
                seen = self.trained.test_on_batch(*batch, return_dict=True)
                metrics |= {f"{name}_{key}": float(v) for key, v in seen.items()}
        # Looked for where the metrics are read anyway. The loss is a mean over the
        # entry, so any bad step shows here: at most `every` steps late.
        if not all(math.isfinite(v) for k, v in metrics.items() if k.endswith("loss")):
            self._broken, self.trained.stop_training = self.step, True
            return
        entry = {"step": self.step, "seconds": round(self.seconds, 2), **metrics}
        self.history.append(entry)
        self._show()
        if self._reason_to_stop():
            self.trained.stop_training = True
        elif time.monotonic() - self._saved > self.save_seconds:
            self._save()

    def _tick(self):
        self.seconds = self._before + time.monotonic() - self._started

    def _share(self, step: int) -> float:
        """How much of the budget is spent."""
        by_time = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(by_time, step / self.steps if self.steps else 0.0)

    def _reason_to_stop(self) -> str:
        # Asks the history, so that a run that was over is over when it is resumed.
        if self._share(self.step) >= 1:
            return "its budget is spent"
        loss = self.history[-1]["loss"] if self.history else math.inf
        if self.threshold is not None and loss < self.threshold:
            return f"its loss, {loss:.4g}, is below the threshold, {self.threshold:g}"
        seen = [e["held_out_loss"] for e in self.history if "held_out_loss" in e]
        since = len(seen) - 1 - seen.index(min(seen)) if seen else 0
        if self.patience is not None and since >= self.patience:
            best = f"{since} times in a row, since it was {min(seen):.4g}"
            return f"its held-out loss has not improved {best}"
        return ""

    def _open_bar(self) -> tqdm:
        self._by_time = self.minutes is not None and self.steps is None
        total = round(self.minutes * 60) if self._by_time else self.steps
        unit = "s" if self._by_time else "step"
        bar = "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}, {remaining} left{postfix}"
        done = round(self.seconds) if self._by_time else self.step
        return tqdm(
            total=total, initial=done, unit=unit, desc="training", bar_format=bar
        )

    def _show(self):
        speed = (self.step - self._first) / (self.seconds - self._before)
        said = f"step {self.step}, {speed:.1f} steps/s"
        for key, name in (("loss", "loss"), ("held_out_loss", "held out")):
            if known := [entry[key] for entry in self.history[-LOOK:] if key in entry]:
                said += f", {name} {known[-1]:.4f}"
        self._bar.set_postfix_str(said, refresh=False)
        done = round(self.seconds) if self._by_time else self.step
        self._bar.update(min(done, self._bar.total) - self._bar.n)

    def _trace(self, batch):
        # On TensorFlow a step that is first traced inside `fit` takes nearly twice the
        # time of one first traced outside. What it changes is put back: its rounding
        # differs, and a resumed run must not differ from one that never stopped.
        model = self.trained
        variables = [*model.variables, *model.optimizer.variables]
        before = [ops.convert_to_numpy(v).copy() for v in variables]
        try:
            model.train_on_batch(*batch)
            for watched in self.watched.values():
                model.test_on_batch(*watched)
        finally:  # also where the stop button is pressed meanwhile
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    def _is_finite(self) -> bool:
        # A step's loss is finite though the step itself may have broken the weights.
        variables = [*self.trained.variables, *self.trained.optimizer.variables]
        floats = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
        return bool(ops.all(ops.stack([ops.all(ops.isfinite(v)) for v in floats])))

    def _save(self, must: bool = False):
        self._saved = time.monotonic()
        if self._kept and self._kept.name[11:] == f"{self.step:08d}" and not must:
            return
        if not self._is_finite():
            self._broken, self.trained.stop_training = self.step, True
            return
        if must and self.step and self._facesets:
            self.trained.adapt(self._facesets)
        if self._rollbacks and self.step > max(self._rollbacks):
            self._rollbacks = []
        state = {
            "step": self.step,
            "seconds": round(self.seconds, 2),
            "config": self.config,
            "history": self.history,
            "rate": self._scale,
            "rollbacks": self._rollbacks,
        }
        try:
            self._kept = checkpoints.write(self.folder, self.trained, state, self._kept)
            self._newest = self._kept
        except OSError as error:
            said = f"Step {self.step} could not be saved in {self.folder} ({error})"
            said += f"; {self._kept.name} is kept." if self._kept else "."
            if must:
                raise OSError(f"{said} Make room, then run again.") from error
            warnings.warn(f"{said} Training goes on.", stacklevel=2)

    def _roll_back(self):
        broken, self._broken = self._broken, None
        self._take_over(*checkpoints.newest(self.folder))
        if len(self._rollbacks) >= ROLLBACKS:
            raise ValueError(
                f"The loss of {self.folder} broke at step {broken}, after {ROLLBACKS} "
                f"rollbacks without progress; {self._kept.name} is kept. Look for "
                "damaged pictures in the training data, or train afresh in another "
                "folder with a lower learning rate."
            )
        self._scale, self._rollbacks = self._scale / 2, [*self._rollbacks, broken]
        tqdm.write(
            f"The loss or a weight was no longer a number at step {broken}: back to "
            f"step {self.step}, with {self._scale:.3g} of the learning rate."
        )
        # The clock is not put back: the budget pays for what was lost.
        changes = {"rate": self._scale, "rollbacks": self._rollbacks}
        try:
            checkpoints.amend(self._kept, seconds=round(self.seconds, 2), **changes)
        except OSError as error:
            warnings.warn(f"{self._kept} could not note it ({error}).", stacklevel=2)

    def _resume(self):
        may_write = os.access(self.folder, os.W_OK)  # else nobody can train there
        with records.one_writer(self.folder, "trains") if may_write else nullcontext():
            for torn in self.folder.glob(".checkpoint-*.part"):
                shutil.rmtree(torn)
            self._newest = latest(self.folder)
            if self._newest is None:
                return
            checkpoint, state = checkpoints.newest(self.folder)
            self._made = state["config"]
            # What it was fed with is known when `fit` is called.
            fed = {"faces", *SETTINGS} - self.config.keys()
            made = {key: value for key, value in self._made.items() if key not in fed}
            self._compare(made)
            self._take_over(checkpoint, state)
            self.seconds = state["seconds"]
            self._scale, self._rollbacks = state["rate"], state["rollbacks"]

    def _compare(self, made: dict):
        """Refuse another configuration; what says most of it is said first."""
        differ = checkpoints.differences(made, self.config)
        if not differ:
            return
        if differ.keys() == {"after"}:
            raise ValueError(
                f"{self.folder} did not begin where {self._after} is now; delete it to "
                "train it anew from there."
            )
        told = [*differ.values()]
        more = f"; {len(told) - 6} more settings differ" if len(told) > 6 else ""
        advice = "choose another folder, or train with the same settings"
        if all(key.startswith("faces.") for key in differ):
            advice = "put the faces back, or train in another folder"
        raise ValueError(
            f"{self.folder} was trained with {'; '.join(told[:6])}{more}. To go on, "
            f"{advice}."
        )

    def _take_over(self, checkpoint, state):
        checkpoints.fill(self.trained, checkpoint)
        self._kept, self.step = checkpoint, state["step"]
        self.history = state["history"]


def _batch_of(faces: dict, model) -> tuple:
    """Thirty-two of each person's faces, not warped."""
    return next(batches.batches(faces, model.size, 32, warp=0, relight=0, effective=1))


def _keep_memory():
    # TensorFlow's data set of a generator tells the C library to give every freed
    # buffer back to the system, from the first batch on; a step then spends a sixth of
    # its time, and more, on being handed the same pages again. Said anew, it is undone.
    workers.mallopt(mmap_threshold=1 << 30, trim_threshold=(1 << 31) - 1)


def _number(variable) -> float:
    # Not float(variable): mirrored over several devices it is none.
    return float(ops.convert_to_numpy(variable))
