"""Figures for the notebooks. Each function returns a matplotlib figure.

Wherever it can be given, `title` stands above the figure and `width` is in inches.
"""

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from skimage.util import montage

from deepfakery.batches import restore
from deepfakery.evaluate import metrics
from deepfakery.evaluate.metrics import MEASURES, PERSON, TARGET, TRUTH

LEGEND = {"fontsize": 8, "frameon": False}
#: A loss has one colour in all figures; seen on other faces, another line.
COLOURS = {"loss": "C0", "d_loss": "C3", "g_loss": "C2", "d_accuracy": "C4"}
LINES = {"held_out_": "--", "known_": ":"}
#: What a metric is called, where its own name does not say it.
NAMES = {
    "d_accuracy": "accuracy",
    "frechet": "Fréchet distance",
    "x2_error": "error, ×2",
    "x4_error": "error, ×4",
}


def _figure(size: tuple, title: str = "", shape: tuple = (1, 1), **how):
    """A figure and its axes: one, or an array of that shape."""
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure, figure.subplots(*shape, **how)


def _bare(axes) -> None:
    """Leave nothing of the axes but what is drawn on them and their label."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def tile(images, columns: int = 8) -> np.ndarray:
    """Images (N, H, W, 3), uint8 or float in [0, 1], laid row by row into one."""
    images = np.asarray(images)
    images = images if images.dtype == np.uint8 else restore(images)
    shape, white = (-(-len(images) // columns), columns), (255, 255, 255)
    sheet = montage(images, white, False, shape, padding_width=2, channel_axis=-1)
    return sheet[2:-2, 2:-2]


def fit(images, size: int, width: int = 0) -> np.ndarray:
    """Scale images so that their longer sides are `size`, on white of one size.

    Images (H, W, 3), uint8 or float in [0, 1], of any shapes → (N, h, w, 3) of their
    kind, as high and wide as they need, at least `width`.
    """
    scaled = []
    for image in map(np.asarray, images):
        scale = size / max(image.shape[:2])
        across, down = (max(1, round(scale * side)) for side in image.shape[1::-1])
        scaled.append(cv2.resize(image, (across, down)))
    high, wide = np.max([image.shape[:2] for image in scaled], axis=0)
    white = 255 if scaled[0].dtype == np.uint8 else 1
    out = np.full((len(scaled), high, max(wide, width), 3), white, scaled[0].dtype)
    for place, image in zip(out, scaled, strict=True):
        down, across = image.shape[:2]
        top, left = (place.shape[0] - down) // 2, (place.shape[1] - across) // 2
        place[top : top + down, left : left + across] = image
    return out


def picture(image: np.ndarray, title: str = "", width: float = 10) -> Figure:
    """One picture, (H, W, 3), as wide as the page."""
    height = width * image.shape[0] / image.shape[1] + 0.3
    figure, axes = _figure((width, height), title)
    axes.imshow(image)
    axes.set_axis_off()
    return figure


def grid(images, columns: int = 8, title: str = "", width: float = 10) -> Figure:
    """Images in rows; see `tile`."""
    return picture(tile(images, columns), title, width)


def strips(
    rows: dict, size: int = 128, title: str = "", width: float = 10, columns=()
) -> Figure:
    """Rows of images to compare column by column, each named at its left.

    Args:
        rows: Name → (N, H, W, 3) images, uint8 or float in [0, 1].
        size: Longer side to which they are scaled.
        columns: What stands above each column.
    """
    count = max(map(len, rows.values()))
    # Side by side, frames of other shapes get the room of the widest.
    cell = max(fit(images, size).shape[2] for images in rows.values())
    sheets = [tile(fit(images, size, cell), count) for images in rows.values()]
    heights = [sheet.shape[0] / sheet.shape[1] for sheet in sheets]
    page = width, width * sum(heights) + 0.4
    figure, axes = _figure(page, title, (len(rows), 1), height_ratios=heights)
    for ax, name, sheet in zip(np.atleast_1d(axes), rows, sheets, strict=True):
        ax.imshow(sheet)
        _bare(ax)
        ax.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    if columns:
        top = figure.axes[0]
        middles = (np.arange(len(columns)) + 0.5) * sheets[0].shape[1] / count
        top.set_xticks(middles, columns, fontsize=9)
        top.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False)
    return figure


def curves(history: list[dict], names, title: str = "", scale: str = "log") -> Figure:
    """Training metrics against steps; `history` is as in `training.Run.history`."""
    figure, axes = _figure((10, 2.6), title)
    _draw_curves(axes, history, names, scale)
    return figure


def _draw_curves(axes, history, names, scale="log") -> None:
    for name in names:  # held-out figures are not in every entry
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        seen = next((prefix for prefix in LINES if name.startswith(prefix)), "")
        style = {"color": COLOURS.get(name.removeprefix(seen)), "ls": LINES.get(seen)}
        label = NAMES.get(name, name)
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2, **style)
    axes.set(xlabel="step", yscale=scale)
    if scale == "log":  # 0.15, not 1.5 × 10⁻¹
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.grid(alpha=0.3, which="both")
    axes.legend(ncols=min(len(names), 4), **LEGEND)


def compared(histories: dict, key: str, title: str = "") -> Figure:
    """One metric of several runs against steps: name → `training.Run.history`."""
    figure, axes = _figure((10, 2.8), title)
    for name, history in histories.items():
        axes.plot([e["step"] for e in history], [e[key] for e in history], label=name)
    axes.set(xlabel="step", ylabel=NAMES.get(key, key).replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), **LEGEND)
    return figure


def training(history: list[dict], rows: dict) -> Figure:
    """Loss curves above a preview grid of rows: name → images, as many in each."""
    sheet = tile(np.concatenate(list(rows.values())), len(next(iter(rows.values()))))
    heights = 2.2, 10 * sheet.shape[0] / sheet.shape[1]
    page = 10, sum(heights)
    figure, (top, bottom) = _figure(page, shape=(2, 1), height_ratios=heights)
    seen = dict.fromkeys(key for entry in history for key in entry)
    _draw_curves(top, history, [key for key in seen if key.endswith("loss")])
    bottom.imshow(sheet)
    _bare(bottom)
    centres = (np.arange(len(rows)) + 0.5) * sheet.shape[0] / len(rows)
    bottom.set_yticks(centres, list(rows))
    bottom.tick_params(left=False, labelsize=8)
    return figure


def coverage(measured: dict, kinds: dict) -> Figure:
    """What two or more face sets hold, side by side: poses as maps, the rest as curves.

    Args:
        measured: Identity → what `coverage.measure` gives.
        kinds: `coverage.KINDS`.
    """
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    maps = above.subplots(1, len(measured), sharex=True, sharey=True, squeeze=False)[0]
    bins = yaw, pitch = np.arange(-62.5, 63, 5), np.arange(-37.5, 38, 5)
    tables = [np.histogram2d(m["yaw"], m["pitch"], bins)[0] for m in measured.values()]
    most = max(1, np.max(tables))
    for ax, name, own in zip(maps, measured, tables, strict=True):
        shown = np.ma.masked_equal(own.T, 0)
        image = ax.pcolormesh(yaw, pitch, shown, cmap="viridis", vmin=0, vmax=most)
        x, y = np.nonzero((own == 0) & (sum(tables) >= 3))
        label, count = "only the other has it", len(measured[name]["yaw"])
        ax.scatter(yaw[x] + 2.5, pitch[y] + 2.5, 25, "tab:red", marker="x", label=label)
        ax.set(title=f"{name}: {count} faces", xlabel="yaw (degrees)")
        ax.grid(alpha=0.25)
        if len(x):
            ax.legend(fontsize=7, loc="lower right")
    maps[0].set_ylabel("pitch (degrees)")
    above.colorbar(image, ax=maps, label="faces", shrink=0.8)
    names = [name for name in kinds if name not in ("yaw", "pitch")]
    for ax, key in zip(below.subplots(1, len(names)), names, strict=True):
        values = np.concatenate([m[key] for m in measured.values()])
        edges = np.linspace(values.min(), values.max() + 1e-6, 21)
        for name, m in measured.items():
            ax.hist(m[key], edges, histtype="stepfilled", alpha=0.45, label=name)
        ax.set(xlabel=f"{key} ({kinds[key][0]})" if kinds[key][0] else key, yticks=[])
    below.axes[0].legend(fontsize=7)
    below.axes[0].set_ylabel("faces")
    return figure


def rejections(found: dict) -> Figure:
    """What extraction turned away: how many faces for each reason, and six of them.

    Args:
        found: Identity → (faces kept, what `FaceSet.rejected` gives).
    """
    rows = []
    for name, (kept, rejected) in found.items():
        rows.append((f"{name}: {kept} kept", kept, None))
        for reason, (number, pictures) in sorted(rejected.items()):
            rows.append((f"{number} {reason}", number, pictures[:6]))
    page = 10, 0.62 * len(rows) + 0.3
    figure, axes = _figure(page, shape=(len(rows), 2), squeeze=False)
    longest = max(number for _, number, _ in rows) or 1
    for (label, number, pictures), (bar, strip) in zip(rows, axes, strict=True):
        bar.barh([0], [number], color="tab:green" if pictures is None else "tab:red")
        bar.set(xlim=(0, longest), ylim=(-0.7, 0.7))
        _bare(bar)
        bar.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        strip.set_axis_off()
        if pictures is not None and len(pictures):
            strip.imshow(tile(fit(pictures, 72), 6))
            strip.set_anchor("W")
    return figure


def evaluation(table) -> Figure:
    """A table of `tables.summarise`: a panel a measure, a dot and interval a clip."""
    clips = list(dict.fromkeys(table["clip"]))
    chosen = [m for m in MEASURES.values() if m.name in set(table["measure"])]
    # What a swap is compared with is grey; every swap has a colour of its own.
    greys = {TARGET: "0.45", TRUTH: "0.0", PERSON: "0.65"}
    swaps = [name for name in clips if name not in greys]
    colours = {name: f"C{i}" for i, name in enumerate(swaps)} | greys
    rows = -(-len(chosen) // 4)
    page = 10, rows * (0.55 + 0.17 * len(clips)) + 0.1
    figure, axes = _figure(page, shape=(rows, 4), squeeze=False, sharey=True)
    for ax, m in zip(axes.flat, chosen, strict=False):
        part = table[table["measure"] == m.name]
        if m.unit == "share":
            ax.set_xlim(-0.05, 1.05)
        if m.unit == "dB":  # of the ground truth itself it has no end
            part = part[part["clip"] != TRUTH]
        at, colour = part["clip"].map(clips.index), part["clip"].map(colours)
        ax.hlines(at, part["low"], part["high"], colour, linewidth=2, alpha=0.5)
        ax.scatter(part["value"], at, 25, colour)
        ax.set_title(m.heading, fontsize=8, loc="left")
        ax.set_yticks(range(len(clips)), clips)
        ax.set_ylim(len(clips) - 0.4, -0.6)
        ax.tick_params(labelsize=8)
        ax.tick_params(axis="y", left=False)
        ax.grid(axis="x", alpha=0.3)
        ax.spines[["top", "right", "left"]].set_visible(False)
    for ax in axes.flat[len(chosen) :]:
        ax.set_axis_off()
    said = "↑ higher is better, ↓ lower, → 1 near 1, → real as in real footage"
    said += "; lines: 95 % intervals"
    figure.supxlabel(said, fontsize=8, x=0.99, ha="right")
    return figure


def roc(scores: dict, title: str = "") -> Figure:
    """ROC curves: name → (scores of real faces, of generated ones), higher for real."""
    figure, axes = _figure((5, 4), title)
    for name, kinds in scores.items():
        label = f"{name}, area {metrics.auc(*kinds):.2f}"
        axes.plot(*metrics.roc(*kinds), label=label)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axes.set_xlabel("false positive rate (real faces called generated)")
    axes.set_ylabel("true positive rate (generated faces found)")
    axes.legend(loc="lower right", **LEGEND)
    return figure
