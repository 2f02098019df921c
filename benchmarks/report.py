"""Turns results into a page, and the picture and the table in README."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.inputs import ROOT
from benchmarks.targets import FP32, fastest, find, targets

RESULTS = Path(__file__).parent / "results"
README = ROOT / "README.md"
PICTURE = ROOT / "docs/performance.png"
SHOWN = [  # the cases in README's table
    ("lseg_mini", "480x360", 11),
    ("lseg_mini", "640x480", 20),
    ("lseg_mini", "640x480", 150),
    ("lseg_mini", "1280x720", 20),
    ("lseg_vit_l16", "480x480", 7),
    ("lseg_vit_l16", "480x480", 150),
]
_BETWEEN = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", re.DOTALL)


def write_report(results: dict[str, Any], path: Path) -> None:
    """Writes the page beside a file of results; also README's table and picture if the file belongs to the project."""
    path.with_suffix(".html").write_text(page(results), encoding="utf-8")
    if path.parent == RESULTS:
        write_table()
        if cases := _main_cases(results):
            from benchmarks.plots import stage_plot

            PICTURE.write_bytes(stage_plot(cases))


def write_table() -> None:
    """Writes README's table again."""
    README.write_text(_BETWEEN.sub(lambda _: table(), README.read_text(encoding="utf-8")), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """Returns the page as one HTML text."""
    from jinja2 import Environment, StrictUndefined

    from benchmarks.plots import label_plot, stage_plot

    source = (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    models = list(dict.fromkeys(case["model"] for case in results["segmenter"]))
    cases = _main_cases(results)
    return environment.from_string(source).render(
        results=results,
        targets=targets(results),
        fastest=fastest,
        miou={r["model"]: {n: s["miou"] for n, s in r["subjects"].items()} for r in results["accuracy"]},
        stages=_uri(stage_plot(cases)) if cases else "",
        growth={m: _uri(label_plot([c for c in results["segmenter"] if c["model"] == m])) for m in models},
    )


def table() -> str:
    """Returns README's table, with a part for each machine."""
    files = sorted(path for path in RESULTS.glob("*.json") if not path.name.startswith("baseline-"))
    return "".join(_of_machine(json.loads(path.read_text())) for path in files)


def _of_machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    cases = [case for model, image, count in SHOWN if (case := _case(results, model, image, count))]
    if not cases:
        return ""
    dates = sorted({case["date"] for case in cases})
    cores = f"{machine['cores']} cores of an {machine['cpu']}" if not machine["gpu"] else machine["gpu"]
    lines = [
        f"{cores}, PyTorch {machine['torch']}, {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}, milliseconds:",
        "",
        "| model | image | labels | plain | PyTorch, float32 | fastest here | mIoU* |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        subjects = case["subjects"]
        name = fastest(subjects)
        right = find(results, "accuracy", model=case["model"])
        miou = [f"{right['subjects'][n]['miou']:.1f}" for n in (FP32, name) if n in right["subjects"]] if right else []
        cells = [
            case["model"],
            case["image"],
            str(case["labels"]),
            _ms(subjects["plain"]["ms"]),
            f"{_ms(subjects[FP32]['ms'])} ({subjects[FP32]['times_plain']:.1f}x)",
            f"{_ms(subjects[name]['ms'])} ({subjects[name]['times_plain']:.1f}x), {name}",
            " / ".join(miou) or "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ""])


def _case(results: dict[str, Any], model: str, image: str, count: int) -> dict[str, Any] | None:
    return find(results, "segmenter", model=model, image=image, labels=count)


def _main_cases(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the cases that the picture shows."""
    wanted = (SHOWN[0], SHOWN[2], SHOWN[4], SHOWN[5])
    return [case for shown in wanted if (case := _case(results, *shown))]


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
