"""The original's evaluation over scales, mirror images and sliding windows, which is slow and thorough.

Source: PyTorch-Encoding's MultiEvalModule as the original LSeg uses it for its published figures.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.inference.preprocess import Geometry, Size, to_input
from lseg_ros.model.decoder import upsample
from lseg_ros.model.variants import Variant

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
BASE = 520  # longest side in pixels at scale 1
CROP = 480  # side of the square windows
STRIDE = CROP * 2 // 3

Score = Callable[[Tensor], Tensor]


def multiscale(
    score: Score, rgb: NDArray[np.uint8], variant: Variant, device: torch.device, *, coarse: bool = False
) -> tuple[Tensor, Geometry]:
    """Runs a network on an image in all passes and returns the mean.

    Args:
        score: Maps normalized [1,3,CROP,CROP] to [1,N,h,w], of any resolution.
        rgb: [H,W,3] uint8.
        variant: Gives the mean and std of the normalization.
        device: The network's device.
        coarse: Whether the result has about the resolution of `score` instead of the image's.

    Returns:
        [1,N,h,w] float32, and the sizes of the image.
    """
    size = (rgb.shape[0], rgb.shape[1])
    whole = Geometry(size, size, size)
    black = torch.tensor([-m / s for m, s in zip(variant.mean, variant.std, strict=True)], device=device)
    output = size
    if coarse:
        cells = max(score(torch.zeros(1, 3, CROP, CROP, device=device)).shape[2:])
        output = _scaled(size, ceil(BASE * cells / CROP))

    def enlarged(window: Tensor) -> Tensor:
        return upsample(score(window).float(), (window.shape[2], window.shape[3]))

    return multiscale_logits(enlarged, to_input(rgb, whole, variant, device), black, size=output) / passes(), whole


def multiscale_logits(
    score: Score, image: Tensor, black: Tensor, *, flip: bool = True, size: Size | None = None
) -> Tensor:
    """Computes an image's logits, summed over all passes.

    Args:
        score: Maps [1,3,CROP,CROP] to [1,N,CROP,CROP] logits.
        image: [1,3,H,W], normalized.
        black: [3], the normalized value of black, for padding.
        flip: Whether to score the mirror image of each window too.
        size: Height and width of the result; None for the image's.

    Returns:
        [1,N,*size] float32. Divided by `passes(flip)` it is comparable to a single pass.
    """
    whole = (image.shape[2], image.shape[3])
    total: Tensor | float = 0.0
    for scale in SCALES:
        resized = upsample(image, _scaled(whole, ceil(BASE * scale)))
        total = total + upsample(_sliding(_with_mirror(score) if flip else score, resized, black), size or whole)
    assert isinstance(total, Tensor)
    return total


def passes(flip: bool = True) -> int:
    """Returns how many logits are summed at each pixel."""
    return len(SCALES) * (2 if flip else 1)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    height, width = size
    if height > width:
        return longest, max(1, int(width * longest / height + 0.5))
    return max(1, int(height * longest / width + 0.5)), longest


def _with_mirror(score: Score) -> Score:
    return lambda x: score(x) + score(x.flip(-1)).flip(-1)


def _sliding(score: Score, image: Tensor, black: Tensor) -> Tensor:
    """Maps [1,3,h,w] to [1,N,h,w], the mean of overlapping windows."""
    height, width = image.shape[2:]
    if max(height, width) <= CROP:
        return score(_pad(image, black))[..., :height, :width]
    image = _pad(image, black)  # changes only sides that are shorter than a window
    rows, columns = image.shape[2:]
    total: Tensor | None = None
    count = image.new_zeros(1, 1, rows, columns)
    for top in range(0, _windows(rows) * STRIDE, STRIDE):
        for left in range(0, _windows(columns) * STRIDE, STRIDE):
            window = image[..., top : top + CROP, left : left + CROP]
            h, w = window.shape[2:]
            # The last window is padded instead of being moved back into the image.
            logits = score(_pad(window, black))[..., :h, :w]
            if total is None:
                total = logits.new_zeros(1, logits.shape[1], rows, columns)
            total[..., top : top + h, left : left + w] += logits
            count[..., top : top + h, left : left + w] += 1
    assert total is not None
    return (total / count)[..., :height, :width]


def _windows(side: int) -> int:
    return ceil((side - CROP) / STRIDE) + 1


def _pad(image: Tensor, black: Tensor) -> Tensor:
    """Pads an image to at least CROP x CROP, with black on the right and at the bottom."""
    height, width = image.shape[2:]
    if height >= CROP and width >= CROP:
        return image
    padded = black.view(1, 3, 1, 1).expand(1, 3, max(height, CROP), max(width, CROP)).clone()
    padded[..., :height, :width] = image
    return padded
