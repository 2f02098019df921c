"""From a camera image to what the network reads."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lseg_ros.model.net import SIZE_STEP
from lseg_ros.model.variants import Variant

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Geometry:
    """Sizes of one image on its way: as it came, resized with its aspect kept, and padded right and bottom."""

    image: Size
    resized: Size
    padded: Size


def geometry(image: Size, input_size: int) -> Geometry:
    """Sizes for an image whose longest side becomes `input_size` pixels."""
    scale = input_size / max(image)
    height, width = (max(1, round(n * scale)) for n in image)
    padded = (-(-height // SIZE_STEP) * SIZE_STEP, -(-width // SIZE_STEP) * SIZE_STEP)
    return Geometry(image, (height, width), padded)


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """Raises ValueError unless `rgb` is a non-empty HxWx3 uint8 array."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(
            f"the image has shape {rgb.shape} and type {rgb.dtype}; it must be height x width x 3, uint8, RGB"
        )


@lru_cache(16)
def _scaling(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """[3,1,1] each: what bytes are multiplied with, and what is then added. The second is the value of black, too."""
    with torch.inference_mode(False):
        means, stds = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        return (1 / (255 * stds)).to(device), (-means / stds).to(device)


def empty_input(sizes: Geometry, variant: Variant, device: torch.device) -> Tensor:
    """[1,3,*sizes.padded] float32, channels last, black where the image is padded, and to be filled elsewhere."""
    _, black = _scaling(variant.mean, variant.std, device)
    images = torch.empty((1, 3, *sizes.padded), device=device, memory_format=torch.channels_last)
    height, width = sizes.resized
    images[..., height:, :] = black
    images[..., :height, width:] = black
    return images


def fill_input(images: Tensor, rgb: Tensor, sizes: Geometry, variant: Variant) -> None:
    """Writes an image into what `empty_input` made.

    Args:
        images: [1,3,*sizes.padded] on the device of `rgb`.
        rgb: HxWx3 uint8.
        sizes: of the image.
        variant: says how it is normalised.
    """
    x = rgb.permute(2, 0, 1)[None].float()
    if sizes.resized != sizes.image:
        x = functional.interpolate(x, size=sizes.resized, mode="bilinear", align_corners=False)
    height, width = sizes.resized
    scale, black = _scaling(variant.mean, variant.std, images.device)
    torch.addcmul(black, x, scale, out=images[..., :height, :width])  # (x / 255 - mean) / std


def to_input(rgb: NDArray[np.uint8], sizes: Geometry, variant: Variant, device: torch.device) -> Tensor:
    """HxWx3 uint8 RGB -> [1,3,*sizes.padded] float32 on `device`; the padding is black, -mean/std.

    Bytes travel to the device and become floats there.
    """
    images = empty_input(sizes, variant, device)
    # A message's buffer may be read-only, which torch does not know; that costs a copy.
    x = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device)
    fill_input(images, x, sizes, variant)
    return images
