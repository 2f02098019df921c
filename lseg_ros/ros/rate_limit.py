"""Limits the number of images per second. Standard library only."""

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Admits a limited number of images per second. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts a limit that admits the first image.

        Args:
            clock: Returns seconds. Tests use their own.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = float("-inf")  # when the latest admitted image was due

    def admit(self, rate: float, *, always: bool = False) -> bool:
        """Returns whether the image that has just arrived is admitted.

        Args:
            rate: Most images per second; 0 for all.
            always: Whether to admit this image in any case. It still counts.
        """
        now = self._clock()
        period = _period(rate)
        with self._lock:
            late = now - self._turn - period
            if late < 0 and not always:
                return False
            # A slightly late image does not delay the turn of the next one. Otherwise a camera with 30 images per
            # second would give 15 instead of 20: every other one.
            self._turn = now - (late if 0 < late < period / 2 else 0.0)
            return True

    def due(self, rate: float) -> bool:
        """Returns whether an image that arrived now would be admitted. Nothing is counted.

        Args:
            rate: As for `admit`.
        """
        with self._lock:
            return self._clock() - self._turn >= _period(rate)


def _period(rate: float) -> float:
    """Returns the seconds between two images."""
    return 1 / rate if rate else 0.0
