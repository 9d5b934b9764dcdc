"""What every training shares: a folder that holds it, and goes on where it stopped.

A run folder holds the two newest checkpoints, each a folder of its own:

    checkpoint-00001200/
        model.weights.h5    weights and optimizer state
        run.json            step, seconds, seed, configuration, history

A checkpoint is written under another name and then renamed, so that one that is there
is whole, whatever killed the run.
"""

import itertools
import json
import os
import shutil
import time
from pathlib import Path

import keras
from tqdm import tqdm

import deepfakery


def latest(folder: str | os.PathLike) -> Path | None:
    """The newest checkpoint of a run folder, or None."""
    found = sorted(Path(folder).glob("checkpoint-*"))
    return found[-1] if found else None


def read(folder: str | os.PathLike) -> dict:
    """What the newest checkpoint of a run folder says of itself.

    Raises:
        FileNotFoundError: It holds no checkpoint.
    """
    newest = latest(folder)
    if newest is None:
        raise FileNotFoundError(
            f"{folder} holds no checkpoint. Train first (notebook 02)."
        )
    return json.loads((newest / "run.json").read_text())


class Run(keras.callbacks.Callback):
    """Train a compiled model within a budget, saving and resuming on the way.

    Args:
        folder: The run folder. If it holds a checkpoint, the model takes it over.
        model: A compiled `keras.Model`.
        config: What the run was made with, plain JSON; a checkpoint made with
            another configuration is refused.
        minutes: Stop after this much training, all sittings together.
        steps: Stop after this many steps, all sittings together.
        threshold: Stop when the loss, averaged over `every` steps, is below this.
        every: Steps between entries of the history.
        save_seconds: Seconds between checkpoints.
        decay: Share of the budget, at its end, over which the learning rate falls
            linearly to a twentieth: large steps first, fine ones last.

    Attributes:
        step: Steps made so far.
        seconds: Seconds trained so far.
        history: One dict per `every` steps: step, seconds and the model's metrics.

    Raises:
        ValueError: There is no budget, or the folder belongs to another run.

    Example:
        run = Run("weights/pair", swapper, config, minutes=3)
        run.fit(batches.batches(facesets, swapper.size, start=run.step))
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: keras.Model,
        config: dict,
        *,
        minutes: float | None = None,
        steps: int | None = None,
        threshold: float | None = None,
        every: int = 20,
        save_seconds: float = 20,
        decay: float = 0.4,
    ):
        super().__init__()
        budget = [given for given in (minutes, steps) if given is not None]
        if not budget or min(budget) <= 0:
            raise ValueError("Give Run a budget above 0: minutes, steps or both.")
        if deepfakery.SMOKE:
            steps, every = min(steps or 20, 20), 5
        self.folder, self.config = Path(folder), json.loads(json.dumps(config))
        self.minutes, self.steps, self.threshold = minutes, steps, threshold
        self.every, self.save_seconds, self.decay = every, save_seconds, decay
        self.step, self.seconds, self.history = 0, 0.0, []
        self.trained = model
        self.rate = float(model.optimizer.learning_rate)
        self._resume()

    def fit(self, batches, callbacks=()):
        """`model.fit` until the budget is spent.

        Args:
            batches: Endless iterator, beginning at batch number `step`.
            callbacks: More Keras callbacks, such as a `Preview`.
        """
        if self._share() >= 1:
            return
        batches = iter(batches)
        first = next(batches)
        self._trace(first)
        try:
            self.trained.fit(
                (b for b in itertools.chain([first], batches)),
                steps_per_epoch=self.every,
                epochs=10**9,
                shuffle=False,
                verbose=0,
                callbacks=[self, *callbacks],
            )
        except KeyboardInterrupt:
            # The stop button of a notebook: keep what was learned.
            self._save()
            self._bar.close()
            print(f"Stopped at step {self.step}, saved. Run the cell again to go on.")

    def on_train_begin(self, logs=None):
        self._saved = self._started = time.monotonic()
        self._before = self.seconds
        by_time = self.minutes is not None and self.steps is None
        total = round(self.minutes * 60) if by_time else self.steps
        self._by_time = by_time
        self._bar = tqdm(
            total=total,
            initial=min(total, round(self.seconds) if by_time else self.step),
            unit="s" if by_time else "step",
            desc="training",
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}{postfix}",
        )
        self._first = self.step

    def on_train_batch_begin(self, batch, logs=None):
        self._set_rate()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.seconds = self._before + time.monotonic() - self._started
        if self._share() >= 1:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        metrics = {key: float(value) for key, value in (logs or {}).items()}
        entry = {"step": self.step, "seconds": round(self.seconds, 2), **metrics}
        self.history.append(entry)
        speed = (self.step - self._first) / (self.seconds - self._before)
        done = round(self.seconds) if self._by_time else self.step
        self._bar.update(min(done, self._bar.total) - self._bar.n)
        self._bar.set_postfix_str(
            f" step {self.step}, {speed:.1f} steps/s, loss {metrics['loss']:.4f}"
        )
        if self.threshold is not None and metrics["loss"] < self.threshold:
            self.model.stop_training = True
        if time.monotonic() - self._saved > self.save_seconds:
            self._save()

    def on_train_end(self, logs=None):
        self._bar.close()
        self._save()

    def _trace(self, batch):
        # On TensorFlow a step that is first traced inside `fit` takes nearly twice the
        # time of one first traced outside. What it changes is put back: its rounding
        # differs, and a resumed run must not differ from one that never stopped.
        model = self.trained
        model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables]
        before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
        model.train_on_batch(*batch)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    def _set_rate(self):
        left = (1 - self._share()) / self.decay
        self.trained.optimizer.learning_rate = self.rate * min(1.0, max(0.05, left))

    def _share(self) -> float:
        """How much of the budget is spent."""
        by_time = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(by_time, self.step / self.steps if self.steps else 0.0)

    def _save(self):
        name = f"checkpoint-{self.step:08d}"
        aside = self.folder / f".{name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self.trained.save_weights(aside / "model.weights.h5")
        state = {
            "step": self.step,
            "seconds": round(self.seconds, 2),
            "config": self.config,
            "history": self.history,
        }
        (aside / "run.json").write_text(json.dumps(state))
        final = self.folder / name
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        for old in sorted(self.folder.glob("checkpoint-*"))[:-2]:
            shutil.rmtree(old)
        self._saved = time.monotonic()

    def _resume(self):
        for torn in self.folder.glob(".checkpoint-*.part"):
            shutil.rmtree(torn)
        newest = latest(self.folder)
        if newest is None:
            return
        state = json.loads((newest / "run.json").read_text())
        for key in sorted(state["config"].keys() | self.config.keys()):
            then, now = state["config"].get(key), self.config.get(key)
            if then != now:
                raise ValueError(
                    f"{self.folder} was trained with {key}={then!r}, not {now!r}; "
                    "choose another folder or delete it."
                )
        # Unbuilt, the optimizer would skip its part of the file and forget its moments.
        self.trained.optimizer.build(self.trained.trainable_variables)
        self.trained.load_weights(newest / "model.weights.h5")
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = state["history"]


class Preview(keras.callbacks.Callback):
    """Show a picture in the notebook, and refresh it in place while training goes on.

    Args:
        draw: Called without arguments; gives a `matplotlib` figure or an RGB uint8
            picture.
        seconds: Time between refreshes.
    """

    def __init__(self, draw, seconds: float = 20):
        super().__init__()
        self.draw, self.seconds = draw, seconds
        self._handle, self._shown = None, 0.0

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() - self._shown >= self.seconds:
            self._show()

    def on_train_end(self, logs=None):
        self._show()

    def _show(self):
        from IPython.display import display

        picture = self.draw()
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        elif self._handle:
            self._handle.update(picture)
        self._shown = time.monotonic()
