"""Checkpoints of a run folder: whole or not there at all, and known when they are not.

A run folder holds the two newest checkpoints, each a folder of its own:

    checkpoint-00001200/
        model.weights.h5    weights and optimizer state
        run.json            step, seconds, configuration, history, share of the rate,
                            rollbacks, and the SHA-256 of the weights file
    followed_by.json        the runs that go on from this one, see `follow`

A checkpoint is written under another name and then renamed, so that one that is there
is whole, whatever killed the run. If the disk spoils it later, its SHA-256 tells, and
the one before is used.
"""

import hashlib
import json
import math
import os
import shutil
import warnings
from pathlib import Path

import keras

from deepfakery import records


def latest(folder: str | os.PathLike) -> Path | None:
    """The newest checkpoint of a run folder, or None."""
    found = sorted(Path(folder).glob("checkpoint-*"))
    return found[-1] if found else None


def read(folder: str | os.PathLike) -> dict:
    """What the newest whole checkpoint of a run folder says of itself.

    Raises:
        FileNotFoundError: It holds no checkpoint.
        ValueError: It holds damaged checkpoints only.
    """
    return newest(folder)[1]


def load(folder: str | os.PathLike, model: keras.Model) -> dict:
    """Give a model the weights of a run, and a compiled one its optimizer's state.

    Args:
        folder: The run folder. A damaged checkpoint is named in a warning, and the one
            before it is used.
        model: Built as the one that was trained.

    Returns:
        What the checkpoint says of itself: step, seconds, config, history, ...

    Raises:
        FileNotFoundError: It holds no checkpoint.
        ValueError: The weights do not fit the model, or all checkpoints are damaged.
    """
    checkpoint, state = newest(folder)
    fill(model, checkpoint)
    return state


def fingerprint(start: str | os.PathLike) -> str:
    """SHA-256 of what a training starts from: a file, or a run's newest weights."""
    return read(start)["sha256"] if Path(start).is_dir() else _sha256(Path(start))


def newest(folder: str | os.PathLike) -> tuple[Path, dict]:
    """The newest whole checkpoint, as `load` chooses it, and what `read` gives."""
    damaged = []
    for checkpoint in sorted(Path(folder).glob("checkpoint-*"), reverse=True):
        try:
            state = json.loads((checkpoint / "run.json").read_text())
            sha256 = _sha256(checkpoint / "model.weights.h5")
            if state.setdefault("sha256", sha256) != sha256:
                raise ValueError("its weights are not as they were written")
        except (OSError, ValueError) as error:
            damaged.append(f"{checkpoint} is damaged ({error}).")
            continue
        if damaged:
            said = " ".join(damaged)
            warnings.warn(f"{said} {checkpoint} is used instead.", stacklevel=3)
        return checkpoint, state
    if damaged:
        raise ValueError(
            f"{folder} holds no whole checkpoint: {' '.join(damaged)} Nothing was "
            "deleted. Put back a copy, or choose another folder to train afresh."
        )
    raise FileNotFoundError(f"{folder} holds no checkpoint. Train first (notebook 02).")


def fill(model: keras.Model, checkpoint: Path) -> None:
    """Load a checkpoint's weights, and the optimizer's state where there is one."""
    if getattr(model, "optimizer", None) is not None:
        # Unbuilt, it would skip its part of the file and forget its moments.
        model.optimizer.build(model.trainable_variables)
    file = checkpoint / "model.weights.h5"
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file does not hold, and skips them.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(file)
    except (OSError, UserWarning, ValueError) as error:
        reason = " ".join(str(error).split("\n\n")[:2])
        raise ValueError(
            f"{file} does not fit the model. Build it with the configuration in "
            f"{checkpoint / 'run.json'}, or choose another run folder. ({reason})"
        ) from error


def write(folder: Path, model: keras.Model, state: dict, keep: Path | None) -> Path:
    """Write a checkpoint, then delete all others but one.

    Args:
        folder: The run folder.
        model: A built model.
        state: Its step and whatever else to remember, plain JSON.
        keep: The checkpoint before it.

    Returns:
        The checkpoint.

    Raises:
        OSError: It could not be written; all others are as they were.
    """
    name = f"checkpoint-{state['step']:08d}"
    aside, final = folder / f".{name}.part", folder / name
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        _reserve(aside / "room", model)
        model.save_weights(aside / "model.weights.h5")
        sha256 = _sha256(aside / "model.weights.h5")
        (aside / "run.json").write_text(json.dumps({**state, "sha256": sha256}))
        shutil.rmtree(final, ignore_errors=True)  # a damaged one that was passed over
        os.replace(aside, final)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for old in folder.glob("checkpoint-*"):
        if old not in (final, keep):
            shutil.rmtree(old, ignore_errors=True)
    return final


def _reserve(file, model):
    # On a full disk HDF5 does not raise: it crashes Python. So find out beforehand.
    variables = [*model.variables, *getattr(model.optimizer, "variables", ())]
    size = sum(4 * math.prod(v.shape) + 4096 for v in variables)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
        file.unlink()


def follow(folder: Path, by: Path, sha256: str) -> None:
    """Note in a run folder that another run goes on from a state of it.

    Args:
        folder: The run folder.
        by: Folder of the other run.
        sha256: Of the state's weights file.

    Raises:
        OSError: It could not be written.
    """
    known = followers(folder) | {os.path.relpath(by, folder): sha256}
    records.write(folder / "followed_by.json", json.dumps(known))


def followers(folder: Path) -> dict[str, str]:
    """Runs that go on from this one: relative path → SHA-256 of where they began.

    What was deleted since is left out.
    """
    noted = folder / "followed_by.json"
    known = json.loads(noted.read_text()) if noted.exists() else {}
    return {name: start for name, start in known.items() if latest(folder / name)}


def amend(checkpoint: Path, **changes) -> None:
    """Change what a checkpoint says of itself, all at once or not at all.

    Raises:
        OSError: It could not be written, and is as it was.
    """
    file = checkpoint / "run.json"
    state = json.loads(file.read_text())
    records.write(file, json.dumps({**state, **changes}))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
