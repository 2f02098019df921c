"""Notices that the process stood still: stopped by a signal or in a debugger, or its machine was suspended.

Standard library only.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

_LONG = 2.0  # seconds; Fast DDS marks the shared memory of a process as unusable after one to two
_LOOK = 0.25  # seconds between two looks
_BUSY = 0.25  # a process that used a larger part of the time than this has worked, and did not stand still
_SETTLE = 1.0  # seconds after a standstill in which requests that came meanwhile are answered


class Times(NamedTuple):
    """What two looks compare, in seconds.

    Attributes:
        wall: The time, also while the machine is suspended.
        cpu: The processor time that the process has used.
    """

    wall: float
    cpu: float


def now() -> Times:
    """Returns the times of this process."""
    # Unlike time.monotonic, this clock also counts while the machine is suspended.
    return Times(time.clock_gettime(time.CLOCK_BOOTTIME), time.process_time())


def stood_still(before: Times, after: Times) -> float:
    """Returns for how many seconds the process stood still between two looks; 0 if it did not, or not for long.

    Args:
        before: The times of a look.
        after: The times of the next look.
    """
    seconds = after.wall - before.wall - _LOOK
    return seconds if seconds >= _LONG and after.cpu - before.cpu < _BUSY * seconds else 0.0


class StandstillWatch:
    """Watches the process on a thread of its own. Use it as a context manager."""

    def __init__(self, on_standstill: Callable[[float], None]) -> None:
        """Prepares the thread.

        Args:
            on_standstill: Called on the thread with the seconds, a moment after the end of each standstill.
        """
        self._on_standstill = on_standstill
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="standstill", daemon=True)

    def __enter__(self) -> "StandstillWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        before = now()
        while not self._ended.wait(_LOOK):
            after = now()
            seconds = stood_still(before, after)
            if seconds and not self._ended.wait(_SETTLE):
                self._on_standstill(seconds)
                after = now()
            before = after
