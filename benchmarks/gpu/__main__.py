"""Runs the tests marked gpu and measures this machine's GPU, in about five minutes.

It writes a file of results, and prints what it left out and why. It needs no ROS, no network and no environment of the
project: any Python with torch, timm, safetensors, tokenizers, opencv, pillow and pyyaml will do. With pytest it runs
the tests, with open_clip the large model, with rclpy the node.
"""

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu import LeftOut

ROOT = Path(__file__).parents[2]
BUDGET = 285.0  # seconds for everything; a part that would begin later is left out
TESTS = 150  # most seconds for the tests
NEEDED = ("torch", "timm", "safetensors", "tokenizers", "cv2", "PIL", "yaml", "numpy")


def main() -> int:
    """Runs all parts. Returns the exit status: 0 if every part that could run succeeded."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"{sys.executable} has no {', '.join(missing)}; name a Python that has: make gpu PYTHON=/path/to/python")
        return 2
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        print(f"make gpu needs an NVIDIA GPU, and PyTorch {torch.__version__} ({built}) finds none here")
        return 2
    from benchmarks.gpu.parts import PARTS
    from benchmarks.gpu.results import merge, read, write

    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}", flush=True)
    path, results = read()
    results["gpu"] = {"left_out": [], "failed": []}
    start = time.monotonic()
    for name, part in {"tests": run_tests, **PARTS}.items():
        began = time.monotonic()
        why = _run(name, part, results, began - start)
        if why is None:
            print(f"{name}: done in {time.monotonic() - began:.0f} s", flush=True)
        merge(results)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for sentence in write(results, path):
        print(sentence)
    print(f"results: {path}")
    return 1 if results["gpu"]["failed"] else 0


def _run(name: str, part: Callable[[dict[str, Any]], None], results: dict[str, Any], spent: float) -> str | None:
    """Runs a part, which adds to the results. Returns why it was left out, or None."""
    try:
        if spent > BUDGET:
            raise LeftOut(f"{BUDGET:.0f} s are over")
        part(results)
        return None
    except LeftOut as error:
        why = str(error)
        results["gpu"]["left_out"].append(f"{name}: {why}")
        print(f"{name} is left out: {why}", flush=True)
    except Exception as error:  # the other parts should still run
        why = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        results["gpu"]["failed"].append(f"{name}: {why.splitlines()[0]}")
        print(f"{name} FAILED: {why.splitlines()[0]}", flush=True)
    return why


def run_tests(results: dict[str, Any]) -> None:
    """Runs the tests marked gpu in their own process."""
    if find_spec("pytest") is None:
        raise LeftOut("pytest is not installed")
    command = [sys.executable, "-m", "pytest", "test/gpu", "-m", "gpu", "-q", "-o", "addopts=--import-mode=importlib"]
    command += ["-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TESTS)
        output, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        output, status = f"{error.stdout or b''!r}", -1
    lines = output.splitlines()
    print("\n".join(lines[-60:]), flush=True)
    results["gpu"]["tests"] = {"status": status, "summary": lines[-1] if lines else ""}
    if status:
        raise RuntimeError(lines[-1] if status > 0 and lines else f"not done after {TESTS} s")


if __name__ == "__main__":
    sys.exit(main())
