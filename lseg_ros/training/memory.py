"""Keeps the memory that one training step frees and the next one needs again."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes this process keep the memory that it frees, where its C library is glibc.

    By default glibc returns large tensors to the system after each step, and the system zeroes the pages when they are
    needed again. That takes a sixth of a training step of `lseg_mini` on a CPU. The process then holds its peak memory
    until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 2**26)
