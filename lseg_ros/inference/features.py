"""Vectors of an image's pixels, for programs that fuse them into maps, point clouds or Gaussians and query them later.

Three of them are in use: a `FeatureMap` is a grid of vectors over an image; `features_at` reads single pixels from it;
`enlarged` makes one vector for each pixel of an image of some size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lseg_ros.inference.multiscale import multiscale
from lseg_ros.inference.numerics import float32_products
from lseg_ros.inference.preprocess import Geometry, Size, check_rgb, geometry, to_input
from lseg_ros.inference.upsampling import resized
from lseg_ros.model.net import TORCH_TYPES, LSegNet

if TYPE_CHECKING:
    from lseg_ros.inference.embedding import ImageEmbedding

_CHANNELS = 64  # enlarged at once, so that memory holds few of them as float32


@dataclass(frozen=True)
class FeatureMap:
    """A grid of vectors over an image, without the network's padding.

    coordinates: [R,h,w] float32, in `basis`: [D,R]. The vector in the space of the text is basis @ coordinates.
    image: height and width of the image in pixels.
    scale, offset: a pixel's place on the grid, cell = pixel * scale + offset, for rows and then for columns. Pixel and
        cell 0 are the centers of the first ones. Between cells, vectors are interpolated linearly.
    """

    coordinates: Tensor
    basis: Tensor
    image: Size
    scale: tuple[float, float]
    offset: tuple[float, float]

    def vectors(self) -> Tensor:
        """[D,h,w] float32, in the space of the text."""
        return torch.tensordot(self.basis, self.coordinates, 1)

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        """Coordinates at some pixels.

        Args:
            points: [N,2] of (u, v), column and row in pixels of the image; fractions are between pixels.

        Returns:
            [N,R] float32.

        Raises:
            ValueError: not such an array, or a point is outside of the image.
        """
        places = checked_points(points, self.image)
        cells = places[:, ::-1] * self.scale + self.offset  # rows first
        limits = np.array(self.coordinates.shape[1:]) - 1
        cells = np.clip(cells, 0, limits)
        low = np.minimum(cells.astype(np.int64), np.maximum(limits - 1, 0))
        high = np.minimum(low + 1, limits)
        part = torch.from_numpy((cells - low).astype(np.float32)).to(self.coordinates.device)
        (top, left), (bottom, right) = low.T, high.T
        down, across = part.T
        upper = torch.lerp(self.coordinates[:, top, left], self.coordinates[:, top, right], across)
        lower = torch.lerp(self.coordinates[:, bottom, left], self.coordinates[:, bottom, right], across)
        return torch.lerp(upper, lower, down).T.cpu().numpy()


def checked_points(points: ArrayLike, image: Size) -> NDArray[np.float64]:
    """Points as [N,2] float64; raises ValueError where they are not (u, v) inside of an image of that size."""
    places = np.asarray(points)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise ValueError(
            f"the points have shape {places.shape} and type {places.dtype}; they must be numbers, N x 2, each a column "
            "and a row in pixels"
        )
    places = places.astype(np.float64)
    inside = ((places >= 0) & (places <= np.array(image[::-1]) - 1)).all(1)  # false for NaN, too
    if not inside.all():
        first = int(np.argmin(inside))
        u, v = places[first]
        raise ValueError(
            f"point {first} is ({u:g}, {v:g}), outside of the image, which has {image[1]} columns and {image[0]} rows"
        )
    return places


def feature_map(image: "ImageEmbedding") -> FeatureMap:
    """The grid of an embedding; padding is left out."""
    cells = image.coordinates.shape[2:]
    sizes, kept, scale, offset = image.sizes, [], [], []
    for side in (0, 1):
        # Pixels and resized pixels have their borders in common; padded pixels and cells the centers of their corners.
        to_resized = sizes.resized[side] / sizes.image[side]
        to_cells = (cells[side] - 1) / (sizes.padded[side] - 1)
        scale.append(to_resized * to_cells)
        offset.append((0.5 * to_resized - 0.5) * to_cells)
        last = (sizes.image[side] - 1) * scale[side] + offset[side]
        kept.append(min(cells[side], int(np.ceil(last - 1e-6)) + 1))
    coordinates = image.coordinates[0, :, : kept[0], : kept[1]].float()
    return FeatureMap(coordinates, image.basis, sizes.image, (scale[0], scale[1]), (offset[0], offset[1]))


def enlarged(values: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """[1,C,h,w] on the network's grid -> [C,*output] float16 on the CPU, interpolated as logits are."""
    found = torch.empty((values.shape[1], *output), dtype=torch.float16)
    for start in range(0, values.shape[1], _CHANNELS):
        part = values[:, start : start + _CHANNELS]
        found[start : start + _CHANNELS] = resized(part, sizes, output)
    return found


def unnormalized(
    net: LSegNet, rgb: NDArray[np.uint8], input_size: int, precision: str, *, over_sizes: bool = False
) -> tuple[Tensor, Geometry]:
    """Pixels' vectors before they are made unit vectors; PyTorch runs the network.

    Args:
        net: in eval mode, on its device.
        rgb: HxWx3 uint8.
        input_size: longest side in pixels that the network sees.
        precision: of the image encoder.
        over_sizes: the mean over the sizes, mirrors and windows of the original's evaluation, as
            `Segmenter.embed_multiscale`, in place of one pass.

    Returns:
        [1,D,h,w] float32 and the sizes that go with it.

    Raises:
        ValueError: `rgb` is not such an array.
    """
    check_rgb(rgb)
    kind = TORCH_TYPES.get(precision, torch.float32)
    with torch.inference_mode(), float32_products(net.device, tf32=precision == "tf32"):
        if over_sizes:
            return multiscale(lambda window: net.pixel_vectors(window, kind), rgb, net.variant, net.device, coarse=True)
        sizes = geometry((rgb.shape[0], rgb.shape[1]), input_size)
        return net.pixel_vectors(to_input(rgb, sizes, net.variant, net.device), kind).float(), sizes
