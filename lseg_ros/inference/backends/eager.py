"""PyTorch as it is: the path to which the others are held."""

from torch import Tensor

from lseg_ros.inference.backends.base import Request, allow
from lseg_ros.model.net import PRECISIONS


class EagerBackend:
    """The network itself; half precision is of the encoder alone, see `LSegNet.encode_image`."""

    def __init__(self, request: Request) -> None:
        allow("torch", request.precision, tuple(PRECISIONS))
        self.name = f"torch {request.precision}"
        self._encoder, self._type = request.encoder, PRECISIONS[request.precision]

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`; several images at once are welcome."""
        coordinates: Tensor = self._encoder(images, self._type)
        return coordinates
