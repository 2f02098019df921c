"""Limits for what a client may send."""

import time
from collections.abc import Callable

MESSAGE_BYTES = 4096  # largest message over the WebSocket
BODY_BYTES = 2**20  # largest POST; labels come with what they were taught
PAGES = 32  # most pages open at a time
CALLS = 8  # most calls of services that run or wait


class Rate:
    """A token bucket: it limits the number of events at once and per second."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with a full bucket.

        Args:
            burst: Most events at once.
            per_second: Most events per second in the long run.
            clock: Returns seconds.
        """
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._left, self._at = float(burst), clock()

    def admit(self) -> bool:
        """Counts an event, and returns whether it is within the limit."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
