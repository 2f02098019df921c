"""From a camera image to what the network reads."""

from dataclasses import dataclass

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


def to_input(rgb: NDArray[np.uint8], sizes: Geometry, variant: Variant, device: torch.device) -> Tensor:
    """HxWx3 uint8 RGB -> [1,3,*sizes.padded] float32 on `device`; the padding is black, -mean/std.

    Bytes travel to the device and become floats there.
    """
    # A message's buffer may be read-only, which torch does not know; that costs a copy.
    x = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device)
    x = x.permute(2, 0, 1)[None].float()
    if sizes.resized != sizes.image:
        x = functional.interpolate(x, size=sizes.resized, mode="bilinear", align_corners=False)
    height, width = sizes.resized
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (variant.mean, variant.std))
    images = torch.empty((1, 3, *sizes.padded), device=device, memory_format=torch.channels_last)
    images[..., height:, :] = -mean / std
    images[..., :height, width:] = -mean / std
    torch.addcmul(-mean / std, x, 1 / (255 * std), out=images[..., :height, :width])  # (x / 255 - mean) / std
    return images
