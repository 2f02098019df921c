"""Logits enlarged to the size of an image a strip at a time, so that labels x pixels are never in memory at once."""

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


def best_labels(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    """[1,N,h,w] -> the best of N labels at each pixel of `output`; `strips` says how logits are enlarged."""
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
    found = torch.empty((logits.shape[1], *output), device=logits.device)
    for start, stop, strip in strips(logits, sizes, output):
        found[:, start:stop] = strip.transpose(0, 1)
    return found


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
    device = str(logits.device)
    count, height, width = logits.shape[1:]
    cells = logits[0].float().transpose(0, 1).contiguous()
    across = _blocks(width, sizes.padded[1], sizes.resized[1], output[1], _COLUMNS, device)
    rows = max(1, min(_ROWS, _STRIP[logits.device.type] // (count * output[1])))
    blocks = _blocks(height, sizes.padded[0], sizes.resized[0], output[0], rows, device)
    # Memory that is new to the process costs more than what is computed in it, so all strips use the same.
    wide = torch.empty((count * max(block.weights.shape[1] for block in blocks), output[1]), device=logits.device)
    strip = torch.empty((rows, count * output[1]), device=logits.device)
    for start, stop, first, down in blocks:
        part = cells[first : first + down.shape[1]].view(-1, width)
        for left, right, cell, weights in across:
            torch.mm(part[:, cell : cell + weights.shape[1]], weights.T, out=wide[: len(part), left:right])
        torch.mm(down, wide[: len(part)].view(down.shape[1], -1), out=strip[: stop - start])
        yield start, stop, strip[: stop - start].view(stop - start, count, output[1])


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
