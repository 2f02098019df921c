"""Several processes that train one network together. torchrun starts them and sets their environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from lseg_ros.inference.devices import device_named


@dataclass(frozen=True)
class World:
    """This process among all processes of the run.

    Attributes:
        device: The device that it trains on.
        rank: Its number, from 0.
        size: Number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sums values over all processes. Every process must call it, and all get the same result."""
        if self.size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values)
        return values

    def same(self, value: int) -> bool:
        """Returns whether all processes pass the same number. Every process must call it."""
        mine = torch.tensor([float(value), float(value) ** 2], dtype=torch.float64)
        mean, square = (self.total(mine) / self.size).tolist()
        return mean == value and square == value**2


@contextmanager
def world(device: str) -> Iterator[World]:
    """Connects the processes that torchrun started, or stands for this one alone.

    Args:
        device: "cpu", "cuda" (each process takes a device of its own) or a single device such as "cuda:1".

    Raises:
        ValueError: There is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    own = _device(device, size)
    if size == 1:
        yield World(own)
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield World(own, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _device(name: str, processes: int) -> torch.device:
    """Returns the device of a name. For "cuda", each of several processes takes another one."""
    if name == "cuda":
        name = f"cuda:{os.environ['LOCAL_RANK'] if processes > 1 else 0}"
    return device_named(name)
