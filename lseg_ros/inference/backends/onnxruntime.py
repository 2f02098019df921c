"""ONNX Runtime on the CPU and on CUDA.

The CUDA path has never been run on a GPU.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import BackendError, PerShape, Request, Shape, allow, library
from lseg_ros.inference.backends.onnx_files import onnx_of, precision_of

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"


class OnnxRuntimeBackend:
    """Runs the encoder in one session of ONNX Runtime for each image size, on the request's device."""

    recordable = False  # the library computes on a stream of its own

    def __init__(self, request: Request) -> None:
        """Checks that ONNX Runtime can run a request.

        Args:
            request: What to run.

        Raises:
            BackendError: ONNX Runtime or its provider is not installed, or cannot run the request.
        """
        self._request, self._device = request, request.device
        known = ["float32", "int8"] if self._device.type == "cpu" else ["float32", "tf32", "int8"]
        if request.exported is not None and request.exported.is_file() and precision_of(request.exported) == "float16":
            known = ["float16"]
        allow("onnxruntime", request.precision, tuple(known))
        self._start("onnxruntime")
        self._path = onnx_of(request)

    def _start(self, name: str) -> None:
        self._library = library("onnxruntime", "onnx")
        self.name = f"{name} {self._request.precision}"
        self._number = {"device_id": self._device.index or 0}
        self._sessions = PerShape(self._session)
        wanted = self._wanted
        here = self._library.get_available_providers()
        if wanted not in here:
            raise BackendError(
                f"this ONNX Runtime has no {wanted} (it has {', '.join(here)}); install onnxruntime-gpu instead of "
                f"onnxruntime{self._also}"
            )

    _also = ""  # what else has to be installed

    @property
    def _wanted(self) -> str:
        """The provider that has to run."""
        return _CPU if self._device.type == "cpu" else _CUDA

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`."""
        session = self._sessions(tuple(images.shape))
        images = images.contiguous()
        if self._device.type == "cpu":
            return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        result = torch.empty(session.get_outputs()[0].shape, device=self._device)
        binding = session.io_binding()
        for bind, name, tensor in (
            (binding.bind_input, "images", images),
            (binding.bind_output, "coordinates", result),
        ):
            bind(name, "cuda", self._device.index or 0, "float32", tuple(tensor.shape), tensor.data_ptr())
        torch.cuda.current_stream(self._device).synchronize()  # ONNX Runtime computes on a stream of its own
        session.run_with_iobinding(binding)
        return result

    def _file(self, shape: Shape) -> Path:
        """Returns the ONNX file for images of a shape."""
        return self._path

    def _providers(self, path: Path) -> list[Any]:
        """Returns the providers for a file, the preferred one first."""
        if self._device.type == "cpu":
            return [_CPU]
        # TF32 is ONNX Runtime's default on CUDA. float32 means exact here.
        return [(_CUDA, {**self._number, "use_tf32": str(int(self._request.precision == "tf32"))}), _CPU]

    def _session(self, shape: Shape) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only; its warnings are about nodes that it removes
        # Between two images, threads that wait busily would take the cores from other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_free_dimension_override_by_name("height", shape[2])
        options.add_free_dimension_override_by_name("width", shape[3])
        path = self._file(shape)
        session = self._library.InferenceSession(str(path), options, providers=self._providers(path))
        if session.get_providers()[0] != self._wanted:  # ONNX Runtime silently uses the next provider
            raise BackendError(
                f"ONNX Runtime could not start {self._wanted} and fell back to {session.get_providers()[0]}"
            )
        takes = session.get_inputs()[0].shape[2:]
        if all(isinstance(side, int) for side in takes) and tuple(takes) != tuple(shape[2:]):
            raise BackendError(
                f"{path} takes images of {takes[1]}x{takes[0]} as the network sees them, and these become "
                f"{shape[3]}x{shape[2]}; run `lseg export` again with their size"
            )
        return session
