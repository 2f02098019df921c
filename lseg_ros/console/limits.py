"""How much a client may send."""

import time
from collections.abc import Callable

MESSAGE_BYTES = 4096  # of one message over the WebSocket
BODY_BYTES = 256 * 1024  # of one POST
PAGES = 32  # open at a time
CALLS = 8  # of the node's services, in work or waiting


class Rate:
    """A token bucket: so many at once, and so many each second."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts full.

        Args:
            burst: How many may come at once.
            per_second: How many may come each second in the long run.
            clock: Seconds.
        """
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._left, self._at = float(burst), clock()

    def admit(self) -> bool:
        """Counts one; returns False where that is too many."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
