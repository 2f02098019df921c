"""Several processes that train one network, started by torchrun, which says in the environment who is who."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """Which of how many processes this is. device: what it trains on."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in the order of adding that all of them share; all have to call this."""
        if self.size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values)
        return values

    def same(self, value: int) -> bool:
        """Whether all processes have the same number here; all have to call this."""
        mine = torch.tensor([float(value), float(value) ** 2], dtype=torch.float64)
        mean, square = (self.total(mine) / self.size).tolist()
        return mean == value and square == value**2


@contextmanager
def world(device: str) -> Iterator[World]:
    """The processes that torchrun started, or this one alone.

    Args:
        device: "cpu", "cuda" (each process takes its own) or a single device such as "cuda:1".

    Raises:
        ValueError: there is no such device.
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
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; use cpu or cuda") from error
    if found.type == "cuda" and ":" not in name:
        found = torch.device("cuda", int(os.environ["LOCAL_RANK"]) if processes > 1 else 0)
    if found.type == "cuda" and not found.index < torch.cuda.device_count():
        raise ValueError(f"{found} was asked for, and PyTorch finds {torch.cuda.device_count()} CUDA devices here")
    return found
