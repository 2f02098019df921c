"""TensorRT, through ONNX Runtime. It has never been run on a GPU."""

import logging
from pathlib import Path
from typing import Any

from lseg_ros.inference.backends.base import BackendError, Request, Shape, allow
from lseg_ros.inference.backends.engines import say_precision
from lseg_ros.inference.backends.onnx_files import kept, onnx_of, precision_of, weights_key
from lseg_ros.inference.backends.onnx_float16 import export_float16
from lseg_ros.inference.backends.onnxruntime import OnnxRuntimeBackend

logger = logging.getLogger(__name__)

_TENSORRT = "TensorrtExecutionProvider"


class TensorRtBackend(OnnxRuntimeBackend):
    """Runs the encoder in one TensorRT engine for each image size.

    An engine takes minutes to build and is kept on disk.
    """

    _also = ", and TensorRT"

    def __init__(self, request: Request) -> None:
        """As `OnnxRuntimeBackend`."""
        if request.device.type != "cuda":
            raise BackendError(f"tensorrt needs a GPU, and the device is {request.device}; use openvino or onnxruntime")
        # On GPUs with TF32, TensorRT computes float32 as TF32, and ONNX Runtime has no switch for that.
        allow("tensorrt", request.precision, ("tf32", "float16", "int8"))
        self._request, self._device = request, request.device
        self._start("tensorrt")
        # In float16 there is a file for each image size, unless the exported file is in float16 already.
        exported = request.exported
        self._by_size = request.precision == "float16" and (exported is None or precision_of(exported) == "float32")
        if exported is not None or not self._by_size:
            self._path = onnx_of(request)

    @property
    def _wanted(self) -> str:
        return _TENSORRT

    def _file(self, shape: Shape) -> Path:
        if not self._by_size:
            return self._path
        height, width = shape[2:]
        name = f"{weights_key(self._request.encoder)}-float16-{height}x{width}.onnx"
        return kept(name, lambda path: export_float16(self._request.encoder, path, (height, width)))

    def _providers(self, path: Path) -> list[Any]:
        engines = path.with_suffix(".tensorrt")
        engines.mkdir(exist_ok=True)
        precision = self._request.precision
        options = {
            **self._number,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(engines),
            # TensorRT 10 needs these options. TensorRT 11 uses the types in the graph alone.
            "trt_fp16_enable": precision == "float16",
            "trt_int8_enable": precision == "int8",
        }
        return [(_TENSORRT, options), *super()._providers(path)]

    def _session(self, shape: Shape) -> Any:
        session = super()._session(shape)
        say_precision(self._file(shape).with_suffix(".tensorrt"), self._request.precision)
        return session
