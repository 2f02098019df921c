"""Draws the report's plots as PNG files in memory. Needs matplotlib."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lseg_ros.evaluation.atlas import Atlas
from lseg_ros.evaluation.calibration import Calibration
from lseg_ros.inference.labels import palette_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = "#3b6ea5"
ACCENT = "#c44e52"
# Easy to tell apart. The first colors of PASCAL VOC's map are not.
_DISTINCT = (
    (70, 150, 235), (214, 39, 40), (255, 200, 0), (110, 80, 160), (240, 130, 200), (44, 150, 50), (0, 200, 190),
    (150, 90, 40), (20, 40, 140), (255, 127, 14), (160, 220, 60), (128, 128, 128), (120, 0, 60), (0, 90, 90),
    (200, 180, 255), (90, 100, 0),
)  # fmt: skip
# How names on the map are written, by whether they are labels.
_NAMES: dict[bool, dict[str, Any]] = {True: {"fontsize": 10.5, "fontweight": "bold"}, False: {"fontsize": 8}}
_LONGEST_NAME = 26  # characters
_LONGEST_ON_MAP = 16  # characters of words that are no labels; longer ones, such as definitions, would cover the map


@contextmanager
def _figure(width: float, height: float, fine: bool = False) -> "Iterator[tuple[Figure, BytesIO]]":
    """Gives an empty figure, and a file in memory that holds it as PNG at the end.

    Args:
        width: Width in inches.
        height: Height in inches.
        fine: Whether to double the resolution, for small print.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    file = BytesIO()
    # Labels are any text, so a "$" in one must not start a formula.
    with rc_context({"text.parse_math": False, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure((width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, file
        figure.savefig(file, format="png", dpi=220 if fine else 110)


def class_color(place: int) -> tuple[int, int, int]:
    """Returns the RGB color of a class. No class is black, which is the color of unlabeled pixels."""
    return _DISTINCT[place] if place < len(_DISTINCT) else palette_color(place + 1)


def iou_bars(labels: Sequence[str], iou: Sequence[float], mean: float) -> bytes:
    """Draws a bar for each class, best first.

    Args:
        labels: The N classes.
        iou: Their IoU in [0, 1]. A class with NaN has no bar.
        mean: The mean IoU in [0, 1].
    """
    order = sorted((i for i, x in enumerate(iou) if not np.isnan(x)), key=lambda i: iou[i])
    values = [100 * iou[i] for i in order]
    with _figure(8, 1.1 + 0.26 * len(order)) as (figure, file):
        axes = figure.add_subplot()
        axes.barh(range(len(order)), values, color=BAR, height=0.72)
        axes.axvline(100 * mean, color=ACCENT, linestyle="--", linewidth=1.2, zorder=0, label=f"mean {100 * mean:.1f}")
        for row, value in enumerate(values):
            text = axes.text(value + 0.8, row, f"{value:.1f}", va="center", fontsize=8.5)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # over the line of the mean
        axes.set_yticks(range(len(order)), [_short(labels[i]) for i in order])
        axes.set(xlim=(0, 108), ylim=(-0.6, len(order) - 0.4), xlabel="IoU in %")
        axes.legend(loc="lower right", frameon=False)
    return file.getvalue()


def confusion_matrix(labels: Sequence[str], counts: NDArray[np.int64]) -> bytes:
    """Draws the shares of each true class, in rows, by predicted class.

    Args:
        labels: The N classes.
        counts: [N,N+1] pixels. Classes without pixels have no row. Columns below 1 % in every row become one column.
    """
    rows = np.flatnonzero(counts.sum(1)).tolist()
    shares = 100 * counts[rows] / counts[rows].sum(1, keepdims=True)
    columns = [i for i in range(len(labels)) if i in rows or (shares[:, i] >= 1).any()]
    rest = np.delete(shares, columns, axis=1).sum(1, keepdims=True)
    shown, names = shares[:, columns], [_short(labels[i]) for i in columns]
    if rest.any():
        shown, names = np.concatenate([shown, rest], axis=1), [*names, "all others"]
    side = float(np.clip(0.5 * len(names) + 2.2, 5, 10))
    size = float(np.clip(72 * (side - 2) / len(names) * 0.7, 3.5, 9))
    with _figure(side + 0.8, side * max(0.55, min(1.0, len(rows) / len(names))), fine=size < 7) as (figure, file):
        axes = figure.add_subplot()
        image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        figure.colorbar(image, ax=axes, shrink=0.7, label="% of the true class's pixels")
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(rows)), [_short(labels[i]) for i in rows], fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        if len(names) <= 40:
            for row, column in zip(*np.nonzero(shown >= 0.5), strict=True):
                color = "white" if shown[row, column] > 55 else "black"
                text = f"{shown[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=0.85 * size, color=color)
    return file.getvalue()


def reliability(calibration: Calibration) -> bytes:
    """Draws accuracy over confidence, and below it the number of pixels of each confidence."""
    bins = calibration.bins
    middle = [(b.low + b.high) / 2 for b in bins]
    width = bins[0].high - bins[0].low
    total = max(1, sum(b.pixels for b in bins))
    with _figure(5.4, 5.6) as (figure, file):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        accuracy = [b.accuracy for b in bins]
        upper.bar(middle, np.nan_to_num(accuracy), 0.92 * width, color=BAR, label="accuracy")
        upper.plot([0, 1], [0, 1], "--", color="0.45", linewidth=1.2, label="ideal")
        filled = [b for b in bins if b.pixels]
        upper.plot([b.confidence for b in filled], [b.accuracy for b in filled], "o-", color=ACCENT, markersize=4)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"expected error {100 * calibration.error:.1f} %")
        upper.legend(loc="upper left", frameon=False)
        lower.bar(middle, [100 * b.pixels / total for b in bins], 0.92 * width, color="0.6")
        lower.set(xlabel="confidence", ylabel="% of pixels")
    return file.getvalue()


def atlas_map(atlas: Atlas, labels: Sequence[str]) -> bytes:
    """Draws pixel embeddings as dots in their class's color, labels as stars, and other words as crosses, all named."""
    from adjustText import adjust_text
    from matplotlib.patheffects import withStroke

    many = len(labels) > 24
    present = np.unique(atlas.pixel_classes)
    with _figure(11.5, 8) as (figure, file):
        axes = figure.add_subplot()
        for place in present:
            xy = atlas.pixel_xy[atlas.pixel_classes == place]
            axes.scatter(xy[:, 0], xy[:, 1], s=12, alpha=0.6, color=_mpl(place), linewidths=0)
        drawn = [i for i, t in enumerate(atlas.texts) if (not many) or (t.is_label and t.place in present)]
        for i in drawn:
            text, (x, y) = atlas.texts[i], atlas.text_xy[i]
            marker, size = ("*", 170) if text.is_label else ("X", 38)
            axes.scatter([x], [y], s=size, marker=marker, color=_mpl(text.place), edgecolors="black", linewidths=0.7)
        share = [f"{100 * part:.0f} % of the variance" for part in atlas.explained]
        axes.set(xlabel=f"first principal direction, {share[0]}", ylabel=f"second, {share[1]}")
        axes.margins(0.06)
        _legend(axes, labels, present)
        axes.autoscale(False)
        named = [i for i in drawn if atlas.texts[i].is_label or len(atlas.texts[i].text) <= _LONGEST_ON_MAP]
        names = [
            axes.text(x, y, _short(atlas.texts[i].text), zorder=5, **_NAMES[atlas.texts[i].is_label])
            for i, (x, y) in zip(named, atlas.text_xy[named], strict=True)
        ]
        for name in names:
            name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        adjust_text(
            names, *atlas.text_xy[named].T, ax=axes, iter_lim=60, arrowprops={"arrowstyle": "-", "color": "0.6"}
        )
    return file.getvalue()


def _legend(axes: "Axes", labels: Sequence[str], present: NDArray[np.int64]) -> None:
    from matplotlib.lines import Line2D

    def entry(marker: str, color: str | tuple[float, float, float], size: float) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, color=color, markersize=size)

    handles = [entry("*", "0.3", 12), entry("X", "0.3", 6), entry("o", "0.3", 4)]
    names = ["label", "another word", "pixel of class:"]
    handles += [entry("o", _mpl(i), 7) for i in present[:30]]
    # A name that begins with "_" would be left out.
    names += ["\u200b" + _short(labels[i]) for i in present[:30]]
    if len(present) > 30:
        handles.append(entry("", "0.3", 4))
        names.append(f"and {len(present) - 30} more")
    axes.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _mpl(place: int) -> tuple[float, float, float]:
    red, green, blue = class_color(int(place))
    return red / 255, green / 255, blue / 255


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
