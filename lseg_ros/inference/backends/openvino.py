"""OpenVINO on the CPU."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lseg_ros.inference.backends.base import PerShape, Request, Shape, allow, library
from lseg_ros.inference.backends.onnx_files import onnx_of
from lseg_ros.inference.backends.openvino_graph import head_and_rest

_HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}  # f32 is said: OpenVINO takes bf16 where the CPU has it


@lru_cache(1)
def _core(openvino: Any) -> Any:
    """The one of this process, which is never freed.

    OpenVINO's CPU plugin gives the thread that starts it a stack for signal handlers of its own, and with the plugin
    goes the stack. Of two that do not go in the opposite order of their coming, the second brings back the first one's
    stack, which is freed memory by then, and the next signal is the end of the process.
    """
    return openvino.Core()


class OpenVinoBackend:
    """The encoder compiled by OpenVINO for each image size.

    bfloat16 is not for the first layers of a CNN, where most of the error would come from and little of the time goes.
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
        x = images.permute(0, 2, 3, 1).contiguous()  # as images lie in memory anyway
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
    """One compiled graph with channels last at both ends, as the network's neighbours have them."""

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
            # Other threads of a node, and other nodes, want these cores too.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(steps.build(), "CPU", options)
        self._shape = tuple(compiled.output(0).shape)
        self._request = compiled.create_infer_request()

    def __call__(self, x: Tensor) -> Tensor:
        """[1,H,W,C] -> [1,h,w,R], each in memory of its own."""
        result = torch.empty(self._shape)
        self._request.set_input_tensor(self._tensor(x.numpy(), shared_memory=True))
        self._request.set_output_tensor(self._tensor(result.numpy(), shared_memory=True))
        self._request.infer()
        return result
