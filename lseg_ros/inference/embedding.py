"""What the network makes of an image."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.preprocess import Geometry


@dataclass(frozen=True)
class ImageEmbedding:
    """An image as the network sees it: score it under any labels, at any time.

    coordinates: [1,R,h,w] unit vectors, in `basis`: [D,R]; see `lseg_ros.model.fused_encoder_decoder`.
    times: gives `stage_ms`.
    """

    coordinates: Tensor
    basis: Tensor
    sizes: Geometry
    times: Callable[[], dict[str, float]] = dict

    @property
    def stage_ms(self) -> dict[str, float]:
        """How long each stage took, in milliseconds; waits for a GPU to be done with them."""
        return self.times()

    @property
    def embedding(self) -> Tensor:
        """[1,D,h,w] unit vectors in the space of the text."""
        return functional.conv2d(self.coordinates, self.basis[:, :, None, None])
