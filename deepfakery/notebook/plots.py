"""Figures for the notebooks. Each function returns a matplotlib figure."""

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from deepfakery.evaluate import metrics
from deepfakery.evaluate.metrics import MEASURES, PERSON, SIGNS, TARGET, TRUTH, auc


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


def fit(images, size: int) -> np.ndarray:
    """Scale images so that their longer sides are `size`, on white of one size.

    Args:
        images: (H, W, 3) uint8 or float in [0, 1], of any shapes.
        size: In pixels.

    Returns:
        (N, h, w, 3) of the images' kind, as high and wide as they need.
    """
    scaled = []
    for image in map(np.asarray, images):
        scale = size / max(image.shape[:2])
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        scaled.append(cv2.resize(image, (width, height)))
    high, wide = np.max([image.shape[:2] for image in scaled], axis=0)
    white = 255 if scaled[0].dtype == np.uint8 else 1
    out = np.full((len(scaled), high, wide, 3), white, scaled[0].dtype)
    for place, image in zip(out, scaled, strict=True):
        height, width = image.shape[:2]
        top, left = (high - height) // 2, (wide - width) // 2
        place[top : top + height, left : left + width] = image
    return out


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
        size: Longer side to which they are scaled.
        title: Above the figure.
        width: Inches.
    """
    count = max(len(images) for images in rows.values())
    # Side by side, frames of other shapes get the room of the widest.
    fitted = {name: fit(images, size) for name, images in rows.items()}
    cell = max(images.shape[2] for images in fitted.values())
    sheets = {n: tile(_widened(images, cell), count) for n, images in fitted.items()}
    heights = [sheet.shape[0] / sheet.shape[1] for sheet in sheets.values()]
    figure = Figure(figsize=(width, width * sum(heights) + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(rows), 1, height_ratios=heights))
    for ax, (name, sheet) in zip(axes, sheets.items(), strict=True):
        ax.imshow(sheet)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _widened(images: np.ndarray, width: int) -> np.ndarray:
    spare = width - images.shape[2]
    white = 255 if images.dtype == np.uint8 else 1
    sides = (0, 0), (0, 0), (spare // 2, spare - spare // 2), (0, 0)
    return np.pad(images, sides, constant_values=white)


def curves(history: list[dict], names=None, title: str = "", width: float = 10):
    """Training metrics against steps.

    Args:
        history: As in `training.Run.history`.
        names: Metrics to draw; all but step and seconds by default.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    _draw_curves(figure.subplots(), history, names)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def compared(histories: dict, key: str, title: str = "", width: float = 10) -> Figure:
    """One metric of several runs against steps.

    Args:
        histories: Name → history, as in `training.Run.history`.
        key: The metric.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, 2.8), layout="constrained")
    axes = figure.subplots()
    for name, history in histories.items():
        axes.plot([e["step"] for e in history], [e[key] for e in history], label=name)
    axes.set(xlabel="step", ylabel=key.replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def training(history: list[dict], rows: dict, width: float = 10) -> Figure:
    """Loss curves above a preview grid: what a run looks like while it goes on."""
    sheet = tile(np.concatenate(list(rows.values())), len(next(iter(rows.values()))))
    height = width * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(width, 2.2 + height), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2.2, height))
    seen = dict.fromkeys(key for entry in history for key in entry)
    _draw_curves(top, history, [key for key in seen if key.endswith("loss")])
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
        rows: (frames, 2), as `measure.identity` gives them.
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
    # Held-out figures are not in every entry; what never moved from 0 was not measured.
    seen = {k: None for entry in history for k, value in entry.items() if value}
    names = names or [k for k in seen if k not in ("step", "seconds")]
    for name in names:
        points = [(e["step"], e[name]) for e in history if name in e]
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2)
    axes.set(xlabel="step", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, frameon=False, ncols=min(len(names), 4))


def coverage(measured: dict, kinds: dict, width: float = 10) -> Figure:
    """What two or more face sets hold, side by side: poses as maps, the rest as curves.

    Args:
        measured: Identity → what `coverage.measure` gives.
        kinds: `coverage.KINDS`.
        width: Inches.
    """
    count = len(measured)
    figure = Figure(figsize=(width, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    maps = above.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0]
    yaw, pitch = np.arange(-62.5, 63, 5), np.arange(-37.5, 38, 5)
    tables = [
        np.histogram2d(m["yaw"], m["pitch"], (yaw, pitch))[0] for m in measured.values()
    ]
    most = max(1, max(table.max() for table in tables))
    for ax, name, own in zip(maps, measured, tables, strict=True):
        others = sum(table for table in tables if table is not own)
        shown = np.ma.masked_equal(own.T, 0)
        image = ax.pcolormesh(yaw, pitch, shown, cmap="viridis", vmin=0, vmax=most)
        missing = np.argwhere((own == 0) & (others >= 3))
        x, y = (yaw[:-1] + 2.5)[missing[:, 0]], (pitch[:-1] + 2.5)[missing[:, 1]]
        ax.plot(x, y, "x", color="tab:red", markersize=5, label="only the other has it")
        ax.set(
            title=f"{name}: {len(measured[name]['yaw'])} faces", xlabel="yaw (degrees)"
        )
        ax.grid(alpha=0.25)
        if len(missing):
            ax.legend(fontsize=7, loc="lower right")
    maps[0].set_ylabel("pitch (degrees)")
    above.colorbar(image, ax=maps, label="faces", shrink=0.8)
    names = [name for name in kinds if name not in ("yaw", "pitch")]
    for ax, key in zip(below.subplots(1, len(names)), names, strict=True):
        values = np.concatenate([m[key] for m in measured.values()])
        edges = np.linspace(values.min(), values.max() + 1e-6, 21)
        for name, m in measured.items():
            ax.hist(m[key], edges, histtype="stepfilled", alpha=0.45, label=name)
        ax.set(xlabel=f"{key} ({kinds[key][0]})" if kinds[key][0] else key)
        ax.set_yticks([])
    below.axes[0].legend(fontsize=7)
    below.axes[0].set_ylabel("faces")
    return figure


def rejections(
    found: dict, count: int = 6, size: int = 72, width: float = 10
) -> Figure:
    """What extraction turned away: how many faces for each reason, and a few of them.

    Args:
        found: Identity → (faces kept, what `FaceSet.rejected` gives).
        count: Pictures a reason.
        size: Their side in pixels.
        width: Inches.
    """
    rows = []
    for name, (kept, rejected) in found.items():
        rows.append((f"{name}: {kept} kept", kept, None))
        for reason, (number, pictures) in sorted(rejected.items()):
            rows.append((f"{number} {reason}", number, pictures[:count]))
    figure = Figure(figsize=(width, 0.62 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(
        len(rows), 2, width_ratios=(1, 1), gridspec_kw={"hspace": 0}, squeeze=False
    )
    longest = max(number for _, number, _ in rows) or 1
    for (label, number, pictures), (bar, strip) in zip(rows, axes, strict=True):
        bar.barh([0], [number], color="tab:green" if pictures is None else "tab:red")
        bar.set(xlim=(0, longest), ylim=(-0.7, 0.7), xticks=[], yticks=[])
        bar.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        bar.spines[:].set_visible(False)
        strip.set_axis_off()
        if pictures is not None and len(pictures):
            strip.imshow(tile(fit(pictures, size), count))
            strip.set_anchor("W")
    return figure


def evaluation(table, measures=None, width: float = 10) -> Figure:
    """A swap beside its floors and ceilings: a panel a measure, a dot a clip.

    Args:
        table: As from `tables.summarise`.
        measures: Names of `metrics.MEASURES`; all in the table by default.
        width: Inches.
    """
    clips = list(dict.fromkeys(table["clip"]))
    present = set(table["measure"])
    chosen = [m for m in measures or MEASURES if m in present]
    # What a swap is compared with is grey; every swap has a colour of its own.
    greys = {TARGET: "0.45", TRUTH: "0.0", PERSON: "0.65"}
    swaps = [name for name in clips if name not in greys]
    colours = {name: f"C{i}" for i, name in enumerate(swaps)} | greys
    columns = 4
    rows = -(-len(chosen) // columns)
    height = 0.55 + 0.17 * len(clips)
    figure = Figure(figsize=(width, rows * height + 0.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax, name in zip(axes.flat, chosen, strict=False):
        m, part = MEASURES[name], table[table["measure"] == name]
        if m.unit == "share":
            ax.set_xlim(-0.05, 1.05)
        if m.unit == "dB":  # of the true swap itself it has no end
            part = part[part["clip"] != TRUTH]
        for row in part.itertuples():
            y, colour = clips.index(row.clip), colours[row.clip]
            ax.plot([row.low, row.high], [y, y], color=colour, linewidth=2, alpha=0.5)
            ax.plot(row.value, y, "o", color=colour, markersize=5)
        ax.set_title(_measure_title(m), fontsize=8, loc="left")
        ax.set_yticks(range(len(clips)), clips)
        ax.set_ylim(len(clips) - 0.4, -0.6)
        ax.tick_params(labelsize=8)
        ax.tick_params(axis="y", left=False)
        ax.grid(axis="x", alpha=0.3)
        ax.spines[["top", "right", "left"]].set_visible(False)
    for ax in axes.flat[len(chosen) :]:
        ax.set_axis_off()
    said = (
        "↑ higher is better, ↓ lower is better, → 1 best near 1; lines: 95 % intervals"
    )
    figure.supxlabel(said, fontsize=8, x=0.99, ha="right")
    return figure


def over_time(table, measures, title: str = "", width: float = 10) -> Figure:
    """Measures against training time, between the target and the true swap.

    Args:
        table: As from `tables.summarise`, of clips that are named by their seconds.
        measures: Names of `metrics.MEASURES`.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, 2.5), layout="constrained")
    timed = table[[isinstance(clip, int | float) for clip in table["clip"]]]
    for ax, name in zip(figure.subplots(1, len(measures)), measures, strict=True):
        m = MEASURES[name]
        course = timed[timed["measure"] == name]
        seconds = course["clip"].astype(float)
        ax.fill_between(seconds, course["low"], course["high"], alpha=0.2)
        ax.plot(seconds, course["value"], "o-", markersize=4)
        for clip, style in ((TARGET, ":"), (TRUTH, "--")):
            level = table[(table["clip"] == clip) & (table["measure"] == name)]["value"]
            # A ceiling far away (PSNR of the truth itself) would flatten the course.
            if len(level) and m.unit != "dB":
                ax.axhline(level.item(), color="0.5", linestyle=style, label=clip)
        ax.set_title(_measure_title(m), fontsize=8, loc="left")
        ax.set_xlabel("seconds of training", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.grid(alpha=0.3)
    handles = {h.get_label(): h for ax in figure.axes for h in ax.lines}
    named = [handles[clip] for clip in (TARGET, TRUTH) if clip in handles]
    if named:
        above = {"loc": "upper right", "ncols": 2, "frameon": False}
        figure.legend(handles=named, fontsize=8, **above)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _measure_title(m) -> str:
    unit = f", {m.unit}" if m.unit else ""
    return f"{m.label}{unit} {SIGNS[m.better]}"


def mosaic(latent: np.ndarray, title: str = "", width: float = 10) -> Figure:
    """Every channel of a latent map as a tile, each from its least to its greatest.

    Args:
        latent: (s, s, depth).
        title: Above the figure.
        width: Inches.
    """
    channels = np.moveaxis(latent, -1, 0)
    low = channels.min((1, 2), keepdims=True)
    spread = channels.max((1, 2), keepdims=True) - low
    tiles = ((channels - low) / np.maximum(spread, 1e-6))[..., None].repeat(3, -1)
    tiles = tiles.repeat(4, 1).repeat(4, 2)  # drawn as squares, not as a blur
    return grid(tiles, columns=max(8, round(2 * len(tiles) ** 0.5)), title=title)


def roc(scores: dict, title: str = "", width: float = 5) -> Figure:
    """How well scores tell two kinds apart, at every threshold.

    Args:
        scores: Name → (scores of real, scores of painted), higher for real.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, width * 0.8), layout="constrained")
    axes = figure.subplots()
    for name, (real, fake) in scores.items():
        axes.plot(*metrics.roc(real, fake), label=f"{name}, area {auc(real, fake):.2f}")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axes.set(
        xlabel="false positive rate (generated)",
        ylabel="true positive rate (real)",
        title=title,
    )
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    return figure


def sweep(trials: list[tuple[float, dict]], label: str, width: float = 10) -> Figure:
    """What a search over settings found: one panel a setting, one dot a trial.

    Args:
        trials: (figure reached, {setting: value}).
        label: What the figure is.
        width: Inches.
    """
    settings = list(trials[0][1])
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, settings, strict=True):
        dots = sorted((str(chosen[setting]), value) for value, chosen in trials)
        axes.plot(*zip(*dots, strict=True), "o", alpha=0.7)
        axes.set(xlabel=setting)
        axes.margins(x=0.3)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(label, fontsize=8)
    return figure


def heat(pictures: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Maps over the pictures that they belong to, bright where they are high.

    Args:
        pictures: (N, H, W, 3) uint8.
        maps: (N, H, W); what is below 0 stays dark, the highest of each is brightest.

    Returns:
        (N, H, W, 3) uint8.
    """
    highest = np.maximum(maps.max((1, 2), keepdims=True), 1e-6)
    glow = colormaps["inferno"](np.clip(maps / highest, 0, 1))[..., :3]
    return (0.45 * pictures + 0.55 * 255 * glow).round().astype(np.uint8)


def timeline(
    scores: dict, painted: np.ndarray, threshold: float, title: str = "", width=10
) -> Figure:
    """A detector's word on each frame of a clip, beside the truth.

    Args:
        scores: Name → (N,), higher for real.
        painted: (N,) bool: which frames are.
        threshold: Below it a frame is called painted.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, 0.3 + 1.5 * len(scores)), layout="constrained")
    axes = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, course) in zip(axes, scores.items(), strict=True):
        ax.fill_between(
            np.arange(len(painted)),
            0,
            1,
            where=painted,
            step="mid",
            color="tab:red",
            alpha=0.15,
            linewidth=0,
            transform=ax.get_xaxis_transform(),
        )
        ax.plot(course, linewidth=1)
        ax.axhline(threshold, color="0.5", linestyle="--", linewidth=1)
        ax.set_ylabel(name, fontsize=8)
        ax.tick_params(labelsize=8)
    axes[-1].set_xlabel("frame; red: painted; below the dashed line: called painted")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def intervals(table, title: str = "", width: float = 10) -> Figure:
    """How well detectors do in each case: dots, and lines for 95 % intervals.

    Args:
        table: As from `detection.measure`.
        title: Above the figure.
        width: Inches.
    """
    cases = list(dict.fromkeys(table["case"]))
    detectors = list(dict.fromkeys(table["detector"]))
    figure = Figure(figsize=(width, 0.8 + 0.36 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(detectors):
        part = table[table["detector"] == name]
        y = np.array([cases.index(case) for case in part["case"]])
        y = y + 0.2 * (i - (len(detectors) - 1) / 2)
        axes.hlines(y, part["low"], part["high"], f"C{i}", linewidth=3, alpha=0.4)
        axes.plot(part["auc"], y, "o", color=f"C{i}", markersize=5, label=name)
    axes.axvline(0.5, color="0.6", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(cases)), cases)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlabel("area under the ROC curve; 0.5 guesses")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def spectra(kinds: dict, title: str = "", width: float = 6) -> Figure:
    """How much detail of each size faces hold, by kind.

    Args:
        kinds: Name → (N, S / 2), as from `detection.spectrum`.
        title: Above the figure.
        width: Inches.
    """
    figure = Figure(figsize=(width, width * 0.5), layout="constrained")
    axes = figure.subplots()
    for name, rows in kinds.items():
        at = np.arange(1, rows.shape[1] + 1)
        low, middle, high = np.percentile(rows, (10, 50, 90), axis=0)
        axes.plot(at, middle, label=name, linewidth=1.2)
        axes.fill_between(at, low, high, alpha=0.15)
    axes.set(xlabel="waves across the face: coarse to fine", ylabel="log power")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure
