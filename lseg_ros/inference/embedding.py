"""The network's result for an image."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.preprocess import Geometry


@dataclass(frozen=True)
class ImageEmbedding:
    """The network's result for an image. It can be scored under any labels at any time.

    Attributes:
        coordinates: [1,R,h,w] unit vectors, or means of such, of a length up to 1. They are in `basis`; see
            `lseg_ros.model.fused_encoder_decoder`.
        basis: [D,R], leads from coordinates to the space of the text.
        sizes: The sizes of the image.
        times: Returns `stage_ms`.
    """

    coordinates: Tensor
    basis: Tensor
    sizes: Geometry
    times: Callable[[], dict[str, float]] = dict

    @property
    def stage_ms(self) -> dict[str, float]:
        """The time of each stage in milliseconds. Reading it waits until a GPU has finished them."""
        return self.times()

    @property
    def embedding(self) -> Tensor:
        """[1,D,h,w] unit vectors in the space of the text."""
        return functional.conv2d(self.coordinates, self.basis[:, :, None, None])
