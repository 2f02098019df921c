"""Runs the tests marked gpu and measures this machine's GPU, in about five minutes.

It writes a file of results, and prints what it left out and why. It needs no ROS, no network and no environment of the
project: any Python with torch, timm, safetensors, tokenizers, opencv, pillow and pyyaml will do. With pytest it runs
the tests, with open_clip the large model, with rclpy the node.
"""

import json
import sys
import time
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu import LeftOut
from benchmarks.gpu.apart import Apart, Part, PartFailed

BUDGET = 285.0  # seconds for everything
PART = 60.0  # most seconds for a part
LONGER = {"tests": 110.0, "speed of lseg_vit_l16": 80.0}  # where it is not that
LEAST = 10.0  # a part is left out if fewer seconds are left
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
    start, process = time.monotonic(), Apart()
    try:
        for name, part in PARTS.items():
            began = time.monotonic()
            limit = min(LONGER.get(name, PART), BUDGET - (began - start))
            why = _run(name, part, results, limit, process)
            if why is None:
                print(f"{name}: done in {time.monotonic() - began:.0f} s", flush=True)
            merge(results)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    finally:
        process.close()
    for sentence in write(results, path):
        print(sentence)
    print(f"results: {path}")
    return 1 if results["gpu"]["failed"] else 0


def _run(name: str, part: Part, results: dict[str, Any], limit: float, process: Apart) -> str | None:
    """Runs a part, which adds to the results. Returns why it was left out or failed, or None."""
    try:
        if limit < LEAST:
            raise LeftOut(f"{BUDGET:.0f} s are over")
        process.run(part, results, limit)
        return None
    except LeftOut as error:
        why = str(error)
        results["gpu"]["left_out"].append(f"{name}: {why}")
        print(f"{name} is left out: {why}", flush=True)
    except PartFailed as error:
        why = str(error)
        results["gpu"]["failed"].append(f"{name}: {why}")
        print(f"{name} FAILED: {why}", flush=True)
    return why


if __name__ == "__main__":
    sys.exit(main())
