"""Enlarges logits to the size of an image.

There are two ways. A CPU enlarges a strip at a time, so that labels x pixels are never in memory at once and each strip
stays in the cache. A GPU is faster if it enlarges all at once, as long as the memory suffices.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.preprocess import Geometry, Size
from lseg_ros.model.decoder import upsample

_ROWS, _COLUMNS = 96, 64  # most rows and columns that one product enlarges
_STRIP = {"cpu": 2**20, "cuda": 2**24}  # numbers in a strip: few enough for a CPU's cache, enough to keep a GPU busy
# Largest labels x pixels that a GPU enlarges as a whole: 1 GiB, or a sixteenth of a small GPU's memory. Two tensors of
# that size are in memory at once. On an H200, 150 labels at 1280x720 (138 million) took 2.3 ms as a whole and 3.7 ms in
# strips; at 640x480, 1.0 and 1.4 ms.
_WHOLE, _PART = 2**28, 16


class Block(NamedTuple):
    """Some rows of an interpolation matrix, without the columns where they are zero.

    Attributes:
        start: The first row.
        stop: The row after the last one.
        first: The first cell with a weight.
        weights: [stop - start, n], the weights of n cells from `first` on.
    """

    start: int
    stop: int
    first: int
    weights: Tensor


def enlarged_whole(labels: int, output: Size, device: torch.device) -> bool:
    """Returns whether labels are enlarged at once instead of in strips.

    Args:
        labels: Number of labels.
        output: Height and width of the result.
        device: The device that computes.
    """
    return labels * output[0] * output[1] <= _whole_limit(device)


@lru_cache
def _whole_limit(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    return min(_WHOLE, torch.cuda.get_device_properties(device).total_memory // (4 * _PART))


def resized(logits: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """Enlarges logits all at once; see `strips`.

    Args:
        logits: [1,N,h,w] at decoder resolution.
        sizes: The sizes of the image.
        output: Height and width of the result.

    Returns:
        [N,*output] float32.
    """
    if enlarged_whole(logits.shape[1], output, logits.device):
        return whole(logits, sizes, output)
    result = torch.empty((logits.shape[1], *output), device=logits.device)
    for start, stop, strip in strips(logits, sizes, output):
        result[:, start:stop] = strip.transpose(0, 1)
    return result


def at_pixel(values: Tensor, sizes: Geometry, output: Size, u: int, v: int) -> Tensor:
    """Computes the result of `strips` at one pixel alone.

    Args:
        values: [1,N,h,w] at decoder resolution.
        sizes: The sizes of the image.
        output: Height and width of the whole result.
        u: Column of the pixel.
        v: Row of the pixel.

    Returns:
        [N] float32.
    """
    count, height, width = values.shape[1:]
    across, down = strip_matrices((count, height, width), sizes, output, values.device)
    column = next(block for block in across if block.start <= u < block.stop)
    row = next(block for block in down if block.start <= v < block.stop)
    weights_u, weights_v = column.weights[u - column.start], row.weights[v - row.start]
    cells = values[0, :, row.first : row.first + len(weights_v), column.first : column.first + len(weights_u)].float()
    return torch.einsum("nhw,h,w->n", cells, weights_v, weights_u)


def whole(logits: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """Enlarges logits by the two interpolations that `strips` combines.

    Args:
        logits: [1,N,h,w] at decoder resolution.
        sizes: The sizes of the image.
        output: Height and width of the result.

    Returns:
        [N,*output] float32.
    """
    x = upsample(logits.float(), sizes.padded)[:, :, : sizes.resized[0], : sizes.resized[1]]
    if sizes.resized != output:
        x = functional.interpolate(x, size=output, mode="bilinear", align_corners=False)
    return x[0]


def strips(logits: Tensor, sizes: Geometry, output: Size) -> Iterator[tuple[int, int, Tensor]]:
    """Enlarges logits a strip at a time: to the network's input size, without its padding, then to the output size.

    Both interpolations are bilinear; the first one aligns corners. They are linear and act on each side separately. So
    a product with one matrix for each side does both.

    Args:
        logits: [1,N,h,w] at decoder resolution.
        sizes: The sizes of the image.
        output: Height and width of the result.

    Yields:
        The first row of a strip, the row after its last one, and [rows,N,W] float32. The caller may overwrite it, and
        the next strip will.
    """
    count, height, width = logits.shape[1:]
    cells = logits[0].float().transpose(0, 1).contiguous()
    across, blocks = strip_matrices((count, height, width), sizes, output, logits.device)
    rows = max(block.stop - block.start for block in blocks)
    # All strips use the same memory, because fresh memory costs more time than the computation.
    wide = torch.empty((count * max(block.weights.shape[1] for block in blocks), output[1]), device=logits.device)
    strip = torch.empty((rows, count * output[1]), device=logits.device)
    for start, stop, first, down in blocks:
        part = cells[first : first + down.shape[1]].view(-1, width)
        for left, right, cell, weights in across:
            torch.mm(part[:, cell : cell + weights.shape[1]], weights.T, out=wide[: len(part), left:right])
        torch.mm(down, wide[: len(part)].view(down.shape[1], -1), out=strip[: stop - start])
        yield start, stop, strip[: stop - start].view(stop - start, count, output[1])


def strip_matrices(
    shape: tuple[int, int, int], sizes: Geometry, output: Size, device: torch.device
) -> tuple[list[Block], list[Block]]:
    """Returns the matrices of `strips`, along the width and along the height.

    They are cached for the shapes used last. A CUDA graph needs them as long as it exists, so keep them with it.

    Args:
        shape: (N, h, w) of the logits.
        sizes: The sizes of the image.
        output: Height and width of the result.
        device: The device of the logits.
    """
    count, height, width = shape
    rows = max(1, min(_ROWS, _STRIP[device.type] // (count * output[1])))
    across = interpolation(width, sizes.padded[1], sizes.resized[1], output[1], _COLUMNS, str(device))
    return across, interpolation(height, sizes.padded[0], sizes.resized[0], output[0], rows, str(device))


@lru_cache(64)
def interpolation(cells: int, padded: int, resized: int, output: int, rows: int, device: str = "cpu") -> list[Block]:
    """Returns the interpolation of one side as blocks of its matrix. The caller must not change them.

    Args:
        cells: Cells of the logits along that side.
        padded: Pixels of the network's input there.
        resized: How many of these belong to the image.
        output: Pixels of the result.
        rows: Rows of a block; the last one may have fewer.
        device: Where the weights lie.
    """
    matrix = upsample(torch.eye(cells, dtype=torch.float64)[None, None], (padded, cells))[:, :, :resized]
    if output != resized:
        matrix = functional.interpolate(matrix, size=(output, cells), mode="bilinear", align_corners=False)
    blocks = []
    for start in range(0, output, rows):
        part = matrix[0, 0, start : start + rows]
        used = part.any(0).nonzero()
        first, last = int(used[0]), int(used[-1])
        blocks.append(Block(start, start + len(part), first, part[:, first : last + 1].float().contiguous().to(device)))
    return blocks
