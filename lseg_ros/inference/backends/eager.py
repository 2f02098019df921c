"""PyTorch: the path to which the others are held."""

from collections.abc import Callable

from torch import Tensor

from lseg_ros.inference.backends.base import Request, allow
from lseg_ros.inference.numerics import numerics_on_gpu
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.net import TORCH_TYPES


class EagerBackend:
    """The network itself.

    On a CPU half precision is of the encoder alone, see `LSegNet.encode_image`. On a GPU it is of the decoder too, see
    `lseg_ros.inference.numerics`; whoever calls says there whether float32 may be TF32.
    """

    def __init__(self, request: Request) -> None:
        self.name = f"torch {request.precision}"
        self.recordable = request.device.type == "cuda"
        self._run: Callable[[Tensor], Tensor]
        if self.recordable:
            numerics = numerics_on_gpu(request.precision)
            self._run = DeployedEncoderDecoder(request.encoder, numerics.encoder, numerics.decoder)
        else:
            allow("torch", request.precision, tuple(TORCH_TYPES))
            encoder, dtype = request.encoder, TORCH_TYPES[request.precision]
            self._run = lambda images: encoder(images, dtype)

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`; several images at once are welcome."""
        return self._run(images)
