"""CUDA graphs: what a function does on the GPU is recorded once, and replayed with one call.

A frame is several hundred small kernels, and starting them one by one takes a GPU longer than running them.

A function can be recorded if it reads and writes buffers that stay where they are, allocates nothing on the host, and
waits for nothing. Everything else about it is Python, which runs once, while recording, and not again.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

_AGAIN = 10.0  # seconds after which recording is tried again where there was too little memory
_ALMOST_NOTHING = 2**28  # bytes of free memory
_WARM_UP = 3  # runs before recording: libraries choose their algorithms and get their memory in the first ones
_recording = Lock()  # one recording at a time in a process
# Graphs whose recording failed. PyTorch's allocator may go on asking them which memory is theirs, so they stay.
_unfinished: list[torch.cuda.CUDAGraph] = []
# The stream of all recordings on a GPU, by its number: cuBLAS keeps tens of MB for every stream that it ever saw.
_streams: dict[int | None, torch.cuda.Stream] = {}

Body = Callable[[], None]


class Recorder:
    """Makes replayable what runs on one GPU; on a CPU, functions stay as they are.

    All graphs of a recorder share one pool of memory for what is computed on the way: they run one after the other, and
    nothing in that memory is needed once a graph has run. So the pool is as large as the largest graph needs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None
        self._said: set[str] = set()
        self._full_since: float | None = None

    def record(self, body: Body, what: str) -> tuple[Body, bool]:
        """What to call in place of `body`, and whether that is a graph.

        Where recording fails, it says so once for each reason, and `body` is called as it is.

        Args:
            body: reads and writes buffers that the caller keeps.
            what: names it in the log, as in "encoder for images of 640x480".
        """
        if self.device.type != "cuda":
            return body, False
        try:
            return self._graph_of(body).replay, True
        except Exception as error:  # whatever a library may raise: the function may run all the same
            self._pool = None  # the failed recording may have left it in any state
            with suppress(Exception):
                free_cached(self.device)
            first = _root(error)
            if is_out_of_memory(first):
                self._full_since = time.monotonic()
            # The first line: behind it CUDA's errors have pages of advice to programmers.
            reason = f"{type(first).__name__}: {(str(first).strip().splitlines() or ['no reason given'])[0][:200]}"
            if reason not in self._said:
                self._said.add(reason)
                logger.warning("no CUDA graph of the %s (%s); it runs step by step, which is slower", what, reason)
            return body, False

    def _graph_of(self, body: Body) -> torch.cuda.CUDAGraph:
        with _recording, torch.cuda.device(self.device):
            before = torch.cuda.current_stream(self.device)
            # Nothing can be recorded on the default stream. The warm-up runs on the stream of the recording, so that
            # what libraries keep for a stream is there before.
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
                graph = torch.cuda.CUDAGraph()
                _unfinished.append(graph)
                # thread_local: what other threads do meanwhile, such as getting memory, does not spoil the recording.
                with torch.cuda.graph(graph, self._pool, aside, capture_error_mode="thread_local"):
                    body()
                _unfinished.remove(graph)
            finally:
                # A recording that fails leaves its own stream as the current one.
                torch.cuda.set_stream(before)
            before.wait_stream(aside)
            return graph

    def worth_another_try(self) -> bool:
        """Whether there was too little memory for a recording, a while ago; true once for each such failure."""
        if self._full_since is None or time.monotonic() - self._full_since < _AGAIN:
            return False
        self._full_since = None
        return True

    def forget(self) -> None:
        """Gives the pool up; its memory is free once the graphs that were recorded with it are gone."""
        self._pool = None


def _root(error: BaseException) -> BaseException:
    """The first of the errors that led to this one: the end of a failed recording raises another."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory on the host that a GPU may copy from and to without waiting; on a CPU, plain memory."""
    return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")


def to_host(x: Tensor) -> NDArray[Any]:
    """The numbers as an array; of a tensor on the CPU it is a view."""
    if x.device.type != "cuda":
        return x.numpy()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    host.copy_(x, non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return np.asarray(host.numpy())


def free_cached(device: torch.device) -> None:
    """Gives memory back that PyTorch keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def full_memory_said(device: torch.device, what: str, make_room: Callable[[], None]) -> Iterator[None]:
    """Where a GPU's memory is full, frees what can be freed and says so in one sentence.

    Args:
        device: where the block computes.
        what: was to be done, as in "an image of 640x480".
        make_room: gives up what can be made again.

    Raises:
        torch.cuda.OutOfMemoryError: with that sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    # Outside of the handler: the error's traceback holds the tensors of every frame that it came through.
    make_room()
    free_cached(device)
    free, total = (n // 2**20 for n in torch.cuda.mem_get_info(device)) if device.type == "cuda" else (0, 0)
    raise torch.cuda.OutOfMemoryError(
        f"{device} has too little memory for {what}: {free} of its {total} MB are free, with what other programs hold; "
        "a smaller input_size or model needs less"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left, as PyTorch or one of the libraries below it says that."""
    text = str(error)
    certain = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    if isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in certain):
        return True
    # What cuDNN and cuBLAS say where none of their algorithms gets its memory, among other reasons.
    perhaps = ("unable to find an engine", "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_INTERNAL_ERROR")
    return any(words in text for words in perhaps) and torch.cuda.mem_get_info()[0] < _ALMOST_NOTHING
