"""Logits enlarged to the size of an image, and the best label at each of its pixels.

There are two ways. On a CPU they are enlarged a strip at a time, so that labels x pixels are never in memory at once
and each strip stays in the cache. On a GPU it is faster to enlarge them whole, as long as they fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.preprocess import Geometry, Size
from lseg_ros.model.decoder import upsample

_ROWS, _COLUMNS = 96, 64  # enlarged by one product, at most
_STRIP = {"cpu": 2**20, "cuda": 2**24}  # numbers: what stays in a processor's cache; what keeps a GPU busy
# labels x pixels that a GPU enlarges whole: 1 GiB, or a sixteenth of a small GPU's memory; two of that size are in
# memory at once. On an H200, 150 labels at 1280x720 (138 million) took 2.3 ms whole and 3.7 ms in strips; at 640x480,
# 1.0 and 1.4 ms.
_WHOLE, _PART = 2**28, 16

# Softmax is computed to base 2, for torch takes a third of the time over exp2 that it takes over exp.
_LOG2_E = 1.4426950408889634


class Block(NamedTuple):
    """Rows start..stop of an interpolation matrix, without the columns where they are zero.

    weights: [stop - start, n] of the n cells from `first` on.
    """

    start: int
    stop: int
    first: int
    weights: Tensor


@dataclass(frozen=True)
class Best:
    """The best label at each pixel.

    index: [H,W] uint8, or int32 for more than 256 labels; the first of equals. logit: [H,W] float32, the best one,
    times log2(e). share: [H,W] float32 in (0, 1], what that is of the softmax over all labels.
    """

    index: Tensor
    logit: Tensor
    share: Tensor


def enlarged_whole(labels: int, output: Size, device: torch.device) -> bool:
    """Whether this many labels are enlarged to `output` at once, and not in strips."""
    return labels * output[0] * output[1] <= _whole_limit(device)


@lru_cache
def _whole_limit(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    return min(_WHOLE, torch.cuda.get_device_properties(device).total_memory // (4 * _PART))


def best_labels(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    """[1,N,h,w] -> the best of N labels at each pixel of `output`; `strips` says how logits are enlarged."""
    if enlarged_whole(logits.shape[1], output, logits.device):
        return _best_of_whole(logits, sizes, output)
    return _best_by_strips(logits, sizes, output)


def _best_of_whole(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    x = whole(logits * _LOG2_E, sizes, output)
    top, index = x.max(0)
    share = x.sub_(top).exp2_().sum(0).reciprocal_()  # x is of this function alone: the product above is new
    return Best(index.to(torch.uint8 if len(x) <= 256 else torch.int32), top, share)


def _best_by_strips(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    count, device = logits.shape[1], logits.device
    index = torch.empty(output, dtype=torch.uint8 if count <= 256 else torch.int32, device=device)
    best = torch.empty(output, device=device)
    share = torch.empty(output, device=device)
    from_end = torch.arange(count - 1, -1, -1, device=device)[:, None]
    powers: Tensor | None = None
    for start, stop, strip in strips(logits * _LOG2_E, sizes, output):
        top = torch.amax(strip, 1, keepdim=True, out=best[start:stop, None])
        below = strip.sub_(top)
        powers = torch.empty_like(below) if powers is None else powers
        torch.sum(torch.exp2(below, out=powers[: stop - start]), 1, out=share[start:stop])
        # Places counted from the end: that of the first label that is nowhere below the top is the largest of all, the
        # others being pushed far down. Torch's own argmax takes as long as all the rest.
        place = torch.add(from_end, below, alpha=1e30, out=below).amax(1)
        index[start:stop] = count - 1 - place
    return Best(index, best, share.reciprocal_())


def shares(logits: Tensor, best: Best, sizes: Geometry, output: Size) -> Tensor:
    """[1,N,h,w] of some of the labels, and the best of all -> [N,*output] float32, their shares of the softmax."""
    return (resized(logits * _LOG2_E, sizes, output) - best.logit).exp2_().mul_(best.share)


def resized(logits: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """[1,N,h,w] -> [N,*output] float32, all at once; see `strips`."""
    if enlarged_whole(logits.shape[1], output, logits.device):
        return whole(logits, sizes, output)
    found = torch.empty((logits.shape[1], *output), device=logits.device)
    for start, stop, strip in strips(logits, sizes, output):
        found[:, start:stop] = strip.transpose(0, 1)
    return found


def at_pixel(values: Tensor, sizes: Geometry, output: Size, u: int, v: int) -> Tensor:
    """[1,N,h,w] -> [N] float32 at column u and row v of what `strips` makes of all of it."""
    count, height, width = values.shape[1:]
    across, down = strip_matrices((count, height, width), sizes, output, values.device)
    column = next(block for block in across if block.start <= u < block.stop)
    row = next(block for block in down if block.start <= v < block.stop)
    weights_u, weights_v = column.weights[u - column.start], row.weights[v - row.start]
    cells = values[0, :, row.first : row.first + len(weights_v), column.first : column.first + len(weights_u)].float()
    return torch.einsum("nhw,h,w->n", cells, weights_v, weights_u)


def whole(logits: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """[1,N,h,w] -> [N,*output] float32, by the two interpolations that `strips` does as one."""
    x = upsample(logits.float(), sizes.padded)[:, :, : sizes.resized[0], : sizes.resized[1]]
    if sizes.resized != output:
        x = functional.interpolate(x, size=output, mode="bilinear", align_corners=False)
    return x[0]


def strips(logits: Tensor, sizes: Geometry, output: Size) -> Iterator[tuple[int, int, Tensor]]:
    """Bilinear, to the network's input size (corners aligned), without its padding, to the output size.

    Both steps are linear, and one after the other along each side, so that a product with one matrix for each side
    does them together.

    Args:
        logits: [1,N,h,w] at decoder resolution.
        sizes: of the image.
        output: height and width of the result.

    Yields:
        The first row of a strip, the one after its last, and [rows,N,W] float32, which may be overwritten, and
        will be by the next strip.
    """
    count, height, width = logits.shape[1:]
    cells = logits[0].float().transpose(0, 1).contiguous()
    across, blocks = strip_matrices((count, height, width), sizes, output, logits.device)
    rows = max(block.stop - block.start for block in blocks)
    # Memory that is new to the process costs more than what is computed in it, so all strips use the same.
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
    """What `strips` multiplies logits of [N,h,w] with, along their width and along their height.

    They are kept for the shapes used last, and a CUDA graph needs them for as long as it is there: hold them with it.
    """
    count, height, width = shape
    rows = max(1, min(_ROWS, _STRIP[device.type] // (count * output[1])))
    across = _blocks(width, sizes.padded[1], sizes.resized[1], output[1], _COLUMNS, str(device))
    return across, _blocks(height, sizes.padded[0], sizes.resized[0], output[0], rows, str(device))


@lru_cache(64)
def _blocks(cells: int, padded: int, resized: int, output: int, rows: int, device: str) -> list[Block]:
    """The interpolation of one side as blocks of `rows` rows of its matrix."""
    matrix = upsample(torch.eye(cells, dtype=torch.float64)[None, None], (padded, cells))[:, :, :resized]
    if output != resized:
        matrix = functional.interpolate(matrix, size=(output, cells), mode="bilinear", align_corners=False)
    found = []
    for start in range(0, output, rows):
        part = matrix[0, 0, start : start + rows]
        used = part.any(0).nonzero()
        first, last = int(used[0]), int(used[-1])
        found.append(Block(start, start + len(part), first, part[:, first : last + 1].float().contiguous().to(device)))
    return found
