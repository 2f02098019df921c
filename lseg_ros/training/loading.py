"""Batches made in advance: by threads beside a CPU that trains, by processes of their own beside a GPU.

A GPU takes a batch faster than one interpreter makes it. Beside a CPU, processes would only take the cores from it.
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from lseg_ros.training.batches import Batch, Batches, Broken

_BESIDE_A_GPU = 8  # processes at least, where there are so many cores
_AHEAD = 2  # batches that each process makes in advance


def prepared(batches: Batches, numbers: Iterable[int], together: int, device: torch.device) -> Iterator[Batch]:
    """The batches of these numbers in order, the next ones being made while one is in use.

    Args:
        batches: makes them; the same ones whatever makes them where.
        numbers: of the batches.
        together: how many a step takes.
        device: that trains.

    Raises:
        ValueError, OSError: as `Batches.batch`.
    """
    if device.type == "cuda":
        return by_processes(batches, numbers, together, workers_beside_gpu(batches.config.workers), pin=True)
    return by_threads(batches, numbers, together)


def workers_beside_gpu(wanted: int) -> int:
    """How many processes make batches: those that were asked for, or more where cores would be idle."""
    return max(wanted, min(_BESIDE_A_GPU, len(os.sched_getaffinity(0))))


def by_threads(batches: Batches, numbers: Iterable[int], together: int) -> Iterator[Batch]:
    """As `prepared`, by as many threads as the run has workers."""
    workers = batches.config.workers
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for number in numbers:
                pending.append(pool.submit(batches.batch, number, together))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def by_processes(
    batches: Batches, numbers: Iterable[int], together: int, workers: int, *, pin: bool
) -> Iterator[Batch]:
    """As `prepared`, by processes; pin: into memory that a GPU copies from without waiting."""
    loader: DataLoader[Any] = DataLoader(
        _Numbered(batches, together),
        sampler=numbers,  # any iterable will do
        batch_size=None,  # what the data set gives is a whole batch
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=pin,
        worker_init_fn=_begin,
        multiprocessing_context="fork",  # a fresh interpreter would import PyTorch for seconds
    )
    for made in loader:
        for broken in made.broken:  # each process sees its own share of the files only
            batches.note_broken(broken)
        if made.error is not None:
            raise made.error
        yield made.batch


@dataclass(frozen=True)
class _Made:
    """A batch, or why there is none; and the files that were found to be broken on the way."""

    batch: Batch | None
    error: Exception | None
    broken: list[Broken]

    def pin_memory(self) -> "_Made":
        """Called by DataLoader."""
        return _Made(None if self.batch is None else self.batch.pin_memory(), self.error, self.broken)


class _Numbered(Dataset[_Made]):
    """The batches by their numbers."""

    def __init__(self, batches: Batches, together: int) -> None:
        self._batches, self._together = batches, together

    def __getitem__(self, number: int) -> _Made:
        # As it is: DataLoader would wrap an exception into pages of text.
        try:
            return _Made(self._batches.batch(number, self._together), None, self._batches.take_broken())
        except (ValueError, OSError) as error:
            return _Made(None, error, self._batches.take_broken())


def _begin(worker: int) -> None:
    """Makes a process fit to be one of several."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them, and the run ends after its step
    cv2.setNumThreads(0)
    logging.disable(logging.WARNING)  # of broken files, which the run itself tells of
