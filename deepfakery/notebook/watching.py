"""Watching a training: pictures in the notebook, curves in TensorBoard."""

import time
import warnings
from contextlib import contextmanager

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
        if get_ipython() is None:
            pass
        elif self._handle is None:
            self._handle = display(picture, display_id=True)
        elif self._handle:
            self._handle.update(picture)
        self._shown, self._since = time.monotonic(), 0


class TensorBoard(keras.callbacks.Callback):
    """Write a run's history to its folder's `logs` while training goes on.

    On every backend, unlike Keras' callback of that name, and from a thread of its
    own. `tensorboard --logdir <folder>/logs` shows it. A full disk ends the curves, not
    the training.

    Args:
        run: The `training.Run` to whose `fit` this is given.
    """

    def __init__(self, run):
        super().__init__()
        self.run, self._writer = run, None

    def on_train_begin(self, logs=None):
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        with self._forgiving():
            self._writer = EventFileWriter(str(self.run.folder / "logs"))
        # Hides what a killed sitting wrote after the checkpoint this one goes on from.
        begin = SessionLog(status=SessionLog.START)
        self._write(step=self.run.step + 1, session_log=begin)

    def on_epoch_end(self, epoch, logs=None):
        from tensorboard.compat.proto.summary_pb2 import Summary

        entry = dict(self.run.history[-1]) if self.run.history else {}
        if entry.pop("step", None) == self.run.step:  # else its loss is no number
            del entry["seconds"]
            values = [Summary.Value(tag=k, simple_value=v) for k, v in entry.items()]
            self._write(step=self.run.step, summary=Summary(value=values))

    def on_train_end(self, logs=None):
        with self._forgiving():
            self._writer = self._writer and self._writer.close()

    def _write(self, **event):
        from tensorboard.compat.proto.event_pb2 import Event

        with self._forgiving():
            if self._writer is not None:
                self._writer.add_event(Event(wall_time=time.time(), **event))
                self._writer.flush()

    @contextmanager
    def _forgiving(self):
        try:
            yield
        except Exception as error:  # with TensorFlow installed it is no OSError
            self._writer = None
            said = f"{self.run.folder / 'logs'} could not be written ({error})"
            warnings.warn(f"{said}; the training goes on without.", stacklevel=2)
