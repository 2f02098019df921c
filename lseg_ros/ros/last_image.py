"""The last image of a camera, kept for label changes and queries. Standard library only."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class LastImage(Generic[T]):
    """Keeps one image for a while, and lets others wait for the next one. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts without an image.

        Args:
            clock: Returns seconds. Tests use their own.
        """
        self._clock = clock
        self._lock = threading.Lock()  # protects all attributes below
        self._image: T | None = None
        self._received = 0.0
        self._waiting: Future[T | None] | None = None
        self._wait_until = 0.0

    def put(self, image: T, received: float) -> None:
        """Replaces the image, and passes the new one to everybody who waits.

        Args:
            image: The image.
            received: When it arrived, in seconds of the clock.
        """
        with self._lock:
            self._image, self._received = image, received
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set_result(image)

    def get(self, max_age: float) -> T | None:
        """Returns the image unless it is older than `max_age` seconds."""
        with self._lock:
            return self._image if self._is_fresh(max_age) else None

    def wait(self, timeout: float) -> "Future[T | None]":
        """Returns a future of the next image. It holds None if `expire` finds that it took too long.

        If somebody waits already, it is the same future with the same deadline.

        Args:
            timeout: Seconds.
        """
        with self._lock:
            if self._waiting is None:
                self._waiting, self._wait_until = Future(), self._clock() + timeout
            return self._waiting

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the next image."""
        with self._lock:
            return self._waiting is not None

    def expire(self, max_age: float) -> None:
        """Drops the image if it is older than `max_age` seconds, and ends a wait that took too long."""
        with self._lock:
            if not self._is_fresh(max_age):
                self._image = None
            overdue = self._waiting is not None and self._clock() > self._wait_until
            waiting = self._take_waiting() if overdue else None
        if waiting is not None:
            waiting.set_result(None)

    def clear(self) -> None:
        """Drops the image and ends a wait."""
        with self._lock:
            self._image = None
            waiting = self._take_waiting()
        if waiting is not None:
            waiting.set_result(None)

    def _take_waiting(self) -> "Future[T | None] | None":
        waiting, self._waiting = self._waiting, None
        return waiting

    def _is_fresh(self, max_age: float) -> bool:
        return self._image is not None and self._clock() - self._received <= max_age
