"""The best label at each pixel of an image, and its share of the softmax.

There are three ways. A GPU enlarges all logits at once, as long as they fit into its memory, else in strips. A CPU
takes strips for few labels and tiles for many.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lseg_ros.inference.preprocess import Geometry, Size
from lseg_ros.inference.upsampling import Block, enlarged_whole, interpolation, resized, strips, whole

# Softmax is computed to base 2, because torch computes exp2 in a third of the time of exp.
_LOG2_E = 1.4426950408889634

_MANY = 96  # labels; below that, strips are as fast
_BAND = 64  # rows of the image that are enlarged along their width at once
_COLUMNS, _SIDE_BY_SIDE = 32, 4  # columns that one product enlarges, and how many of these make a tile
_TILE = 2**19  # numbers for each thread: about what stays in a core's own cache
_FEW = 4  # labels are few where they are at most this part of all
_RANGE = 100.0  # between the logits of a cell, times log2(e); 2^-127 is too small for float32


@dataclass(frozen=True)
class Best:
    """The best label at each pixel.

    Attributes:
        index: [H,W] uint8, or int32 for more than 256 labels. Of equal labels it is the first one.
        logit: [H,W] float32, the best logit times log2(e).
        share: [H,W] float32 in (0, 1], its share of the softmax over all labels.
    """

    index: Tensor
    logit: Tensor
    share: Tensor


def best_labels(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    """Finds the best label at each pixel.

    Args:
        logits: [1,N,h,w] at decoder resolution.
        sizes: The sizes of the image.
        output: Height and width of the result.
    """
    if enlarged_whole(logits.shape[1], output, logits.device):
        return _best_of_whole(logits, sizes, output)
    if _fits_tiles(logits):
        return _best_by_tiles(logits, sizes, output)
    return _best_by_strips(logits, sizes, output)


def _best_of_whole(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    x = whole(logits * _LOG2_E, sizes, output)
    top, index = x.max(0)
    share = x.sub_(top).exp2_().sum(0).reciprocal_()  # in place, because nobody else uses x
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
        # Places count from the end, and labels below the top are pushed far down. So the largest place is that of the
        # first label at the top. Torch's own argmax takes as long as everything else together.
        place = torch.add(from_end, below, alpha=1e30, out=below).amax(1)
        index[start:stop] = count - 1 - place
    return Best(index, best, share.reciprocal_())


def shares(logits: Tensor, best: Best, sizes: Geometry, output: Size) -> Tensor:
    """Computes shares of the softmax for some of the labels.

    Args:
        logits: [1,N,h,w] of these labels, at decoder resolution.
        best: The best of all labels.
        sizes: The sizes of the image.
        output: Height and width of the result.

    Returns:
        [N,*output] float32.
    """
    return (resized(logits * _LOG2_E, sizes, output) - best.logit).exp2_().mul_(best.share)


def _fits_tiles(logits: Tensor) -> bool:
    """Returns whether [1,N,h,w] are many labels on a CPU, and no powers of two of their differences are too small."""
    if logits.device.type != "cpu" or logits.shape[1] < _MANY:
        return False
    return float((logits.amax(1) - logits.amin(1)).max()) * _LOG2_E < _RANGE  # False for NaN, too


def _best_by_tiles(logits: Tensor, sizes: Geometry, output: Size) -> Best:
    """Finds the best label at each pixel, as `best_labels` does, for logits that `_fits_tiles` accepts.

    Interpolation mixes the cells around a pixel with weights that are at least 0 and add up to 1. So a label cannot win
    in a tile if its highest logit in the cells there is below the lowest logit of another label. Where few labels are
    left, only these are compared with each other. The softmax still adds up all of them, each one enlarged.

    From all labels of a cell, the highest logit there is subtracted first. Interpolation keeps such a difference, and
    powers of two then stay in range without a subtraction at each pixel. Which labels may win is decided before that:
    the highest logit changes from cell to cell, and with it the differences.
    """
    planes = logits[0].float()
    count, height, width = planes.shape
    highest = planes.amax(0)
    across = interpolation(width, sizes.padded[1], sizes.resized[1], output[1], _COLUMNS)
    bands = interpolation(height, sizes.padded[0], sizes.resized[0], output[0], _BAND)
    room = max(8, _TILE * torch.get_num_threads() // (count * _COLUMNS * _SIDE_BY_SIDE))
    rows = min(_BAND, 1 << (room.bit_length() - 1))  # divides a band
    strips = interpolation(height, sizes.padded[0], sizes.resized[0], output[0], rows)
    windows, weights = _windows(across), [block.weights.T * _LOG2_E for block in across]
    index = torch.empty(output, dtype=torch.uint8 if count <= 256 else torch.int32)
    best, total = torch.empty(output), torch.empty(output)
    from_end = torch.arange(count - 1, -1, -1)[:, None]
    # Memory that is new to the process costs more than what is computed in it, so all tiles use the same.
    most = max(band.weights.shape[1] for band in bands)
    cells_memory = torch.empty((most, count, width))
    wide_memory = torch.empty(most * count * _COLUMNS * _SIDE_BY_SIDE)
    memory = torch.empty((2, rows * count * _COLUMNS * _SIDE_BY_SIDE))
    for band in bands:
        depth = band.weights.shape[1]
        own = slice(band.first, band.first + depth)
        cells = torch.sub(planes[:, own].transpose(0, 1), highest[own, None], out=cells_memory[:depth])
        inside = [strip for strip in strips if band.start <= strip.start < band.stop]
        may_win = [_may_win(_rows(planes.transpose(0, 1)[own], strip, band), windows) for strip in inside]
        for first in range(0, len(across), _SIDE_BY_SIDE):
            tile = slice(first, first + _SIDE_BY_SIDE)
            left, right = across[tile][0].start, across[tile][-1].stop
            wide = wide_memory[: depth * count * (right - left)].view(depth * count, -1)
            for block, weight in zip(across[tile], weights[tile], strict=True):
                part = cells.view(depth * count, width)[:, block.first : block.first + len(weight)]
                torch.mm(part, weight, out=wide[:, block.start - left : block.stop - left])
            for strip, contenders in zip(inside, may_win, strict=True):
                shape = (strip.stop - strip.start, count, right - left)
                used = _rows(wide.view(depth, -1), strip, band)
                x = torch.mm(strip.weights, used, out=memory[0, : shape[0] * count * shape[2]].view(shape[0], -1))
                x = x.view(shape)
                few, places = x, from_end
                chosen = contenders[tile].any(0).nonzero()[:, 0]
                if len(chosen) * _FEW <= count:
                    few, places = x.index_select(1, chosen), from_end.index_select(0, chosen)
                where = (slice(strip.start, strip.stop), slice(left, right))
                top = few.amax(1, keepdim=True)
                # The first label that is nowhere below the top, as in `_best_by_strips`.
                below = torch.sub(few, top, out=memory[1, : few.numel()].view(few.shape))
                place = torch.add(places, below, alpha=1e30, out=below).amax(1)
                best[where], index[where] = top[:, 0], count - 1 - place
                total[where] = x.exp2_().sum(1)
    share = best.exp2().div_(total).clamp_(max=1)
    return Best(index, best.add_(resized(highest[None, None] * _LOG2_E, sizes, output)[0]), share)


def _rows(values: Tensor, strip: Block, band: Block) -> Tensor:
    """Returns those of the rows of cells of a band, [n,...], that a strip in it needs."""
    return values[strip.first - band.first : strip.first - band.first + strip.weights.shape[1]]


def _windows(across: list[Block]) -> Tensor:
    """Returns [blocks,n] columns of cells that each block needs; where it needs fewer, it has its last one again."""
    most = max(block.weights.shape[1] for block in across)
    return torch.stack([block.first + torch.arange(most).clamp(max=block.weights.shape[1] - 1) for block in across])


def _may_win(cells: Tensor, windows: Tensor) -> Tensor:
    """Returns [blocks,N] for the cells [n,N,w] of a strip: whether a label may win somewhere in a block of columns."""
    # PyTorch's own networks give the labels of a cell next to each other, and then this order is several times as fast.
    by_label, shape = cells.transpose(1, 2), (*windows.shape, -1)
    highest = by_label.amax(0).index_select(0, windows.flatten()).view(shape).amax(1)
    lowest = by_label.amin(0).index_select(0, windows.flatten()).view(shape).amin(1)
    return highest >= lowest.amax(1, keepdim=True)
