"""Draws the page's plots as PNG files in memory. Needs matplotlib."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

STAGES = {"preprocess": "#9aa6b5", "text": "#c44e52", "encode": "#3b6ea5", "score": "#e0a030"}


def stage_plot(cases: Sequence[dict[str, Any]]) -> bytes:
    """Draws a bar for each subject of each case, made of its stages."""
    with _style():
        rows = sum(len(case["subjects"]) for case in cases)
        figure = Figure((9, 1.0 + 0.75 * len(cases) + 0.3 * rows), layout="constrained")
        heights = [len(case["subjects"]) for case in cases]
        for axes, case in zip(
            figure.subplots(len(cases), squeeze=False, height_ratios=heights)[:, 0], cases, strict=True
        ):
            subjects = case["subjects"]
            left = dict.fromkeys(subjects, 0.0)
            for stage, color in STAGES.items():
                widths = [subject["stages_ms"].get(stage, 0.0) for subject in subjects.values()]
                axes.barh(list(subjects), widths, left=list(left.values()), color=color, label=stage, height=0.7)
                left = {name: x + width for (name, x), width in zip(left.items(), widths, strict=True)}
            longest = max(left.values())
            for row, (name, subject) in enumerate(subjects.items()):
                text = f"{subject['ms']:.0f} ms, {subject['times_plain']:.1f}x"
                axes.text(left[name] + 0.01 * longest, row, text, va="center", fontsize=9)
            axes.set_xlim(0, 1.16 * longest)
            axes.invert_yaxis()
            axes.set_title(f"{case['model']}, {case['image']}, {case['labels']} labels", loc="left", fontsize=10)
        axes.set_xlabel("milliseconds")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, ncols=len(STAGES), loc="outside lower center", frameon=False)
        return _png(figure)


def label_plot(cases: Sequence[dict[str, Any]]) -> bytes:
    """Draws one model's time against the number of labels, with a panel for each image size."""
    images = list(dict.fromkeys(case["image"] for case in cases))
    with _style():
        figure = Figure((9, 3.4), layout="constrained")
        for axes, image in zip(figure.subplots(1, len(images), squeeze=False, sharey=True)[0], images, strict=True):
            shown = [case for case in cases if case["image"] == image]
            for name in shown[0]["subjects"]:
                points = [(case["labels"], case["subjects"][name]["ms"]) for case in shown if name in case["subjects"]]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
            axes.set(xscale="log", yscale="log", title=image, xlabel="labels", xticks=[7, 20, 150])
            axes.set_xticklabels(["7", "20", "150"])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel("milliseconds")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
        return _png(figure)


def _style() -> AbstractContextManager[None]:
    return rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
