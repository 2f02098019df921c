"""Encodes large images in overlapping windows, for encoders that were trained with images of one size."""

from collections.abc import Callable

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import Backend


class Windows:
    """Replaces a backend. Images that are larger than a window pass through it in several windows."""

    def __init__(self, backend: Backend, side: int, step: int) -> None:
        """Wraps a backend.

        Args:
            backend: The backend.
            side: Side of a window in pixels, a multiple of `step`.
            step: Number of which the sides of images are multiples, in pixels.
        """
        self._backend, self._side, self._step = backend, side, step

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._backend.name

    @property
    def recordable(self) -> bool:
        """Whether a call of the backend can become part of a CUDA graph."""
        return self._backend.recordable

    def __call__(self, images: Tensor) -> Tensor:
        """Encodes [1,3,H,W] as [1,R,h,w]."""
        return in_windows(self._backend, images, self._side, self._step)


def in_windows(encode: Callable[[Tensor], Tensor], images: Tensor, side: int, step: int) -> Tensor:
    """Encodes images in square windows, or as a whole if they are no larger than a window.

    Windows overlap by a quarter, as in the evaluation of TIPSv2's authors. The last one of a row or column is moved
    back into the image. Where windows overlap, the result is the mean of their vectors, so unit vectors get lengths up
    to 1.

    Args:
        encode: Maps [1,3,h,w] to [1,R,rows,columns], with the same number of cells in each step of pixels.
        images: [1,3,H,W], both sides multiples of `step`.
        side: Side of a window in pixels, a multiple of `step`.
        step: Number of which the sides of images are multiples, in pixels.

    Returns:
        [1,R,rows,columns].
    """
    height, width = images.shape[2:]
    if max(height, width) <= side:
        return encode(images)
    places = [(top, left) for top in _starts(height, side, step) for left in _starts(width, side, step)]
    total = count = None
    for top, left in places:
        window = images[..., top : top + side, left : left + side].contiguous(memory_format=torch.channels_last)
        found = encode(window)
        down, across = (step * cells // pixels for cells, pixels in zip(found.shape[2:], window.shape[2:], strict=True))
        if total is None or count is None:
            cells = height // step * down, width // step * across
            total, count = found.new_zeros(1, found.shape[1], *cells), found.new_zeros(1, 1, *cells)
        row, column = top // step * down, left // step * across
        part = (..., slice(row, row + found.shape[2]), slice(column, column + found.shape[3]))
        total[part] += found
        count[part] += 1
    assert total is not None and count is not None
    return total / count


def _starts(length: int, side: int, step: int) -> list[int]:
    """Returns the starts of the windows along a side of the image."""
    if length <= side:
        return [0]
    stride = max(step, side * 3 // 4 // step * step)
    return [*range(0, length - side, stride), length - side]


def check_window(side: int, step: int, input_size: int) -> None:
    """Checks the side of windows.

    Args:
        side: Side of a window in pixels.
        step: Number of which the sides of images are multiples, in pixels.
        input_size: Longest side of images in pixels.

    Raises:
        ValueError: The side cannot be used.
    """
    if side < step or side % step:
        nearest = max(step, round(side / step) * step)
        raise ValueError(f"window is {side}; it must be a multiple of {step} pixels for this model, such as {nearest}")
    if side >= input_size:
        raise ValueError(
            f"window is {side} and input_size is {input_size}, so that each image fits into one window; give an "
            "input_size above that, or no window"
        )
