"""PyTorch as it is: the path to which the others are held."""

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import Request, allow

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class EagerBackend:
    """The network itself; half precision is of the encoder alone, see `LSegNet.encode_image`."""

    def __init__(self, request: Request) -> None:
        allow("torch", request.precision, tuple(TYPES))
        self.name = f"torch {request.precision}"
        self._encoder, self._type = request.encoder, TYPES[request.precision]

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`; several images at once are welcome."""
        coordinates: Tensor = self._encoder(images, self._type)
        return coordinates
