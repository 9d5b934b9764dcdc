"""Watching a training: pictures in the notebook, curves in TensorBoard."""

import time
import warnings
from contextlib import suppress

import keras


class Preview(keras.callbacks.Callback):
    """Show a picture in the notebook, and refresh it in place while training goes on.

    Args:
        draw: Called without arguments; gives a `matplotlib` figure or an RGB uint8
            picture. In a script, where nothing is displayed, it may save what it drew.
        steps: Steps between refreshes, up to whole entries of the history; by default
            as many as take `seconds`.
        seconds: Time between refreshes, where no steps are given.
    """

    def __init__(self, draw, steps: int | None = None, seconds: float = 20):
        super().__init__()
        self.draw, self.steps, self.seconds = draw, steps, seconds
        self._handle, self._shown, self._since = None, 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        self._since += 1

    def on_epoch_end(self, epoch, logs=None):
        by_time = time.monotonic() - self._shown >= self.seconds
        if by_time if self.steps is None else self._since >= self.steps:
            self._show()

    def on_train_end(self, logs=None):
        self._show()

    def _show(self):
        from IPython import get_ipython
        from IPython.display import display

        picture = self.draw()
        if self._handle:
            self._handle.update(picture)
        elif get_ipython() is not None:
            self._handle = display(picture, display_id=True)
        self._shown, self._since = time.monotonic(), 0


class TensorBoard(keras.callbacks.Callback):
    """Write a run's history to its folder's `logs` while training goes on.

    On every backend, unlike Keras' callback of that name. `tensorboard --logdir
    <folder>/logs` shows it. A full disk ends the curves, not the training.

    Args:
        run: The `training.Run` to whose `fit` this is given.
    """

    def __init__(self, run):
        super().__init__()
        self.run, self._writer, self._is_broken = run, None, False

    def on_train_begin(self, logs=None):
        # Hides what a killed sitting wrote after the checkpoint this one goes on from.
        self._write(self.run.step + 1, session_log={"status": "START"})

    def on_epoch_end(self, epoch, logs=None):
        entry = dict(self.run.history[-1]) if self.run.history else {}
        if entry.pop("step", None) == self.run.step:  # else its loss is no number
            del entry["seconds"]
            values = [{"tag": k, "simple_value": v} for k, v in entry.items()]
            self._write(self.run.step, summary={"value": values})

    def on_train_end(self, logs=None):
        if self._writer:
            with suppress(Exception):
                self._writer.close()
            self._writer = None

    def _write(self, step, **what):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._is_broken:
            return
        folder = self.run.folder / "logs"
        try:
            self._writer = self._writer or EventFileWriter(str(folder))
            self._writer.add_event(Event(wall_time=time.time(), step=step, **what))
            self._writer.flush()
        except Exception as error:  # with TensorFlow installed it is no OSError
            self._writer, self._is_broken = None, True
            said = f"{folder} could not be written ({error})"
            warnings.warn(f"{said}; the training goes on without.", stacklevel=2)
