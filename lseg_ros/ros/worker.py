"""The only thread that uses the model. Standard library only."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Source = TypeVar("Source", bound=Hashable)
Frame = TypeVar("Frame")
Result = TypeVar("Result")


class WorkerStopped(RuntimeError):
    """The worker stopped before it ran a job."""

    def __init__(self) -> None:
        super().__init__("the node was cleaned up or shut down meanwhile")


class Worker(Generic[Source, Frame]):
    """Runs jobs in order and, between them, the newest frame of each source in turn.

    Each source has room for one frame. A newer frame replaces an older one and keeps its turn; the older one counts as
    dropped. The source that has waited longest is next, so a fast camera leaves a slow one its share. Jobs go first, so
    that a change of labels takes effect before the next frame.
    """

    def __init__(
        self, on_frame: Callable[[Source, Frame], None], on_error: Callable[[Source, BaseException], None]
    ) -> None:
        """Starts the thread.

        Args:
            on_frame: Called with a source and its frame, on the worker's thread.
            on_error: Called with a source and the error that `on_frame` raised, on the worker's thread.
        """
        self._on_frame, self._on_error = on_frame, on_error
        self._wakeup = threading.Condition()
        self._jobs: deque[tuple[Callable[[], object], Future]] = deque()
        self._frames: dict[Source, Frame] = {}  # in the order of their turns
        self._dropped: dict[Source, int] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="lseg_worker", daemon=True)
        self._thread.start()

    def dropped(self, source: Source) -> int:
        """Returns how many frames of a source were replaced before their turn."""
        with self._wakeup:
            return self._dropped.get(source, 0)

    def offer(self, source: Source, frame: Frame) -> None:
        """Makes `frame` the next one of its source, in place of one that still waits."""
        with self._wakeup:
            if source in self._frames:
                self._dropped[source] = self._dropped.get(source, 0) + 1
            self._frames[source] = frame
            self._wakeup.notify()

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        """Queues a job.

        Args:
            job: Called on the worker's thread.

        Returns:
            A future of the job's result. After `stop` it holds WorkerStopped.
        """
        future: Future[Result] = Future()
        with self._wakeup:
            if self._stopping:
                future.set_exception(WorkerStopped())
            else:
                self._jobs.append((job, future))
                self._wakeup.notify()
        return future

    def stop(self, timeout: float) -> bool:
        """Lets the current frame or job finish, and starts no other.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether the worker has stopped in time.
        """
        with self._wakeup:
            self._stopping = True
            left = list(self._jobs)
            self._jobs.clear()
            self._wakeup.notify()
        for _, future in left:
            future.set_exception(WorkerStopped())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            job: tuple[Callable[[], object], Future] | None = None
            frame: tuple[Source, Frame] | None = None
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._stopping or self._jobs or self._frames)
                if self._stopping:
                    return
                if self._jobs:
                    job = self._jobs.popleft()
                else:
                    source = next(iter(self._frames))
                    frame = source, self._frames.pop(source)
            if job is not None:
                self._run(*job)
            elif frame is not None:
                try:
                    self._on_frame(*frame)
                except Exception as error:
                    self._on_error(frame[0], error)

    @staticmethod
    def _run(job: Callable[[], object], future: Future) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job())
        except Exception as error:
            future.set_exception(error)
