"""ONNX Runtime on the CPU, on CUDA, and with TensorRT.

The last two were never run: no GPU was at hand.
"""

from typing import Any

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import BackendError, PerShape, Request, Shape, allow, library
from lseg_ros.inference.backends.onnx_files import onnx_of

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"


class OnnxRuntimeBackend:
    """The encoder in a session of ONNX Runtime for each image size, on the device of the request."""

    def __init__(self, request: Request, *, tensorrt: bool = False) -> None:
        """
        Args:
            request: what to run, where.
            tensorrt: build TensorRT's engines, which takes minutes for each image size; they are kept beside the ONNX.

        Raises:
            BackendError: ONNX Runtime or its provider is not there, or does not do this.
        """
        self._device = request.device
        what = "tensorrt" if tensorrt else "onnxruntime"
        if tensorrt and self._device.type != "cuda":
            raise BackendError(f"tensorrt needs a GPU, and the device is {self._device}; use openvino or onnxruntime")
        allow(what, request.precision, ("float32", "float16", "int8") if tensorrt else ("float32", "int8"))
        self._library = library("onnxruntime", "onnx")
        self.name = f"{what} {request.precision}"
        self._path = onnx_of(request)
        self._providers = self._choose(tensorrt, request.precision)
        self._sessions = PerShape(self._session)

    recordable = False  # the library works on a stream of its own

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
        torch.cuda.current_stream(self._device).synchronize()  # ONNX Runtime works on a stream of its own
        session.run_with_iobinding(binding)
        return result

    def _choose(self, tensorrt: bool, precision: str) -> list[Any]:
        """Providers in the order of preference; raises BackendError where the first is not there."""
        if self._device.type == "cpu":
            return [_CPU]
        here = self._library.get_available_providers()
        wanted = _TENSORRT if tensorrt else _CUDA
        if wanted not in here:
            raise BackendError(
                f"this ONNX Runtime has no {wanted} (it has {', '.join(here)}); install onnxruntime-gpu instead of "
                "onnxruntime" + (", and TensorRT" if tensorrt else "")
            )
        number = {"device_id": self._device.index or 0}
        if not tensorrt:
            return [(_CUDA, number), _CPU]
        engines = self._path.with_suffix(".tensorrt")
        engines.mkdir(exist_ok=True)
        options = {
            **number,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(engines),
            "trt_fp16_enable": precision == "float16",
            "trt_int8_enable": precision == "int8",
        }
        return [(_TENSORRT, options), (_CUDA, number), _CPU]

    def _session(self, shape: Shape) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; its warnings are about nodes that it removes
        # Threads that wait busily would take the cores from whatever comes between two images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_free_dimension_override_by_name("height", shape[2])
        options.add_free_dimension_override_by_name("width", shape[3])
        session = self._library.InferenceSession(str(self._path), options, providers=self._providers)
        wanted = self._providers[0] if isinstance(self._providers[0], str) else self._providers[0][0]
        if session.get_providers()[0] != wanted:  # it would go on with the next one without a word
            raise BackendError(f"ONNX Runtime could not start {wanted} and fell back to {session.get_providers()[0]}")
        return session
