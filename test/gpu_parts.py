"""Parts of a measurement for the test of `benchmarks.gpu.apart`, whose other process imports them."""

import os
import threading
from typing import Any

from benchmarks.gpu import LeftOut


def adds(results: dict[str, Any]) -> None:
    results["gpu"].setdefault("processes", []).append(os.getpid())


def is_left_out_late(results: dict[str, Any]) -> None:
    results["gpu"]["half"] = 1
    raise LeftOut("rclpy is not installed")


def breaks(results: dict[str, Any]) -> None:
    results["gpu"]["other half"] = 1
    raise RuntimeError("no such kernel\nand more")


def dies(results: dict[str, Any]) -> None:
    os._exit(3)


def hangs(results: dict[str, Any]) -> None:
    threading.Event().wait()
