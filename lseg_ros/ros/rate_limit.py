"""How many images a second are taken. Standard library only."""

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Lets so many images a second pass. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Lets the first image pass.

        Args:
            clock: Returns seconds; tests bring their own.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = float("-inf")  # when the latest image that passed was due

    def admit(self, rate: float, *, always: bool = False) -> bool:
        """Returns whether the image that has come just now may pass.

        Args:
            rate: Images per second, at most; 0 for all of them.
            always: Lets this one pass in any case; it counts all the same.
        """
        now = self._clock()
        period = _period(rate)
        with self._lock:
            late = now - self._turn - period
            if late < 0 and not always:
                return False
            # An image that came a little late does not delay the turn of the next one. Else a camera with 30 images a
            # second would give 15 where 20 are asked for: every other one.
            self._turn = now - (late if 0 < late < period / 2 else 0.0)
            return True

    def due(self, rate: float) -> bool:
        """Returns whether an image that came just now would pass; none is counted.

        Args:
            rate: As for `admit`.
        """
        with self._lock:
            return self._clock() - self._turn >= _period(rate)


def _period(rate: float) -> float:
    """Seconds between images."""
    return 1 / rate if rate else 0.0
