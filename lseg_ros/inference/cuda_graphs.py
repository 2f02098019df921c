"""CUDA graphs: the GPU work of a function is recorded once, and then replayed with one call.

A frame needs several hundred small kernels. Starting them one by one takes longer than running them.

A function can be recorded if it reads and writes buffers that are never moved, allocates nothing on the host, and waits
for nothing. Its Python code runs only while recording.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

_AGAIN = 10.0  # seconds until recording is tried again after too little memory
_ALMOST_NOTHING = 2**28  # bytes; with less free memory, an unclear error counts as too little memory
_WARM_UP = 3  # runs before recording, in which libraries choose their algorithms and allocate their memory
# A process records one graph at a time. Meanwhile nobody may wait for the whole card, which breaks the recording.
_recording = RLock()
# Host memory of buffers that are gone. PyTorch marks in the streams that used it when it is free again. A mark in the
# stream of recordings would become part of a graph that another thread records. So it is kept until none is recorded.
_retired: list[Tensor] = []
# Graphs whose recording failed. They are kept, because PyTorch's allocator may still ask them for their memory.
_unfinished: list[torch.cuda.CUDAGraph] = []
# The stream of all recordings, by the GPU's number. There is only one, because cuBLAS keeps tens of MB per stream.
_streams: dict[int | None, torch.cuda.Stream] = {}

Body = Callable[[], None]


class Recorder:
    """Records functions that run on one GPU. On a CPU, functions stay as they are.

    All graphs of a recorder share one memory pool for intermediate results. They run one after the other and need
    nothing of it afterwards. So the pool is as large as the largest graph needs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None
        self._said: set[str] = set()
        self._full_since: float | None = None

    def record(self, body: Body, what: str) -> tuple[Body, bool]:
        """Records a function as a CUDA graph.

        If that fails, it is logged once for each reason.

        Args:
            body: The function. It reads and writes buffers that the caller keeps.
            what: A name for the log, as in "encoder for images of 640x480".

        Returns:
            The function to call in place of `body`, and whether it replays a graph.
        """
        if self.device.type != "cuda":
            return body, False
        try:
            return self._graph_of(body).replay, True
        except Exception as error:  # a library may raise anything, and the function may still run unrecorded
            self._pool = None  # the failed recording may have damaged it
            with suppress(Exception):
                free_cached(self.device)
            first = _root(error)
            if is_out_of_memory(first):
                self._full_since = time.monotonic()
            # Only the first line, because CUDA's errors go on with pages of advice to programmers.
            reason = f"{type(first).__name__}: {(str(first).strip().splitlines() or ['no reason given'])[0][:200]}"
            if reason not in self._said:
                self._said.add(reason)
                logger.warning("no CUDA graph of the %s (%s); it runs step by step, which is slower", what, reason)
            return body, False

    def _graph_of(self, body: Body) -> torch.cuda.CUDAGraph:
        with _recording, torch.cuda.device(self.device):
            before = torch.cuda.current_stream(self.device)
            # CUDA cannot record on the default stream. The warm-up runs on the recording's stream, so that libraries
            # have allocated their memory for this stream before the recording.
            aside = _streams.get(self.device.index) or torch.cuda.Stream(self.device)
            _streams[self.device.index] = aside
            aside.wait_stream(before)
            try:
                with torch.cuda.stream(aside):
                    for _ in range(_WARM_UP):
                        body()
                aside.synchronize()
                if self._pool is None:
                    self._pool = torch.cuda.graph_pool_handle()
                _retired.clear()
                graph = torch.cuda.CUDAGraph()
                _unfinished.append(graph)
                # thread_local: other threads may allocate memory meanwhile without breaking the recording.
                with _no_garbage(), torch.cuda.graph(graph, self._pool, aside, capture_error_mode="thread_local"):
                    body()
                _unfinished.remove(graph)
            finally:
                # A failed recording leaves its own stream as the current one.
                torch.cuda.set_stream(before)
            before.wait_stream(aside)
            return graph

    def worth_another_try(self) -> bool:
        """Returns whether a recording failed for lack of memory 10 s ago or longer; True once for each such failure."""
        if self._full_since is None or time.monotonic() - self._full_since < _AGAIN:
            return False
        self._full_since = None
        return True

    def forget(self) -> None:
        """Gives the pool up. Its memory is freed as soon as its graphs are deleted."""
        self._pool = None


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Deletes unreachable objects before the block and none within: to free a graph's memory is no part of another."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _root(error: BaseException) -> BaseException:
    """Returns the first of a chain of errors, because the end of a failed recording raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocates host memory that a GPU can copy from and to without waiting.

    Args:
        shape: The shape.
        dtype: The type.
        device: The device that copies. For a CPU it is plain memory.
    """
    memory = torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
    return retiring(memory) if device.type == "cuda" else memory


def retiring(memory: Tensor) -> Tensor:
    """Returns a view of memory that outlives the view, until no graph is recorded."""
    view = memory.view(memory.shape)
    finalize(view, _retired.append, memory).atexit = False
    return view


def to_host(x: Tensor) -> NDArray[Any]:
    """Copies a tensor to an array. For a tensor on the CPU the array is a view."""
    if x.device.type != "cuda":
        return x.numpy()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    host.copy_(x, non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return np.asarray(host.numpy())


def free_cached(device: torch.device) -> None:
    """Frees the memory that PyTorch keeps for later. Waits while a graph is recorded."""
    with _recording:
        gc.collect()
        _retired.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done all its work. Waits while a graph is recorded."""
    if device.type == "cuda":
        with _recording:
            torch.cuda.synchronize(device)


@contextmanager
def full_memory_said(device: torch.device, what: str, make_room: Callable[[], None]) -> Iterator[None]:
    """If a GPU's memory runs out in the block, frees memory and raises a readable error.

    Args:
        device: The device on which the block computes.
        what: What the block does, as in "an image of 640x480".
        make_room: Frees what can be made again.

    Raises:
        torch.cuda.OutOfMemoryError: The memory ran out. The message says what the block was doing and how to need less.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    # Outside of the handler, because the error's traceback keeps the tensors of all its frames alive.
    make_room()
    free_cached(device)
    free, total = (n // 2**20 for n in torch.cuda.mem_get_info(device)) if device.type == "cuda" else (0, 0)
    raise torch.cuda.OutOfMemoryError(
        f"{device} has too little memory for {what}: {free} of its {total} MB are free, with what other programs hold; "
        "a smaller input_size or model needs less"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error of PyTorch, or of a library below it, says that a GPU has no memory left."""
    text = str(error)
    certain = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    if isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in certain):
        return True
    # cuDNN and cuBLAS say this if none of their algorithms gets its memory, but also for other reasons.
    perhaps = ("unable to find an engine", "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_INTERNAL_ERROR")
    return any(words in text for words in perhaps) and torch.cuda.mem_get_info()[0] < _ALMOST_NOTHING
