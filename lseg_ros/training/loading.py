"""Makes batches in advance: by threads for training on a CPU, by processes for training on a GPU.

A GPU takes a batch faster than one interpreter makes it. On a CPU, processes would only take cores from the training.
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

_BESIDE_A_GPU = 8  # least number of processes, if there are so many cores
_AHEAD = 2  # number of batches that each process makes in advance


def prepared(batches: Batches, numbers: Iterable[int], together: int, device: torch.device) -> Iterator[Batch]:
    """Yields the batches of some numbers in order, and makes the next ones meanwhile.

    Args:
        batches: Makes the batches. They do not depend on the thread or process.
        numbers: Numbers of the batches.
        together: Number of batches in a step.
        device: The device that trains.

    Raises:
        ValueError: As `Batches.batch`.
        OSError: As `Batches.batch`.
    """
    if device.type == "cuda":
        return by_processes(batches, numbers, together, workers_beside_gpu(batches.config.workers), pin=True)
    return by_threads(batches, numbers, together)


def workers_beside_gpu(requested: int) -> int:
    """Returns the number of processes that make batches: the requested one, or more if cores would be idle."""
    return max(requested, min(_BESIDE_A_GPU, len(os.sched_getaffinity(0))))


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
    """As `prepared`, by processes.

    Args:
        batches: As for `prepared`.
        numbers: As for `prepared`.
        together: As for `prepared`.
        workers: Number of processes.
        pin: Whether batches are copied to memory that a GPU copies from without waiting.
    """
    loader: DataLoader[Any] = DataLoader(
        _Numbered(batches, together),
        sampler=numbers,  # any iterable will do
        batch_size=None,  # an item of the data set is a whole batch
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=pin,
        worker_init_fn=_begin,
        multiprocessing_context="fork",  # a fresh interpreter would import PyTorch for seconds
    )
    for item in loader:
        for broken in item.broken:  # collected here, because each process sees only its share of the files
            batches.note_broken(broken)
        if item.error is not None:
            raise item.error
        yield item.batch


@dataclass(frozen=True)
class _Made:
    """A batch, or the error that prevented it, and broken files that were noted meanwhile."""

    batch: Batch | None
    error: Exception | None
    broken: list[Broken]

    def pin_memory(self) -> "_Made":
        """Pins the batch. DataLoader calls it."""
        return _Made(None if self.batch is None else self.batch.pin_memory(), self.error, self.broken)


class _Numbered(Dataset[_Made]):
    """A data set whose items are the batches by number."""

    def __init__(self, batches: Batches, together: int) -> None:
        self._batches, self._together = batches, together

    def __getitem__(self, number: int) -> _Made:
        # Errors are returned, because DataLoader would wrap an exception into pages of text.
        try:
            return _Made(self._batches.batch(number, self._together), None, self._batches.take_broken())
        except (ValueError, OSError) as error:
            return _Made(None, error, self._batches.take_broken())


def _begin(worker: int) -> None:
    """Prepares a process that makes batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main one ends after its step
    cv2.setNumThreads(0)
    logging.disable(logging.WARNING)  # the main process warns about broken files
