"""From figures of frames to a table: means, intervals, and how to read them."""

import math

import numpy as np
import pandas as pd

from deepfakery.evaluate.metrics import MEASURES


def summarise(frames: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Means over frames, with intervals by a block bootstrap.

    Neighbouring frames look alike, so whole blocks (of a second, at most a quarter of
    the clip) are drawn. The interval says how much a figure would change with other
    moments of the same footage, not with other people.

    Args:
        frames: As from `measure`.
        seed: The only source of randomness.

    Returns:
        A row a clip and measure: `clip`, `measure`, `value` (mean), `low`, `high` (95 %
        interval), `frames` (how many counted), `block` (frames). What a clip has no
        figure for is left out.

    Reference:
        Politis & Romano 1992, "A Circular Block-Resampling Procedure for Stationary
        Data".
    """
    rows = []
    for clip, part in frames.groupby("clip", sort=False):
        steps = np.diff(part["time"])
        step = np.median(steps) if np.isfinite(steps).any() else 0
        block = max(1, min(round(1 / step) if step > 0 else 30, len(part) // 4))
        for name in MEASURES:
            values = part[name].to_numpy()
            if counted := int(np.isfinite(values).sum()):
                ends = interval(values, block, seed=seed)
                rows.append((clip, name, np.nanmean(values), *ends, counted, block))
    names = ["clip", "measure", "value", "low", "high", "frames", "block"]
    return pd.DataFrame(rows, columns=names)


def interval(
    values: np.ndarray, block: int, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of the mean under a circular block bootstrap.

    Args:
        values: (frames,) in order of time; nan does not count.
        block: Frames in a block.
        draws: Bootstrap samples.
        seed: The only source of randomness.
    """
    count, random, means = len(values), np.random.default_rng(seed), []
    # A part at a time: all samples of a long clip do not fit in memory.
    while draws > 0:
        part = min(draws, max(1, 2_000_000 // count))
        drawn = values[draw_blocks(count, block, part, random)]  # (part, frames)
        means.append(np.nanmean(drawn[np.isfinite(drawn).any(1)], axis=1))
        draws -= part
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def draw_blocks(
    count: int, block: int, draws: int = 1000, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """(draws, count) frames of bootstrap samples: whole blocks, round and round."""
    random = np.random.default_rng(seed)
    starts = random.integers(count, size=(draws, math.ceil(count / block), 1))
    return (starts + np.arange(block)).reshape(draws, -1)[:, :count] % count


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `summarise` to read: a row a measure, a column a clip, intervals."""
    cells = {}
    for m in MEASURES.values():
        digits = 1 if m.unit not in ("", "share") else 2
        for row in table[table["measure"] == m.name].itertuples():
            figures = (f"{v:.{digits}f}" for v in (row.value, row.low, row.high))
            cells.setdefault(m.heading, {})[row.clip] = "{} ({} to {})".format(*figures)
    clips = table["clip"].unique()
    return pd.DataFrame.from_dict(cells, "index", columns=clips).fillna("")
