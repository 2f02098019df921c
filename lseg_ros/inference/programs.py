"""A bounded number of things that were made for a size or a list, and are expensive to make."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_IN_USE = 10.0  # seconds after its last use in which a program does not make room for another one

Program = TypeVar("Program")


@dataclass
class _Entry(Generic[Program]):
    """A program, and the second of its last use."""

    program: Program
    used: float


class Programs(Generic[Program]):
    """The programs used last, at most so many. One in use makes no room: else each frame would make its own anew."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._entries: OrderedDict[Hashable, _Entry[Program]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Program]) -> Program | None:
        """The program of a key, now made or kept; None where others are in use and there is no room."""
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
        """Forgets the program of a key."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forgets all programs."""
        self._entries.clear()
