"""A bounded store of objects that are expensive to make, such as programs for an image size."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_IN_USE = 10.0  # seconds; a program that was used within this time is not replaced by another one

Program = TypeVar("Program")


@dataclass
class _Entry(Generic[Program]):
    """A program and the time of its last use in seconds."""

    program: Program
    used: float


class Programs(Generic[Program]):
    """The programs used last, up to a maximum number.

    A program in use is not replaced. Otherwise, with one size too many, each frame would make its program again.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._entries: OrderedDict[Hashable, _Entry[Program]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Program]) -> Program | None:
        """Returns the program of a key, and makes it if it is missing.

        Args:
            key: Identifies the program.
            make: Makes the program.

        Returns:
            The program, or None if the store is full of programs in use.
        """
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._most:
                oldest = next(iter(self._entries.values()))
                if self._clock() - oldest.used < _IN_USE:
                    return None
                self._entries.popitem(last=False)
            entry = self._entries[key] = _Entry(make(), 0.0)
        entry.used = self._clock()
        self._entries.move_to_end(key)
        return entry.program

    def drop(self, key: Hashable) -> None:
        """Removes the program of a key."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Removes all programs."""
        self._entries.clear()
