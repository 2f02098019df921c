"""`make gpu` says why if it cannot run. README and the performance page take up its results."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_parts import adds, breaks, dies, hangs, is_left_out_late

from benchmarks import report
from benchmarks.gpu import LeftOut, parts
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import results as written
from benchmarks.gpu.apart import Apart
from benchmarks.inputs import _drawn, photos
from benchmarks.targets import targets
from lseg_ros.inference.numerics import AUTO_ON_GPU

ROOT = Path(gpu.__file__).parents[2]


def of_a_card() -> dict[str, Any]:
    """Returns results as `make gpu` writes them, with figures of another machine."""
    files = [path for path in sorted(report.RESULTS.glob("*.json")) if not path.name.startswith("baseline-")]
    results = json.loads(files[0].read_text())
    case = copy.deepcopy(results["segmenter"][0])
    case |= {"model": "lseg_mini", "image": "640x480", "labels": 20}
    kept = ("plain", "baseline", "torch fp32")
    case["subjects"] = {name: case["subjects"][name] for name in kept}
    reading = {"allocated": 100.0, "reserved": 200.0, "card": 900.0, "host": 2000.0}
    figures = {"ms": 2.0, "agreement": {"7": 0.9997, "150": 0.9973}}
    return {
        "machine": results["machine"] | {"gpu": "NVIDIA Test Card", "torch": "2.11.0"},
        "segmenter": [case],
        "accuracy": [],
        "node": [],
        "memory": [],
        "gpu": {
            "left_out": ["node: rclpy is not installed"],
            "failed": [],
            "tests": {"status": 0, "summary": "==== 30 passed in 80 s ===="},
            "precision": [
                {
                    "model": "lseg_mini",
                    "candidates": {"float32": {"ms": 5.0}, AUTO_ON_GPU: figures},
                    "fastest_that_agrees": AUTO_ON_GPU,
                    "auto": AUTO_ON_GPU,
                }
            ],
            "endurance": {"frames_per_s": 500.0, "held_mb": {"500": reading, "10000": reading}},
            "lives": {"held_mb": [reading] * 20},
            "cameras": {"frames_per_s": 600.0},
            "processes": {"alone": [500.0], "together": [300.0, 290.0]},
            "training": {"steps_per_s": 50.0, "workers": 8},
        },
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_one_sentence_and_a_failure() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == ""
    assert done.stdout.count("\n") == 1 and "make gpu needs an NVIDIA GPU, and PyTorch" in done.stdout


def test_a_python_without_torch_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name in ("torch", "timm") else name)
    assert gpu.main() == 2
    told = capsys.readouterr().out
    assert f"{sys.executable} has no torch, timm; name a Python that has: make gpu PYTHON=" in told


def test_it_needs_little_more_than_the_network() -> None:
    """Without the project's own environment it names the packages that are missing beside PyTorch."""
    missing = "skimage sklearn matplotlib jinja2 tensorboard rclpy onnx onnxruntime openvino pytest rosbags"
    block = f"import sys\nfor name in {missing.split()}: sys.modules[name] = None\n"
    code = (
        block + "import benchmarks.gpu.__main__, benchmarks.gpu.parts, benchmarks.gpu.results, benchmarks.gpu.training"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_part_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    results: dict[str, Any] = {"gpu": {"left_out": [], "failed": []}}
    process = Apart()
    try:
        for part in (adds, adds, is_left_out_late, adds, breaks, adds, dies, adds):
            gpu._run(part.__name__, part, results, 100, process)
        gpu._run("hangs", hangs, results, gpu.LEAST, process)
        gpu._run("adds", adds, results, 100, process)
        gpu._run("late", adds, results, gpu.LEAST / 2, process)
    finally:
        process.close()
    found = results["gpu"]
    assert found["failed"] == [
        "breaks: RuntimeError: no such kernel",
        "dies: its process ended with status 3",
        f"hangs: not done after {gpu.LEAST:.0f} s",
    ]
    assert found["left_out"] == [
        "is_left_out_late: rclpy is not installed",
        f"late: {gpu.BUDGET:.0f} s are over",
    ]
    assert found["half"] == found["other half"] == 1, "what a part has measured before is kept"
    one, same, still, second, third, fourth = found["processes"]
    assert one == same == still and len({one, second, third, fourth}) == 4 and os.getpid() not in found["processes"]
    assert "is_left_out_late is left out: rclpy is not installed" in capsys.readouterr().out


def test_all_parts_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(parts.PARTS)) == parts.PARTS and set(gpu.LONGER) <= set(parts.PARTS)
    assert parts.TESTS < gpu.LONGER["tests"] < gpu.BUDGET < 300


def test_without_pytest_the_tests_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    with pytest.raises(LeftOut, match="pytest is not installed"):
        parts.tests({"gpu": {}})


def test_results_come_into_readme_and_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = of_a_card()
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(written, "DOCS", tmp_path / "performance.md")
    report.README.write_text("<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n")
    written.DOCS.write_text("before\n<!-- gpu -->\nold\n<!-- /gpu -->\nafter\n")
    path = tmp_path / "card.json"
    path.write_text(json.dumps(results))
    assert written.write(results, path) == [] and path.with_suffix(".html").is_file()
    assert "NVIDIA Test Card, PyTorch 2.11.0" in report.README.read_text()
    text = written.DOCS.read_text()
    assert text.startswith("before\n<!-- gpu -->\n### NVIDIA Test Card, PyTorch 2.11.0")
    for part in ("30 passed", "99.73 %", "which is what `auto` is", "500 frames/s", "300 and 290", "50.0 steps/s"):
        assert part in text
    assert "Left out: node: rclpy is not installed" in text and text.endswith("<!-- /gpu -->\nafter\n")
    aims = list(targets(results))
    assert aims and all(aim.gpu for aim in aims)


def test_the_document_is_what_the_files_yield() -> None:
    assert f"<!-- gpu -->\n{written.section()}<!-- /gpu -->" in written.DOCS.read_text()


def test_a_case_that_is_measured_again_replaces_the_first() -> None:
    results = of_a_card()
    again = results["segmenter"][0] | {"rounds": 99}
    results["segmenter"].append(again)
    written.merge(results)
    assert results["segmenter"] == [again]


def test_pictures_where_there_are_no_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _drawn(0).shape == (480, 640, 3) and (_drawn(0) != _drawn(1)).mean() > 0.9
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert [photo.shape for photo in photos(64, 48)] == [(48, 64, 3)] * 5
