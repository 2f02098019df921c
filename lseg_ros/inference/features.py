"""Feature vectors of an image's pixels.

Programs fuse them into maps, point clouds or Gaussians, and query those later. There are three forms: a `FeatureMap` is
a grid of vectors over an image, `FeatureMap.at` reads single pixels, and `enlarged` computes a vector for each pixel.
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
from lseg_ros.inference.windows import in_windows
from lseg_ros.model.net import TORCH_TYPES, LSegNet

if TYPE_CHECKING:
    from lseg_ros.inference.embedding import ImageEmbedding

_CHANNELS = 64  # number of channels that are enlarged at once, which bounds the float32 memory


@dataclass(frozen=True)
class FeatureMap:
    """A grid of vectors over an image, without the network's padding.

    Row y and column x of the image lie at cell (y, x) * scale + offset of the grid. Pixel 0 and cell 0 mean the center
    of the first one. Between cells, vectors are interpolated linearly.

    Attributes:
        coordinates: [R,h,w] float32, in `basis`. The vector in the space of the text is basis @ coordinates.
        basis: [D,R] float32.
        image: Height and width of the image in pixels.
        scale: Cells per pixel, for rows and columns.
        offset: The cell of pixel 0, for rows and columns.
    """

    coordinates: Tensor
    basis: Tensor
    image: Size
    scale: tuple[float, float]
    offset: tuple[float, float]

    def vectors(self) -> Tensor:
        """Returns the vectors in the space of the text, [D,h,w] float32."""
        return torch.tensordot(self.basis, self.coordinates, 1)

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        """Returns the coordinates at some pixels.

        Args:
            points: [N,2] of (u, v), column and row in pixels of the image. Fractions lie between pixels.

        Returns:
            [N,R] float32.

        Raises:
            ValueError: `points` is not such an array, or a point is outside of the image.
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
    """Checks points and returns them as [N,2] float64.

    Args:
        points: [N,2] of (u, v), column and row in pixels.
        image: Height and width of the image.

    Raises:
        ValueError: `points` is not such an array, or a point is outside of the image.
    """
    places = np.asarray(points)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise ValueError(
            f"the points have shape {places.shape} and type {places.dtype}; they must be numbers, N x 2, each a column "
            "and a row in pixels"
        )
    places = places.astype(np.float64)
    inside = ((places >= 0) & (places <= np.array(image[::-1]) - 1)).all(1)  # also false for NaN
    if not inside.all():
        first = int(np.argmin(inside))
        u, v = places[first]
        raise ValueError(
            f"point {first} is ({u:g}, {v:g}), outside of the image, which has {image[1]} columns and {image[0]} rows"
        )
    return places


def feature_map(image: "ImageEmbedding") -> FeatureMap:
    """Returns the grid of an embedding, without its padding."""
    cells = image.coordinates.shape[2:]
    sizes, kept, scale, offset = image.sizes, [], [], []
    for side in (0, 1):
        # The borders of the image and the resized image coincide. The centers of the corner pixels of the padded image
        # and of the corner cells coincide.
        to_resized = sizes.resized[side] / sizes.image[side]
        to_cells = (cells[side] - 1) / (sizes.padded[side] - 1)
        scale.append(to_resized * to_cells)
        offset.append((0.5 * to_resized - 0.5) * to_cells)
        last = (sizes.image[side] - 1) * scale[side] + offset[side]
        kept.append(min(cells[side], int(np.ceil(last - 1e-6)) + 1))
    coordinates = image.coordinates[0, :, : kept[0], : kept[1]].float()
    return FeatureMap(coordinates, image.basis, sizes.image, (scale[0], scale[1]), (offset[0], offset[1]))


def enlarged(values: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """Enlarges a map to an image's size, with the interpolation that logits get.

    Args:
        values: [1,C,h,w] on the network's grid.
        sizes: The sizes of the image.
        output: Height and width of the result.

    Returns:
        [C,*output] float16 on the CPU.
    """
    result = torch.empty((values.shape[1], *output), dtype=torch.float16)
    for start in range(0, values.shape[1], _CHANNELS):
        part = values[:, start : start + _CHANNELS]
        result[start : start + _CHANNELS] = resized(part, sizes, output)
    return result


def unnormalized(
    net: LSegNet,
    rgb: NDArray[np.uint8],
    input_size: int,
    precision: str,
    *,
    window: int | None = None,
    over_sizes: bool = False,
) -> tuple[Tensor, Geometry]:
    """Computes pixel vectors before they are normalized. PyTorch runs the network.

    Args:
        net: The network in eval mode, on its device.
        rgb: [H,W,3] uint8.
        input_size: Longest side in pixels that the network sees.
        precision: Precision of the image encoder.
        window: Side in pixels of windows in which the network sees its input; None: as a whole.
        over_sizes: Whether to average over the sizes, mirror images and windows of the original's evaluation, as
            `Segmenter.embed_multiscale` does. Otherwise there is one pass.

    Returns:
        [1,D,h,w] float32, and the sizes of the image.

    Raises:
        ValueError: `rgb` is not such an array.
    """
    check_rgb(rgb)
    kind = TORCH_TYPES.get(precision, torch.float32)
    step = net.variant.size_step

    def encode(images: Tensor) -> Tensor:
        return net.pixel_vectors(images, kind).float()

    with torch.inference_mode(), float32_products(net.device, tf32=precision == "tf32"):
        if over_sizes:
            return multiscale(encode, rgb, net.variant, net.device, coarse=True)
        sizes = geometry((rgb.shape[0], rgb.shape[1]), input_size, step)
        images = to_input(rgb, sizes, net.variant, net.device)
        return (encode(images) if window is None else in_windows(encode, images, window, step)), sizes
