"""Why no masks come: nothing arrives, every image is refused, or one frame takes long. Standard library only."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """What keeps masks from coming."""

    NOTHING_ARRIVES = "nothing arrives"
    ALL_FAIL = "images arrive, and none of them can be segmented"
    SLOW_FRAME = "images arrive, and the frame in work takes long"


@dataclass(frozen=True)
class Silence:
    """A silence that has lasted for a while.

    Attributes:
        cause: What keeps masks from coming.
        seconds: How long it has lasted; of a slow frame, how long that frame has been in work.
    """

    cause: Cause
    seconds: float


class SilenceWatch:
    """Watches one camera while somebody listens to what is made of its images. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts with nobody listening.

        Args:
            clock: Returns seconds; tests bring their own.
        """
        self._clock = clock
        self._lock = threading.Lock()  # over everything below
        self._listening_since: float | None = None
        self._last_arrival = self._last_success = float("-inf")
        self._failing = False
        self._work_since: float | None = None
        self._warned: Cause | None = None
        self._warn_after = 0.0

    def listen(self, listening: bool) -> None:
        """Tells whether somebody listens; a silence begins at the earliest when somebody does."""
        with self._lock:
            if not listening:
                self._listening_since = None
            elif self._listening_since is None:
                self._listening_since = self._clock()

    def arrived(self) -> None:
        """Tells that an image has arrived, whatever becomes of it."""
        with self._lock:
            self._last_arrival = self._clock()

    def begin(self) -> None:
        """Tells that work on an image begins."""
        with self._lock:
            self._work_since = self._clock()

    def end(self, success: bool) -> None:
        """Tells that work on an image has ended.

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

    def to_report(self, after: float) -> Silence | None:
        """Returns a silence that should be logged now.

        A silence is logged once it has lasted for `after` seconds, and then after at least twice the time each.

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
