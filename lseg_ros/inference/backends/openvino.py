"""OpenVINO on the CPU."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import PerShape, Request, Shape, allow, library
from lseg_ros.inference.backends.onnx_files import onnx_of
from lseg_ros.inference.backends.openvino_graph import head_and_rest

# f32 is given explicitly, because OpenVINO's default is bf16 on CPUs that have it.
_HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}


@lru_cache(1)
def _core(openvino: Any) -> Any:
    """Returns the only `Core` of this process. It is never freed.

    Each CPU plugin installs a signal stack in the thread that starts it. Freeing two plugins out of order restores a
    freed stack, and the next signal crashes the process.
    """
    return openvino.Core()


class OpenVinoBackend:
    """Runs the encoder as OpenVINO compiles it for each image size.

    In bfloat16, the first layers of a CNN stay in float32: they cause most of the error and take little of the time.
    """

    def __init__(self, request: Request) -> None:
        allow("openvino", request.precision, tuple(_HINTS))
        self.name = f"openvino {request.precision}"
        self._path = onnx_of(request)
        self._precision = request.precision
        self._core = _core(library("openvino", "openvino"))
        self._runs = PerShape(self._compile)

    recordable = False

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`."""
        x = images.permute(0, 2, 3, 1).contiguous()  # no copy: images are channels last already
        for run in self._runs(tuple(images.shape)):
            x = run(x)
        return x.permute(0, 3, 1, 2)

    def _compile(self, shape: Shape) -> list["_Run"]:
        model = self._core.read_model(str(self._path))
        model.reshape(list(shape))
        hint = _HINTS[self._precision]
        if hint == "f32":
            return [_Run(self._core, model, hint)]
        *head, rest = head_and_rest(model)
        return [*(_Run(self._core, part, "f32") for part in head), _Run(self._core, rest, hint)]


class _Run:
    """One compiled graph with channels last at both ends, as the rest of the program has them."""

    def __init__(self, core: Any, model: Any, hint: str) -> None:
        openvino = library("openvino", "openvino")
        self._tensor = openvino.Tensor
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        steps.output().tensor().set_layout(openvino.Layout("NHWC"))
        steps.output().model().set_layout(openvino.Layout("NCHW"))
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Other threads of the node, and other nodes, need these cores too.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(steps.build(), "CPU", options)
        self._shape = tuple(compiled.output(0).shape)
        self._request = compiled.create_infer_request()

    def __call__(self, x: Tensor) -> Tensor:
        """Maps [1,H,W,C] to a new tensor [1,h,w,R]."""
        result = torch.empty(self._shape)
        self._request.set_input_tensor(self._tensor(x.numpy(), shared_memory=True))
        self._request.set_output_tensor(self._tensor(result.numpy(), shared_memory=True))
        self._request.infer()
        return result
