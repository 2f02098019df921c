"""Devices by name, and their memory."""

import re
from pathlib import Path

import torch


def device_named(name: str) -> torch.device:
    """Returns a device by name.

    Args:
        name: "auto" (a GPU if there is one), "cpu", "cuda", or one GPU as in "cuda:0".

    Raises:
        ValueError: The name is unknown, or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"there is no device {name!r}; use auto, cpu, cuda, or one GPU as in cuda:0")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} was asked for, and torch finds {torch.cuda.device_count()} GPUs here; use auto or cpu"
        )
    return device


def memory_of(device: torch.device) -> dict[str, str]:
    """Returns the device and how much memory is in use, as text by name. On a CPU it is the process's memory."""
    if device.type != "cuda":
        # Only Linux has this file. Elsewhere the figure is left out.
        status = Path("/proc/self/status")
        match = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.is_file() else None
        return {"device": "cpu"} | ({"memory_mb": str(int(match[1]) // 1024)} if match else {})
    free, total = torch.cuda.mem_get_info(device)
    return {
        "device": f"{device} ({torch.cuda.get_device_name(device)})",
        "memory_mb": str(torch.cuda.memory_allocated(device) // 2**20),
        "device_memory_free_mb": f"{free // 2**20} of {total // 2**20}",
    }
