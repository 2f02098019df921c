"""The file that `make gpu` writes, and the parts of README and the performance page that come from it."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.__main__ import PARTS, place, same
from benchmarks.__main__ import read as read_results
from benchmarks.machine import slug
from benchmarks.targets import targets

DOCS = report.ROOT / "docs/performance.md"
_BETWEEN = re.compile(r"(?<=<!-- gpu -->\n).*?(?=<!-- /gpu -->)", re.DOTALL)


def read() -> tuple[Path, dict[str, Any]]:
    """Returns the path of this machine's file, and its content."""
    path = report.RESULTS / f"{slug()}.json"
    return path, read_results(path)


def merge(results: dict[str, Any]) -> None:
    """Keeps only the last of several results of a case."""
    for part in PARTS:
        kept: list[dict[str, Any]] = []
        for result in results[part]:
            kept = [other for other in kept if not same(other, result)] + [result]
        results[part] = sorted(kept, key=place)


def write(results: dict[str, Any], path: Path) -> list[str]:
    """Writes README's table, the section on GPUs, and the page beside the file. Prints what could not be written."""
    report.write_table()
    write_section()
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        return [
            f"the page is left out: {' and '.join(missing)} are not installed; python -m benchmarks --parts makes it"
        ]
    path.with_suffix(".html").write_text(report.page(results), encoding="utf-8")
    return []


def write_section() -> None:
    """Writes the document's section on GPUs again."""
    DOCS.write_text(_BETWEEN.sub(lambda _: section(), DOCS.read_text(encoding="utf-8")), encoding="utf-8")


def section(folder: Path | None = None) -> str:
    """Returns the section on GPUs, with a part for each card that has results in the folder."""
    files = sorted((folder or report.RESULTS).glob("*.json"))
    cards = [results for path in files if "gpu" in (results := json.loads(path.read_text(encoding="utf-8")))]
    if not cards:
        return "No file of results of a GPU is here yet: none of this was run on one.\n"
    return "\n".join(_of_card(results) for results in cards)


def _of_card(results: dict[str, Any]) -> str:
    machine, gpu = results["machine"], results["gpu"]
    lines = [f"### {machine['gpu']}, PyTorch {machine['torch']}", "", *_aims(results), *_precisions(gpu)]
    if tests := gpu.get("tests"):
        lines.append(f"- Tests marked gpu: {tests['summary'].strip('= ')}.")
    if endurance := gpu.get("endurance"):
        held = list(endurance["held_mb"].values())
        frames = list(endurance["held_mb"])[-1]
        first, last = held[0], held[-1]
        lines.append(
            f"- {frames} frames of `lseg_mini` with changing sizes and labels: {endurance['frames_per_s']:.0f} "
            f"frames/s. Between the first reading and the last, the card's memory went from {first['card']:.0f} to "
            f"{last['card']:.0f} MB, the host's from {first['host']:.0f} to {last['host']:.0f} MB."
        )
    if lives := gpu.get("lives"):
        held = lives["held_mb"]
        lines.append(
            f"- {len(held)} segmenters made and released: PyTorch holds {held[2]['reserved']:.0f} MB of the card "
            f"after the third and {held[-1]['reserved']:.0f} after the last, the host {held[2]['host']:.0f} and "
            f"{held[-1]['host']:.0f} MB."
        )
    if cameras := gpu.get("cameras"):
        lines.append(f"- Four cameras of two sizes on one `lseg_mini`: {cameras['frames_per_s']:.0f} frames/s in all.")
    if processes := gpu.get("processes"):
        together = " and ".join(f"{x:.0f}" for x in processes["together"])
        lines.append(
            f"- Two processes on the card: {together} frames/s, where one alone makes {processes['alone'][0]:.0f}."
        )
    if training := gpu.get("training"):
        lines.append(
            f"- Training `lseg_mini`, 8 crops of 320 pixels: {training['steps_per_s']:.1f} steps/s with "
            f"{training['workers']} workers."
        )
    lines += [f"- Left out: {why}." for why in gpu["left_out"]]
    lines += [f"- **Failed**: {why}." for why in gpu["failed"]]
    return "\n".join([*lines, ""])


def _aims(results: dict[str, Any]) -> list[str]:
    aims = [target for target in targets(results) if target.gpu]
    if not aims:
        return []
    rows = []
    for aim in aims:
        bound = f"{'at least' if aim.at_least else 'at most'} {aim.bound} {aim.unit}"
        rows.append(f"| {aim.what} | {aim.figure:.4g} {aim.unit} | {bound} | {'met' if aim.met else '**missed**'} |")
    return ["| | measured | aim | |", "|---|---|---|---|", *rows, ""]


def _precisions(gpu: dict[str, Any]) -> list[str]:
    lines = []
    for found in gpu.get("precision", []):
        lines += [
            f"{found['model']}, pixels with the label of exact float32 (7 labels, 150 labels), image to mask:",
            "",
            "| | 7 | 150 | ms |",
            "|---|---|---|---|",
        ]
        for name, figures in found["candidates"].items():
            shares = [f"{100 * share:.2f} %" for share in figures.get("agreement", {"7": 1, "150": 1}).values()]
            lines.append(f"| {name} | {' | '.join(shares)} | {figures['ms']:.2f} |")
        verdict = (
            "which is what `auto` is"
            if found["fastest_that_agrees"] == found["auto"]
            else f"**`auto` is {found['auto']}**"
        )
        lines += ["", f"The fastest that agrees enough is {found['fastest_that_agrees']}, {verdict}.", ""]
    return lines
