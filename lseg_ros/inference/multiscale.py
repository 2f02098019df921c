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
CROP = 480  # side of the square windows; somewhat less where the network's `size_step` asks for it

Score = Callable[[Tensor], Tensor]


def multiscale(
    score: Score, rgb: NDArray[np.uint8], variant: Variant, device: torch.device, *, coarse: bool = False
) -> tuple[Tensor, Geometry]:
    """Runs a network on an image in all passes and returns the mean.

    Args:
        score: Maps normalized [1,3,crop,crop] to [1,N,h,w], of any resolution.
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
    crop = CROP // variant.size_step * variant.size_step
    output = size
    if coarse:
        cells = max(score(torch.zeros(1, 3, crop, crop, device=device)).shape[2:])
        output = _scaled(size, ceil(BASE * cells / crop))

    def enlarged(window: Tensor) -> Tensor:
        return upsample(score(window).float(), (window.shape[2], window.shape[3]))

    image = to_input(rgb, whole, variant, device)
    return multiscale_logits(enlarged, image, black, size=output, crop=crop) / passes(), whole


def multiscale_logits(
    score: Score, image: Tensor, black: Tensor, *, flip: bool = True, size: Size | None = None, crop: int = CROP
) -> Tensor:
    """Computes an image's logits, summed over all passes.

    Args:
        score: Maps [1,3,crop,crop] to [1,N,crop,crop] logits.
        image: [1,3,H,W], normalized.
        black: [3], the normalized value of black, for padding.
        flip: Whether to score the mirror image of each window too.
        size: Height and width of the result; None for the image's.
        crop: Side of the windows.

    Returns:
        [1,N,*size] float32. Divided by `passes(flip)` it is comparable to a single pass.
    """
    whole = (image.shape[2], image.shape[3])
    total: Tensor | float = 0.0
    for scale in SCALES:
        resized = upsample(image, _scaled(whole, ceil(BASE * scale)))
        logits = _sliding(_with_mirror(score) if flip else score, resized, black, crop)
        total = total + upsample(logits, size or whole)
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


def _sliding(score: Score, image: Tensor, black: Tensor, crop: int) -> Tensor:
    """Maps [1,3,h,w] to [1,N,h,w], the mean of overlapping windows."""
    height, width = image.shape[2:]
    if max(height, width) <= crop:
        return score(_pad(image, black, crop))[..., :height, :width]
    image = _pad(image, black, crop)  # changes only sides that are shorter than a window
    rows, columns = image.shape[2:]
    total: Tensor | None = None
    count = image.new_zeros(1, 1, rows, columns)
    stride = crop * 2 // 3
    for top in range(0, _windows(rows, crop, stride) * stride, stride):
        for left in range(0, _windows(columns, crop, stride) * stride, stride):
            window = image[..., top : top + crop, left : left + crop]
            h, w = window.shape[2:]
            # The last window is padded instead of being moved back into the image.
            logits = score(_pad(window, black, crop))[..., :h, :w]
            if total is None:
                total = logits.new_zeros(1, logits.shape[1], rows, columns)
            total[..., top : top + h, left : left + w] += logits
            count[..., top : top + h, left : left + w] += 1
    assert total is not None
    return (total / count)[..., :height, :width]


def _windows(side: int, crop: int, stride: int) -> int:
    return ceil((side - crop) / stride) + 1


def _pad(image: Tensor, black: Tensor, crop: int) -> Tensor:
    """Pads an image to at least crop x crop, with black on the right and at the bottom."""
    height, width = image.shape[2:]
    if height >= crop and width >= crop:
        return image
    padded = black.view(1, 3, 1, 1).expand(1, 3, max(height, crop), max(width, crop)).clone()
    padded[..., :height, :width] = image
    return padded
