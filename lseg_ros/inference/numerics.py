"""The meaning of each precision where PyTorch computes, and the only place that sets PyTorch's switch for TF32.

NVIDIA GPUs can compute float32 products in TF32, which has the range of float32 and ten bits after the point. PyTorch's
default allows it in convolutions, which changes logits by 2e-3. Here "float32" never uses it, and "tf32" always does.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lseg_ros.inference.backends.base import BackendError


@dataclass(frozen=True)
class Numerics:
    """The types of numbers in each part of the image encoder. Scores are always float32.

    Attributes:
        encoder: Type in the backbone.
        decoder: Type in all that follows, up to the coordinates.
        tf32: Whether float32 products may be computed in TF32.
    """

    encoder: torch.dtype = torch.float32
    decoder: torch.dtype = torch.float32
    tf32: bool = False


ON_GPU = {
    "float32": Numerics(),
    "tf32": Numerics(tf32=True),
    "float16": Numerics(torch.float16, torch.float16),
    "bfloat16": Numerics(torch.bfloat16, torch.bfloat16),
}
# The original's own half precision changes 0.05 % of the labels of pixels with 7 labels, and up to 0.8 % with 150.
# Measured with full-size random weights against exact float32: float16 0.03 % and 0.27 %. `make gpu` measures again.
AUTO_ON_GPU = "float16"

_lock = threading.RLock()  # the switches apply to the whole process, and two threads may need different ones


def numerics_on_gpu(precision: str) -> Numerics:
    """Returns the types that a precision stands for on a GPU.

    Raises:
        BackendError: PyTorch has no precision of that name on a GPU.
    """
    if precision not in ON_GPU:
        raise BackendError(f"torch runs in {', '.join(ON_GPU)} on a GPU, not in {precision}; choose another of the two")
    return ON_GPU[precision]


@contextmanager
def float32_products(device: torch.device, *, tf32: bool, search: bool = False) -> Iterator[None]:
    """Sets how a GPU computes float32 products in this block, and restores the process's own settings afterwards.

    Other threads that enter such a block wait until this one leaves it.

    Args:
        device: The device on which the block computes. On a CPU nothing is set.
        tf32: Whether TF32 is allowed. Without it float32 is exact.
        search: Whether cuDNN tries its algorithms on the first convolution of each shape and keeps the fastest.
    """
    if device.type != "cuda":
        yield
        return
    with _lock:
        cudnn = torch.backends.cudnn
        searched = cudnn.benchmark
        restore = _allow_tf32(tf32)
        cudnn.benchmark = search
        try:
            yield
        finally:
            cudnn.benchmark = searched
            restore()


def _allow_tf32(allowed: bool) -> "_Restore":
    """Sets both switches and returns a function that restores them."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        before = convolutions.allow_tf32, products.allow_tf32
    except RuntimeError:
        # PyTorch 2.9 and newer: the process has used the newer switches, and the older ones cannot be read any more.
        newer = convolutions.conv, products  # type: ignore[attr-defined]
        names = [part.fp32_precision for part in newer]
        for part in newer:
            part.fp32_precision = "tf32" if allowed else "ieee"
        return _Restore([(part, "fp32_precision", name) for part, name in zip(newer, names, strict=True)])
    convolutions.allow_tf32 = products.allow_tf32 = allowed
    return _Restore([(convolutions, "allow_tf32", before[0]), (products, "allow_tf32", before[1])])


class _Restore:
    """Restores attributes to the values they had."""

    def __init__(self, values: list[tuple[object, str, object]]) -> None:
        self._values = values

    def __call__(self) -> None:
        for owner, name, value in self._values:
            setattr(owner, name, value)
