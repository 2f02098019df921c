"""The one thread that touches the model. Standard library only."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Frame = TypeVar("Frame")
Result = TypeVar("Result")


class WorkerStopped(RuntimeError):
    """A job was submitted to, or left behind in, a worker that has stopped."""


class Worker(Generic[Frame]):
    """Runs jobs in order and, between them, the newest frame.

    Frames wait in a slot for one: a newer frame replaces an older one, which counts as dropped. Jobs go first, so that
    a change of labels takes effect before the next frame.
    """

    def __init__(self, on_frame: Callable[[Frame], None], on_error: Callable[[BaseException], None]) -> None:
        """Both are called on the worker's thread; what `on_frame` raises goes to `on_error`."""
        self._on_frame, self._on_error = on_frame, on_error
        self._wakeup = threading.Condition()
        self._jobs: deque[tuple[Callable[[], object], Future]] = deque()
        self._frame: Frame | None = None
        self._dropped = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="lseg_worker", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many frames were replaced before their turn came."""
        with self._wakeup:
            return self._dropped

    def offer(self, frame: Frame) -> None:
        """Makes `frame` the next one, instead of any that still waits."""
        with self._wakeup:
            if self._frame is not None:
                self._dropped += 1
            self._frame = frame
            self._wakeup.notify()

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        """Queues a job; its result or exception comes with the future. After `stop`: WorkerStopped."""
        future: Future[Result] = Future()
        with self._wakeup:
            if self._stopping:
                future.set_exception(WorkerStopped("the node is shutting down"))
            else:
                self._jobs.append((job, future))
                self._wakeup.notify()
        return future

    def stop(self, timeout: float) -> bool:
        """Lets the frame or job in flight end and no other begin. False if that took longer than `timeout` seconds."""
        with self._wakeup:
            self._stopping = True
            left = list(self._jobs)
            self._jobs.clear()
            self._wakeup.notify()
        for _, future in left:
            future.set_exception(WorkerStopped("the node is shutting down"))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._stopping or self._jobs or self._frame is not None)
                if self._stopping:
                    return
                job, frame = (self._jobs.popleft(), None) if self._jobs else (None, self._frame)
                if job is None:
                    self._frame = None
            if job is not None:
                self._run(*job)
            elif frame is not None:
                try:
                    self._on_frame(frame)
                except Exception as error:
                    self._on_error(error)

    @staticmethod
    def _run(job: Callable[[], object], future: Future) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job())
        except Exception as error:
            future.set_exception(error)
