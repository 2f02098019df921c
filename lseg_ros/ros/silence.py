"""Finds out why no masks come: nothing arrives, every image is refused, or one frame is slow. Standard library only."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """The reason why no masks come."""

    NOTHING_ARRIVES = "nothing arrives"
    ALL_FAIL = "images arrive, and none of them can be segmented"
    SLOW_FRAME = "images arrive, and the frame in work takes long"


@dataclass(frozen=True)
class Silence:
    """A silence that has lasted for a while.

    Attributes:
        cause: The reason why no masks come.
        seconds: How long it has lasted. For a slow frame, how long that frame has taken so far.
    """

    cause: Cause
    seconds: float


class SilenceWatch:
    """Watches one camera while somebody listens to its outputs. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts without listeners.

        Args:
            clock: Returns seconds. Tests use their own.
        """
        self._clock = clock
        self._lock = threading.Lock()  # protects all attributes below
        self._listening_since: float | None = None
        self._last_arrival = self._last_success = float("-inf")
        self._failing = False
        self._work_since: float | None = None
        self._warned: Cause | None = None
        self._warn_after = 0.0

    def listen(self, listening: bool) -> None:
        """Notes whether somebody listens. A silence begins only while somebody does."""
        with self._lock:
            if not listening:
                self._listening_since = None
            elif self._listening_since is None:
                self._listening_since = self._clock()

    def arrived(self) -> None:
        """Notes that an image has arrived."""
        with self._lock:
            self._last_arrival = self._clock()

    def begin(self) -> None:
        """Notes that work on an image begins."""
        with self._lock:
            self._work_since = self._clock()

    def end(self, success: bool) -> None:
        """Notes that work on an image has ended.

        Args:
            success: Whether the image was segmented.
        """
        with self._lock:
            self._work_since = None
            self._failing = not success
            if success:
                self._last_success = self._clock()

    def silence(self, after: float) -> Silence | None:
        """Returns the silence that has lasted for at least `after` seconds, or None."""
        with self._lock:
            return self._silence(after)

    def _silence(self, after: float) -> Silence | None:
        if self._listening_since is None:
            return None
        now = self._clock()
        if self._work_since is not None and now - self._work_since >= after:
            return Silence(Cause.SLOW_FRAME, now - self._work_since)
        silent = now - max(self._listening_since, self._last_arrival)
        if silent >= after:
            return Silence(Cause.NOTHING_ARRIVES, silent)
        failing = now - max(self._listening_since, self._last_success)
        if self._failing and failing >= after:
            return Silence(Cause.ALL_FAIL, failing)
        return None

    def frame_in_work(self) -> Silence | None:
        """Returns how long the frame that is now in work has taken, or None if there is none."""
        with self._lock:
            if self._work_since is None:
                return None
            return Silence(Cause.SLOW_FRAME, self._clock() - self._work_since)

    def to_report(self, after: float) -> Silence | None:
        """Returns a silence that should be logged now, or None.

        A silence is logged after `after` seconds, and then each time it has lasted at least twice as long.

        Args:
            after: Seconds until the first report.
        """
        with self._lock:
            silence = self._silence(after)
            if silence is None:
                self._warned = None
                return None
            if silence.cause is self._warned and silence.seconds < self._warn_after:
                return None
            self._warned, self._warn_after = silence.cause, 2 * max(silence.seconds, after)
            return silence
