"""The benchmarks' references agree with `Segmenter`, and README has the measured figures."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import TINY_VIT
from tiny import tiny_net

from benchmarks import report
from benchmarks.__main__ import PARTS
from benchmarks.inputs import labels, photos
from benchmarks.plain import Baseline, Plain, Result
from benchmarks.report import README, RESULTS, page, table
from benchmarks.targets import targets
from benchmarks.timing import compare
from lseg_ros import Segmenter
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import build_text_encoder

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
LABELS = ["road", "grass", "sky", "car"]


def vit_net() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(TINY_VIT, build_text_encoder(TINY_VIT)).eval()


@pytest.mark.numeric
@pytest.mark.parametrize("make", [tiny_net, vit_net])
@pytest.mark.parametrize("reference", [Plain, Baseline])
def test_references_give_what_the_segmenter_gives(make: Callable[[], LSegNet], reference: type[Plain]) -> None:
    net = make()
    mask, confidence, stages = reference(copy.deepcopy(net), LABELS).segment(RGB)
    segmenter = Segmenter(net, "cpu", "float32")
    segmenter.set_labels(LABELS)
    result = segmenter.segment(RGB)
    assert (result.mask == mask).mean() > 0.999
    np.testing.assert_allclose(result.confidence, confidence, atol=1e-4)
    assert list(stages) == ["preprocess", "text", "encode", "score"]


class Timed:
    """A subject that reports given milliseconds, one after the other. The first one warms up."""

    def __init__(self, *milliseconds: float) -> None:
        self.left = [1e6, *milliseconds]

    def segment(self, rgb: NDArray[np.uint8]) -> Result:
        return np.zeros(rgb.shape[:2], np.uint8), np.ones(rgb.shape[:2], np.float32), {"encode": self.left.pop(0)}


def test_ratios_are_those_of_one_round() -> None:
    found = compare({"plain": Timed(10, 900, 30), "baseline": Timed(5, 300, 15)}, [RGB], rounds=3)
    assert found["plain"]["times_plain"] == found["baseline"]["times_baseline"] == 1
    assert found["baseline"]["times_plain"] == 2, "a slow round slows both, and counts no more than another"
    assert found["plain"]["times_baseline"] == 0.5 and found["plain"]["ms"] == 30


def test_references_agree_side_by_side() -> None:
    subjects = {"plain": Plain(tiny_net(), LABELS), "baseline": Baseline(tiny_net(), LABELS)}
    found = compare(subjects, [photos(60, 40)[0]], rounds=1)
    assert found["plain"]["agreement"] > 0.999 and found["plain"]["times_baseline"] > 0


def test_labels_differ() -> None:
    for count in (7, 11, 20, 150):
        assert len(set(labels(count))) == count


def test_the_table_in_readme_is_what_the_files_yield() -> None:
    text = README.read_text()
    assert text.count("<!-- benchmarks -->\n" + table() + "<!-- /benchmarks -->") == 1


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_every_file_makes_a_page(path: Path) -> None:
    results = json.loads(path.read_text())
    html = page(results)
    assert results["machine"]["cpu"] in html
    for target in targets(results):
        assert target.figure > 0 or target.unit == "points"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_makes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, part: str) -> None:
    files = [path for path in sorted(RESULTS.glob("*.json")) if not path.name.startswith("baseline-")]
    whole = {part: [] for part in PARTS} | json.loads(files[0].read_text())
    # Of the segmenter's cases those that neither table nor picture shows.
    kept = [x for x in whole[part] if (x["model"], x.get("image"), x.get("labels")) not in report.SHOWN]
    alone = {"machine": whole["machine"], **{other: kept if other == part else [] for other in PARTS}}
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "PICTURE", tmp_path / "picture.png")
    report.README.write_text("<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n")
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(alone))
    report.write_report(alone, path)
    assert path.with_suffix(".html").is_file() and not report.PICTURE.exists()
    assert report.README.read_text() == "<!-- benchmarks -->\n<!-- /benchmarks -->\n"
