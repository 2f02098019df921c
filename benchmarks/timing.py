"""Measures all subjects side by side: each on the same image, round after round."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.plain import Result


class Subject(Protocol):
    """Something to measure."""

    def segment(self, rgb: NDArray[np.uint8]) -> Result:
        """Returns ids, confidence, and milliseconds by stage."""


def compare(
    subjects: Mapping[str, Subject],
    images: Sequence[NDArray[np.uint8]],
    rounds: int,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Measures the milliseconds of each subject, and its speed relative to `plain` and `baseline`.

    In a round, all subjects get the same image, one after the other. Each round starts with another subject. A ratio is
    the median over rounds, so what slows the machine down for a while slows all of them. `agreement` is the share of
    pixels with the id of `baseline`.
    """
    names = list(subjects)
    total: dict[str, list[float]] = {name: [] for name in subjects}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    agreement: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(-1, rounds):  # the first round warms up
        found = {}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name], _, stage_ms = subjects[name].segment(images[turn % len(images)])
            if turn >= 0:
                total[name].append(sum(stage_ms.values()))
                stages[name].append(stage_ms)
            tick()
        for name, mask in found.items():
            agreement[name].append(float((mask == found["baseline"]).mean()))
    return {
        name: {
            **spread(total[name]),
            "stages_ms": {stage: _median([s[stage] for s in stages[name]]) for stage in stages[name][0]},
            "times_plain": _median(np.divide(total["plain"], total[name]), 3),
            "times_baseline": _median(np.divide(total["baseline"], total[name]), 3),
            "agreement": round(float(np.mean(agreement[name])), 5),
        }
        for name in subjects
    }


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Returns the median and the 10 % and 90 % percentiles."""
    p10, p50, p90 = np.percentile(milliseconds, (10, 50, 90))
    return {"ms": round(p50, 2), "ms_p10": round(p10, 2), "ms_p90": round(p90, 2)}


def _median(values: Any, digits: int = 2) -> float:
    return round(float(np.median(values)), digits)
