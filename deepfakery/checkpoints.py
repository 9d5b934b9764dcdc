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
from pathlib import Path, PurePosixPath

import keras

from deepfakery.media import records

#: The largest number that a foreign configuration may ask for: channels, units, sides.
LARGEST = 4096


def latest(folder: str | os.PathLike) -> Path | None:
    """The newest checkpoint of a run folder, or None."""
    found = _all(Path(folder))
    return found[-1] if found else None


def _all(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first; a copy by another name is none."""
    found = [p for p in folder.glob("checkpoint-*") if p.name[11:].isdecimal()]
    return sorted(found, key=lambda p: int(p.name[11:]))


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


def rebuild(folder: str | os.PathLike, build):
    """A trained model from its run folder alone.

    Args:
        folder: The run folder.
        build: A function: the configuration that the run notes → a new model.

    Raises:
        FileNotFoundError: It holds no checkpoint.
        ValueError: The configuration is none of such a model, or the weights are.
    """
    checkpoint, state = newest(folder)
    try:
        _check_numbers([state["config"].get(key) for key in ("preset", "latent")])
        model = build(state["config"])
    except Exception as error:  # whatever Keras makes of somebody else's words
        raise ValueError(
            f"{checkpoint / 'run.json'} does not describe such a model "
            f"({type(error).__name__}: {error}); give the folder of another run."
        ) from error
    fill(model, checkpoint)
    return model


def _check_numbers(given, deep: int = 0):
    """Refuse what no network is made of, before memory is asked for it."""
    if isinstance(given, dict | list):
        if deep > 8 or len(given) > 64:
            raise ValueError("it is nested too deeply, or too long")
        for one in given.values() if isinstance(given, dict) else given:
            _check_numbers(one, deep + 1)
    elif isinstance(given, int | float) and not abs(given) <= LARGEST:
        raise ValueError(f"{given} is no size of a network")


def fingerprint(start: str | os.PathLike) -> str:
    """SHA-256 of what a training starts from: a file, or a run's newest weights."""
    return read(start)["sha256"] if Path(start).is_dir() else _sha256(Path(start))


def newest(folder: str | os.PathLike) -> tuple[Path, dict]:
    """The newest whole checkpoint, as `load` chooses it, and what `read` gives."""
    damaged = []
    for checkpoint in reversed(_all(Path(folder))):
        try:
            state = _state(checkpoint / "run.json")
            sha256 = _sha256(checkpoint / "model.weights.h5")
            if state.setdefault("sha256", sha256) != sha256:
                raise ValueError("its weights are not as they were written")
        except (OSError, OverflowError, RecursionError, ValueError) as error:
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


def _state(file: Path) -> dict:
    """What a `run.json` says; it may come from anywhere, so every type is looked at."""
    state = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(state, dict):
        raise ValueError(f"{file.name} holds no object")
    state = {"rate": 1.0, "rollbacks": [], **state}
    whole, number = (lambda n: _is_number(n, int)), _is_number
    known = {
        "step": whole,
        "seconds": number,
        "rate": number,
        "config": lambda config: isinstance(config, dict),
        "rollbacks": lambda steps: isinstance(steps, list) and all(map(whole, steps)),
        "history": lambda entries: (
            isinstance(entries, list) and all(map(_is_entry, entries))
        ),
        "sha256": lambda text: isinstance(text, str),
    }
    for key, fits in known.items():
        if key in state or key != "sha256":
            if not fits(state.get(key)):
                raise ValueError(f"{file.name}: {key} is missing or wrong")
    return state


def _is_number(value, kind=(int, float)) -> bool:
    is_one = isinstance(value, kind) and not isinstance(value, bool)
    return is_one and 0 <= value < 2**53  # NaN is not


def _is_entry(entry) -> bool:
    """An entry of the history: step, seconds, and losses that a mean was made of."""
    if not isinstance(entry, dict) or not _is_number(entry.get("step"), int):
        return False
    values = [v for k, v in entry.items() if k != "step"]
    losses = [v for k, v in entry.items() if k.endswith("loss")]
    return (
        _is_number(entry.get("seconds"))
        and "loss" in entry
        and all(isinstance(v, int | float) for v in values)
        and all(math.isfinite(v) for v in losses)
    )


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
    except Exception as error:  # whatever Keras makes of a foreign file
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
    for old in _all(folder):
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
        BlockingIOError: Somebody trains there.
        OSError: It could not be written.
        ValueError: The other run lies elsewhere.
    """
    name = os.path.relpath(by, folder)
    if not _is_near(name, sha256):
        raise ValueError(
            f"{by} goes on from {folder} and must lie beside it, so that the two can "
            "be moved together; choose such a folder."
        )
    with records.one_writer(folder, "notes who goes on from it"):
        known = {**followers(folder), name: sha256}
        records.write(folder / "followed_by.json", json.dumps(known))


def followers(folder: Path) -> dict[str, str]:
    """Runs that go on from this one: relative path → SHA-256 of where they began.

    What was deleted since is left out.

    Raises:
        ValueError: What is noted there is damaged, or leads elsewhere.
    """
    noted = folder / "followed_by.json"
    try:
        known = json.loads(noted.read_text(encoding="utf-8"))
        fit = isinstance(known, dict) and all(map(_is_near, known, known.values()))
    except FileNotFoundError:
        return {}
    except (RecursionError, ValueError):
        fit = False
    if not fit:
        raise ValueError(
            f"{noted} is damaged: it must name run folders beside this one, each with "
            "the SHA-256 of where it began. Delete it if no run goes on from here."
        )
    return {name: start for name, start in known.items() if latest(folder / name)}


def _is_near(name: str, sha256) -> bool:
    """Whether a path, seen from a run folder, stays where that run folder lies."""
    parts = PurePosixPath(Path(name).as_posix()).parts
    inside = parts and parts != ("..",) and not {"..", "/"} & {*parts[1:], parts[0][:1]}
    plain = "\0" not in name and len(name) < 1000
    return bool(inside and plain and isinstance(sha256, str))


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
