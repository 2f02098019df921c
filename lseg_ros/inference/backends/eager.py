"""PyTorch, the backend that the others are compared with."""

from collections.abc import Callable

from torch import Tensor

from lseg_ros.inference.backends.base import Request, allow
from lseg_ros.inference.numerics import numerics_on_gpu
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.net import TORCH_TYPES


class EagerBackend:
    """Runs the network itself.

    On a CPU, half precision applies to the image encoder alone; see `LSegNet.encode_image`. On a GPU it applies to the
    decoder too; see `lseg_ros.inference.numerics`. There the caller decides whether float32 may be TF32.
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
        """As `Backend`, for any number of images at once."""
        return self._run(images)
