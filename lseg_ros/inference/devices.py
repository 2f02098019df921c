"""Devices by their names."""

import re

import torch


def device_named(name: str) -> torch.device:
    """The device of a name: "auto" (a GPU if there is one), "cpu", "cuda", or one GPU as in "cuda:0".

    Raises:
        ValueError: there is no such device.
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
