"""Reports too little memory in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

# PyTorch has no error class for too little main memory. Its messages contain one of these texts, the last one if even
# the number of bytes overflows.
_TOO_LARGE = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns the errors of PyTorch and NumPy about too little memory into a ValueError that says what to do."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError("the GPU has too little memory; try a smaller --input-size, or --device cpu") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _TOO_LARGE):
            raise
        raise ValueError("there is too little memory; try a smaller --input-size") from error
