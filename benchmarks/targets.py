"""The project's performance targets beside the measured figures."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

FP32 = "torch fp32"
AGREEMENT = 0.995  # least share of pixels that keep their label; below, it is another model


@dataclass(frozen=True)
class Target:
    """A target and its measured figure.

    Attributes:
        what: The target in one sentence.
        figure: The measured figure.
        bound: The bound.
        unit: The unit of both, written after the figure.
        at_least: Whether the bound is a lower one.
        gpu: Whether it is a target for a GPU.
    """

    what: str
    figure: float
    bound: float
    unit: str
    at_least: bool
    gpu: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


def fastest(subjects: dict[str, Any], among: Collection[str] | None = None) -> str:
    """Returns the fastest subject that is no reference, of all or of some."""
    ours = [n for n in subjects if n not in ("plain", "baseline") and (among is None or n in among)]
    return min(ours, key=lambda name: subjects[name]["ms"])


def find(results: dict[str, Any], part: str, **what: object) -> dict[str, Any] | None:
    """Returns the result of a part with given properties, or None."""
    return next((r for r in results[part] if all(r[key] == value for key, value in what.items())), None)


def targets(results: dict[str, Any]) -> list[Target]:
    """Returns the targets whose figures were measured."""
    if results["machine"].get("gpu"):
        return [*_on_gpu(results)]
    return [*_mini(results), *_vit(results), *_node(results)]


# Model, image and labels; least speed relative to `plain`; most milliseconds on the card of the targets.
_GPU = (
    ("lseg_vit_l16", "480x480", 7, 8, 3.5),
    ("lseg_vit_l16", "480x480", 150, 14, 4.3),
    ("lseg_vit_l16", "1280x720", 150, None, 6.0),
    ("lseg_mini", "640x480", 20, 5, 1.6),
)
_GPU_CARD = "H200"


def _on_gpu(results: dict[str, Any]) -> Iterator[Target]:
    for model, image, count, ratio, aim in _GPU:
        case = find(results, "segmenter", model=model, image=image, labels=count)
        if not case:
            continue
        name = fastest(case["subjects"])
        figures, what = case["subjects"][name], f"{model}, {image}, {count} labels, {name}"
        if ratio:
            bound = f"{what}: times the speed of the plain network"
            yield Target(bound, figures["times_plain"], ratio, "", at_least=True, gpu=True)
        if _GPU_CARD in results["machine"]["gpu"]:
            yield Target(f"{what}: image to mask and confidence", figures["ms"], aim, "ms", at_least=False, gpu=True)
    measured = find(results, "node", model="lseg_mini")
    if measured:
        what = f"node, lseg_mini, {measured['image']}: beyond segment(), mask and confidence read"
        yield Target(what, measured["overhead_ms"], 3, "ms", at_least=False, gpu=True)


def _mini(results: dict[str, Any]) -> Iterator[Target]:
    street = find(results, "segmenter", model="lseg_mini", image="480x360", labels=11)
    right = find(results, "accuracy", model="lseg_mini")
    if street and right:
        faithful = [name for name, figures in right["subjects"].items() if figures["agreement"] >= AGREEMENT]
        name = fastest(street["subjects"], faithful)
        best, what = street["subjects"][name], f"lseg_mini, 480x360, 11 labels, {name}"
        yield Target(f"{what}: image to mask and confidence", best["ms"], 30, "ms", at_least=False)
        yield Target(f"{what}: times the speed of the baseline", best["times_baseline"], 3, "", at_least=True)
        ours, before = right["subjects"][name], right["subjects"]["baseline"]
        same, lost = 100 * ours["agreement"], round(before["miou"] - ours["miou"], 2)
        what = f"lseg_mini, CamVid test, {name}"
        yield Target(f"{what}: pixels with the baseline's label", same, 100 * AGREEMENT, "%", at_least=True)
        yield Target(f"{what}: mIoU lost", lost, 0.5, "points", at_least=False)
    yield from _growth(results, "lseg_mini", "480x360", 2)


def _vit(results: dict[str, Any]) -> Iterator[Target]:
    for count, bound in ((7, 1.3), (150, 3.0)):
        case = find(results, "segmenter", model="lseg_vit_l16", image="480x480", labels=count)
        if case:
            what = f"lseg_vit_l16, 480x480, {count} labels, {FP32}: times the speed of the plain network"
            yield Target(what, case["subjects"][FP32]["times_plain"], bound, "", at_least=True)
            name = fastest(case["subjects"])
            if count == 7:
                what = f"lseg_vit_l16, 480x480, 7 labels, {name}: times the speed of the plain network"
                yield Target(what, case["subjects"][name]["times_plain"], 2, "", at_least=True)
    yield from _growth(results, "lseg_vit_l16", "480x480", 1.15)


def _growth(results: dict[str, Any], model: str, image: str, bound: float) -> Iterator[Target]:
    few, many = (find(results, "segmenter", model=model, image=image, labels=count) for count in (7, 150))
    if few and many and few["commit"] == many["commit"]:  # else it compares two versions
        ratio = round(many["subjects"][FP32]["ms"] / few["subjects"][FP32]["ms"], 2)
        yield Target(
            f"{model}, {image}, {FP32}: time with 150 labels over that with 7", ratio, bound, "", at_least=False
        )


def _node(results: dict[str, Any]) -> Iterator[Target]:
    figures = find(results, "node", model="lseg_mini")
    if figures:
        what = f"node, lseg_mini, {figures['image']}"
        yield Target(
            f"{what}: beyond segment(), mask and confidence read", figures["overhead_ms"], 3, "ms", at_least=False
        )
        yield Target(f"{what}: start to first mask", figures["first_mask_s"], 10, "s", at_least=False)
        yield Target(f"{what}: set_labels with 20 new labels", figures["set_labels_ms"], 150, "ms", at_least=False)
