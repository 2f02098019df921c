"""A bounded store of objects that are expensive to make, such as programs for an image size, and when to make them."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_IN_USE = 10.0  # seconds; a program that was used within this time is not replaced by another one
_COUNTED = 32  # most keys whose uses are counted

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
        found = self.find(key)
        if found is not None:
            return found
        if len(self._entries) >= self._most:
            oldest = next(iter(self._entries.values()))
            if self._clock() - oldest.used < _IN_USE:
                return None
            self._entries.popitem(last=False)
        program = make()
        self._entries[key] = _Entry(program, self._clock())
        return program

    def find(self, key: Hashable) -> Program | None:
        """Returns the program of a key, or None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = self._clock()
        self._entries.move_to_end(key)
        return entry.program

    def drop(self, key: Hashable) -> None:
        """Removes the program of a key."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Removes all programs."""
        self._entries.clear()


class Uses:
    """Counts the uses of keys, so that a program is made only for what comes again and again.

    A key that is not used for some seconds starts anew, and only the keys used last are counted.
    """

    def __init__(self, often: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts without any uses.

        Args:
            often: The number of uses from which on a key is used often.
            clock: Returns seconds.
        """
        self._often, self._clock = often, clock
        self._counts: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def often(self, key: Hashable) -> bool:
        """Notes a use of a key, and returns whether it is used often."""
        count, last = self._counts.pop(key, (0, 0.0))
        now = self._clock()
        count = count + 1 if now - last < _IN_USE else 1
        self._counts[key] = count, now
        if len(self._counts) > _COUNTED:
            self._counts.popitem(last=False)
        return count >= self._often
