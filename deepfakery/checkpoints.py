"""Checkpoints of a run folder: whole or not there at all, and known when they are not.

A run folder holds the two newest checkpoints, each a folder of its own:

    checkpoint-00001200/
        model.weights.h5    weights and optimizer state
        run.json            step, seconds, configuration, history, share of the rate,
                            rollbacks, and the SHA-256 of the weights file

A checkpoint is written under another name and then renamed, so that one that is there
is whole, whatever killed the run. If the disk spoils it later, its SHA-256 tells, and
the one before is used.
"""

import hashlib
import io
import json
import math
import os
import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np

from deepfakery.media import records
from deepfakery.presets import name_of

#: Where the project keeps weights that know faces in general: in the package where
#: that was installed from a wheel, beside it in a checkout.
WEIGHTS = Path(__file__).resolve().with_name("weights")
WEIGHTS = WEIGHTS if WEIGHTS.is_dir() else WEIGHTS.parents[1] / "weights"

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
    """What the newest whole checkpoint says of itself: step, seconds, config, ...

    Raises:
        FileNotFoundError: The folder holds no checkpoint.
        ValueError: It holds damaged checkpoints only.
    """
    return newest(folder)[1]


def load(folder: str | os.PathLike, model: keras.Model) -> dict:
    """Give a model the weights of a run, and a compiled one its optimizer's state.

    A damaged checkpoint is named in a warning, and the one before it is used.

    Returns:
        What `read` gives; and it raises the same.

    Raises:
        ValueError: The weights do not fit the model.
    """
    checkpoint, state = newest(folder)
    fill(model, checkpoint)
    return state


def rebuild(folder: str | os.PathLike, build):
    """A trained model from its run folder alone; errors are as of `load`.

    Args:
        folder: The run folder.
        build: A function: the configuration that the run notes → a new model.
    """
    checkpoint, state = newest(folder)
    try:
        # Refuse what no network is made of, before memory is asked for it.
        asked = (state["config"].get(key) for key in ("preset", "latent"))
        if large := [n for n in _numbers(list(asked)) if not abs(n) <= LARGEST]:
            raise ValueError(f"{large[0]} is no size of a network")
        model = build(state["config"])
    except Exception as error:  # whatever Keras makes of somebody else's words
        raise ValueError(
            f"{checkpoint / 'run.json'} does not describe such a model "
            f"({type(error).__name__}: {error}); give the folder of another run."
        ) from error
    fill(model, checkpoint)
    return model


def _numbers(given):
    """All numbers in nested lists and dictionaries, no longer than a network's are."""
    if isinstance(given, dict | list):
        if len(given) > 64:
            raise ValueError("it holds too long a list")
        for one in given.values() if isinstance(given, dict) else given:
            yield from _numbers(one)
    elif isinstance(given, int | float):
        yield given


def newest(folder: str | os.PathLike) -> tuple[Path, dict]:
    """The newest whole checkpoint, as `load` chooses it, and what `read` gives."""
    damaged = []
    for checkpoint in reversed(_all(Path(folder))):
        try:
            state = _state(checkpoint / "run.json")
            sha256 = fingerprint(checkpoint / "model.weights.h5")
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
    try:
        state = {"rate": 1.0, "rollbacks": [], **json.loads(file.read_text("utf-8"))}
        history = state["history"]
        counts = [state["step"], *state["rollbacks"], *(e["step"] for e in history)]
        times = [state["seconds"], state["rate"], *(e["seconds"] for e in history)]
        losses = [e[k] for e in history for k in {"loss", *e} if k.endswith("loss")]
        values = [value for entry in history for value in entry.values()]
        fits = (
            all(type(n) is int for n in counts)
            and all(0 <= n < 2**53 for n in (*counts, *times))  # NaN is not
            and all(math.isfinite(loss) for loss in losses)
            and all(type(n) in (int, float) for n in (*times, *values))
            and isinstance(state["config"], dict)
            and isinstance(state.get("sha256", ""), str)
            and isinstance(history, list)
            and isinstance(state["rollbacks"], list)
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{file.name} holds something else: {error!r}") from error
    if not fits:
        raise ValueError(f"{file.name}: a value is missing or wrong")
    return state


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
    """Write a checkpoint of a built model, then delete all others but `keep`.

    Args:
        folder: The run folder.
        state: The model's step and whatever else to remember, plain JSON.

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
        state = {**state, "sha256": fingerprint(aside / "model.weights.h5")}
        (aside / "run.json").write_text(json.dumps(state))
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


def amend(checkpoint: Path, **changes) -> None:
    """Change what a checkpoint says of itself, all at once or not at all."""
    file = checkpoint / "run.json"
    records.write(file, json.dumps({**json.loads(file.read_text()), **changes}))


def differences(then: dict, now: dict) -> dict[str, str]:
    """Where two configurations differ, by key; what says most of it comes first."""
    then, now = dict(_flat(then)), dict(_flat(now))
    keys = {k for k in then.keys() | now.keys() if then.get(k) != now.get(k)}
    return {
        key: f"{key}={_short(then.get(key))}, not {_short(now.get(key))}"
        for key in sorted(keys, key=_rank)
    }


def _flat(config: dict, prefix: str = ""):
    """(key, value) of a configuration, inner keys spelled out, presets by name."""
    for key, value in config.items():
        name = name_of(value) if key == "preset" else "custom"
        if isinstance(value, dict) and name == "custom":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if name == "custom" else name


def _rank(key: str):
    # What was chosen by name says more than what follows from it, and hashes least.
    order = ("preset", "identities", "faces"), ("base", "after")
    part = key.partition(".")[0]
    return part not in order[0], part in order[1], key


def _short(value) -> str:
    """A value as it was written, a fingerprint by its beginning."""
    text = repr(value)
    return f"{text[:9]}…'" if re.fullmatch("'[0-9a-f]{64}'", text) else text[:80]


def followers(folder: Path) -> list[str]:
    """Names of the runs beside this one that go on from a state of it."""
    begun = {f"{folder.resolve().name} {note['sha256']}" for note in notes(folder)}
    others = [p for p in folder.resolve().parent.glob("*/") if begun and latest(p)]
    return sorted(
        other.name
        for other in others
        if any(note["config"].get("after") in begun for note in notes(other))
    )


def notes(folder: Path) -> list[dict]:
    """What the checkpoints of a run folder say of themselves, damaged ones left out."""
    found = []
    for checkpoint in _all(folder):
        with suppress(OSError, OverflowError, RecursionError, ValueError):
            found.append({"sha256": None, **_state(checkpoint / "run.json")})
    return found


def fingerprint(start: str | os.PathLike) -> str:
    """SHA-256 of what a training starts from: a file, or a run's newest weights."""
    if Path(start).is_dir():
        return read(start)["sha256"]
    with open(start, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sha256(*models: keras.Model) -> str:
    """Fingerprint of weights in memory; it changes when any of them does."""
    digest = hashlib.sha256()
    for model in models:
        for weight in model.get_weights():
            digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()


def base_weights(preset: str) -> Path | None:
    """The project's base weights for a preset, by its name; None where it has none.

    Raises:
        FileNotFoundError: The folder of weights is not there at all.
    """
    if not WEIGHTS.is_dir():
        raise FileNotFoundError(
            f"{WEIGHTS} is missing, and with it what a training starts from. Install "
            "the package anew, or copy the project's folder weights there."
        )
    path = WEIGHTS / f"base_{preset}.npz"
    return path if path.exists() else None


def save_base(path, **models: keras.Model) -> None:
    """Write the weights of some models as float16, by names such as encoder/00/kernel.

    Raises:
        OSError: It could not be written; what was there is as it was.
    """
    arrays = (w.astype(np.float16) for m in models.values() for w in m.get_weights())
    out = io.BytesIO()
    np.savez(out, **dict(zip(_shapes(models), arrays, strict=True)))
    records.write(Path(path), out.getvalue())


def load_base(path, preset: str, **models: keras.Model) -> dict[str, list[np.ndarray]]:
    """Read float32 arrays that `save_base` wrote, by model, and nothing else.

    Args:
        path: The file, from wherever it came.
        preset: Name of the network that it is for, for the message.
        **models: As they were given to `save_base`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"There are no base weights at {path}.")
    found, shapes = {name: [] for name in models}, _shapes(models)
    try:
        with np.load(path, allow_pickle=False) as file:
            sizes = [member.file_size for member in file.zip.infolist()]
            room = sum(4 * math.prod(shape) + 1024 for shape in shapes.values())
            if file.files != [*shapes] or sum(sizes) > room:
                raise ValueError(f"it holds {len(sizes)} other arrays")
            for name, shape in shapes.items():
                array = file[name].astype(np.float32)
                if array.shape != shape or not np.isfinite(array).all():
                    raise ValueError(f"{name} is no array of {shape} finite numbers")
                found[name.partition("/")[0]].append(array)
    except OSError:
        raise
    except Exception as error:  # whatever NumPy and zip make of a foreign file
        raise ValueError(
            f"{path} does not fit the preset {preset!r}; use weights made with it. "
            f"({error})"
        ) from error
    return found


def _shapes(models: dict) -> dict[str, tuple]:
    return {
        f"{name}/{i:02d}/{weight.name}": tuple(weight.shape)
        for name, model in models.items()
        for i, weight in enumerate(model.weights)
    }
