"""Too little memory, said in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

# PyTorch has no class of its own for what does not fit into main memory: in such an error, and where even the number
# of bytes is too large.
_TOO_LARGE = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns what PyTorch and NumPy raise where memory is short into a ValueError that says what to do."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError("the GPU has too little memory; try a smaller --input-size, or --device cpu") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _TOO_LARGE):
            raise
        raise ValueError("there is too little memory; try a smaller --input-size") from error
