"""Turns a camera image into the network's input."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lseg_ros.model.variants import Variant

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Geometry:
    """The sizes of one image, as (height, width).

    Attributes:
        image: The image as it came.
        resized: The image as the network sees it, with the same aspect ratio.
        padded: `resized` with padding on the right and at the bottom, in multiples of a step.
    """

    image: Size
    resized: Size
    padded: Size


def geometry(image: Size, input_size: int, step: int) -> Geometry:
    """Computes the sizes of an image for the network.

    Args:
        image: Height and width of the image in pixels.
        input_size: Longest side of the resized image in pixels.
        step: Number of pixels of which the padded sides are multiples.
    """
    scale = input_size / max(image)
    height, width = (max(1, round(n * scale)) for n in image)
    padded = (-(-height // step) * step, -(-width // step) * step)
    return Geometry(image, (height, width), padded)


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """Checks that an image is a non-empty [H,W,3] uint8 array.

    Raises:
        ValueError: It is not.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(
            f"the image has shape {rgb.shape} and type {rgb.dtype}; it must be height x width x 3, uint8, RGB"
        )


@lru_cache(16)
def _scaling(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the factor for bytes and the summand after it, each [3,1,1]. The summand is also the value of black."""
    with torch.inference_mode(False):
        means, stds = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        return (1 / (255 * stds)).to(device), (-means / stds).to(device)


def empty_input(sizes: Geometry, variant: Variant, device: torch.device) -> Tensor:
    """Allocates the network's input: black in the padding, uninitialized elsewhere.

    Args:
        sizes: The sizes of the image.
        variant: Gives the mean and std of the normalization.
        device: The network's device.

    Returns:
        [1,3,*sizes.padded] float32, channels last.
    """
    _, black = _scaling(variant.mean, variant.std, device)
    images = torch.empty((1, 3, *sizes.padded), device=device, memory_format=torch.channels_last)
    height, width = sizes.resized
    images[..., height:, :] = black
    images[..., :height, width:] = black
    return images


def fill_input(images: Tensor, rgb: Tensor, sizes: Geometry, variant: Variant) -> None:
    """Writes an image into the result of `empty_input`.

    Args:
        images: [1,3,*sizes.padded] on the device of `rgb`.
        rgb: [H,W,3] uint8.
        sizes: The sizes of the image.
        variant: Gives the mean and std of the normalization.
    """
    x = rgb.permute(2, 0, 1)[None].float()
    if sizes.resized != sizes.image:
        x = functional.interpolate(x, size=sizes.resized, mode="bilinear", align_corners=False)
    height, width = sizes.resized
    scale, black = _scaling(variant.mean, variant.std, images.device)
    torch.addcmul(black, x, scale, out=images[..., :height, :width])  # (x / 255 - mean) / std


def to_input(rgb: NDArray[np.uint8], sizes: Geometry, variant: Variant, device: torch.device) -> Tensor:
    """Turns an image into the network's input. The bytes become floats on the device.

    Args:
        rgb: [H,W,3] uint8 RGB.
        sizes: The sizes of the image.
        variant: Gives the mean and std of the normalization.
        device: The network's device.

    Returns:
        [1,3,*sizes.padded] float32. The padding is black, -mean/std.
    """
    images = empty_input(sizes, variant, device)
    # A message's buffer may be read-only, which torch does not support. Then the array is copied.
    x = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device)
    fill_input(images, x, sizes, variant)
    return images
