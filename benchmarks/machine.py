"""Describes where and when something was measured, without host names and paths."""

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "timm", "onnxruntime", "openvino", "tensorrt")


def machine() -> dict[str, object]:
    """Returns the facts that figures depend on."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "os": _os(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_model() -> str:
    """Returns the processor's name from the kernel, with its best vector instructions."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.+)", info)
    flags = re.search(r"(?:flags|Features)\s*: (.+)", info)
    known = flags[1].split() if flags else []
    best = next((f for f in ("amx_tile", "avx512_bf16", "avx512_vnni", "avx512f", "avx2") if f in known), None)
    text = name[1].strip() if name else platform.machine()
    return f"{text} ({best})" if best else text


def slug() -> str:
    """Returns the name of this machine's file of results."""
    name = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
    gpu = f"-{torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}-{cores()}cores{re.sub(r'[^a-z0-9]+', '-', gpu.lower())}"


def now() -> dict[str, str]:
    """Returns the date and the commit, with a plus if files differ from it."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True).stdout.strip()
        except FileNotFoundError:  # git is not installed
            return ""

    changed = "+" if git("status", "--porcelain", "--untracked-files=no", "--", "lseg_ros") else ""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD") + changed,
    }


class Others:
    """Measures how busy other processes keep this machine's cores. If they do, a measurement should be repeated."""

    def __init__(self) -> None:
        self._busy, self._all = _ticks()

    def share(self) -> float:
        """Returns the share of all processor time since the start that other processes used, in [0, 1]."""
        busy, everything = _ticks()
        return round(max(0.0, (busy - self._busy) / max(1.0, everything - self._all)), 3)


def _ticks() -> tuple[float, float]:
    """Returns the processor time of other processes and all processor time, in clock ticks."""
    fields = [float(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    own = os.times()
    per_second = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return sum(fields) - idle - per_second * (own.user + own.system), sum(fields)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _os() -> str:
    found = re.search(r'PRETTY_NAME="(.+)"', Path("/etc/os-release").read_text())
    return found[1] if found else platform.system()
