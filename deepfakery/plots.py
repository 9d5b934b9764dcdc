"""Figures for the notebooks. Each function returns a matplotlib figure."""

import cv2
import numpy as np
from matplotlib.figure import Figure


def tile(images, columns: int = 8, gap: int = 2) -> np.ndarray:
    """Lay images side by side, row by row.

    Args:
        images: (N, H, W, 3) uint8, or float in [0, 1].
        columns: Images in a row.
        gap: White pixels between them.

    Returns:
        One uint8 RGB picture.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = (np.clip(images, 0, 1) * 255).round().astype(np.uint8)
    count, h, w = images.shape[:3]
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8
    )
    for i, image in enumerate(images):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = image
    return sheet


def picture(image: np.ndarray, title: str = "", width: float = 10) -> Figure:
    """One picture, as wide as the page."""
    height, across = image.shape[:2]
    figure = Figure(figsize=(width, width * height / across + 0.3), layout="tight")
    axes = figure.subplots()
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def grid(images, columns: int = 8, title: str = "", width: float = 10) -> Figure:
    """Images in rows; see `tile`."""
    return picture(tile(images, columns), title, width)


def strips(rows: dict, size: int = 128, title: str = "", width: float = 10) -> Figure:
    """Rows of images to compare column by column, each named at its left.

    Args:
        rows: Name → (N, H, W, 3) images, uint8 or float in [0, 1].
        size: Side to which they are scaled.
        title: Above the figure.
        width: Inches.
    """
    count = max(len(images) for images in rows.values())
    figure = Figure(
        figsize=(width, width * len(rows) / count + 0.4), layout="constrained"
    )
    axes = np.atleast_1d(figure.subplots(len(rows), 1))
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        scaled = [cv2.resize(np.asarray(im), (size, size)) for im in images]
        ax.imshow(tile(np.stack(scaled), count))
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, fontsize=9)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def curves(history: list[dict], names=None, title: str = "", width: float = 10):
    """Training metrics against steps.

    Args:
        history: As in `runs.Run.history`.
        names: Metrics to draw; all but step and seconds by default.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    _draw_curves(figure.subplots(), history, names)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def training(history: list[dict], rows: dict, width: float = 10) -> Figure:
    """Loss curves above a preview grid: what a run looks like while it goes on."""
    sheet = tile(np.concatenate(list(rows.values())), len(next(iter(rows.values()))))
    height = width * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(width, 2.2 + height), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2.2, height))
    _draw_curves(top, history)
    bottom.imshow(sheet)
    step = sheet.shape[0] / len(rows)
    bottom.set_yticks([step * (i + 0.5) for i in range(len(rows))], list(rows))
    bottom.set_xticks([])
    bottom.tick_params(left=False, labelsize=8)
    bottom.spines[:].set_visible(False)
    return figure


def distances(rows: np.ndarray, painted: str, target: str, width: float = 10) -> Figure:
    """Descriptor distances of a clip's frames to the two people.

    Args:
        rows: (frames, 2), as `evaluate.identity` gives them.
        painted: Name of the painted person.
        target: Name of the person who was there before.
        width: Inches.
    """
    figure = Figure(figsize=(width, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rows[:, 0], label=f"to {painted} (painted)")
    axes.plot(rows[:, 1], label=f"to {target} (there before)")
    axes.axhline(0.6, color="0.5", linestyle="--", linewidth=1)
    axes.text(0, 0.605, "same person below", color="0.4", fontsize=8)
    axes.set(xlabel="frame", ylabel="descriptor distance", ylim=(0, 1))
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    return figure


def scatter(points: dict, x: str, y: str, title: str = "", width: float = 5) -> Figure:
    """Clouds of points, one a name.

    Args:
        points: Name → (N, 2).
        x: What the first column is.
        y: What the second is.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, width * 0.7), layout="constrained")
    axes = figure.subplots()
    for name, cloud in points.items():
        axes.scatter(cloud[:, 0], cloud[:, 1], s=8, alpha=0.6, label=name)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _draw_curves(axes, history, names=None):
    names = names or [k for k in history[-1] if k not in ("step", "seconds")]
    steps = [entry["step"] for entry in history]
    for name in names:
        axes.plot(steps, [entry[name] for entry in history], label=name, linewidth=1.2)
    axes.set(xlabel="step", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, frameon=False, ncols=len(names))
