"""What all backends have in common.

Shapes: H x W pixels that the network sees, R coordinates of a pixel, h x w decoder resolution.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder

BACKENDS = ("auto", "torch", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("auto", "float32", "tf32", "float16", "bfloat16", "int8")
_SHAPES = 3  # image sizes for which what was compiled is kept

Shape = tuple[int, ...]
Compiled = TypeVar("Compiled")


class BackendError(ValueError):
    """A backend that cannot be used; the message says why and what would help."""


class Backend(Protocol):
    """Stands in for `FusedEncoderDecoder.forward`."""

    @property
    def name(self) -> str:
        """For people, as in "openvino float32"."""

    @property
    def recordable(self) -> bool:
        """Whether a call can become part of a CUDA graph."""

    def __call__(self, images: Tensor) -> Tensor:
        """[1,3,H,W] float32 normalised -> [1,R,h,w] float32 unit vectors, in the basis of the image encoder."""


@dataclass(frozen=True)
class Request:
    """What a backend is made for.

    encoder: in eval mode, on `device`. precision: one of `PRECISIONS` but auto. exported: a file of `lseg export`
    to be run; None: one is made of the encoder, and kept in the user's cache.
    """

    encoder: FusedEncoderDecoder
    device: torch.device
    precision: str = "float32"
    exported: Path | None = None


class PerShape(Generic[Compiled]):
    """What is compiled for one input shape each: the last few are kept."""

    def __init__(self, compile_for: Callable[[Shape], Compiled]) -> None:
        self._compile_for = compile_for
        self._kept: OrderedDict[Shape, Compiled] = OrderedDict()

    def __call__(self, shape: Shape) -> Compiled:
        """What was compiled for this shape, now or before."""
        if shape not in self._kept:
            while len(self._kept) >= _SHAPES:
                self._kept.popitem(last=False)
            self._kept[shape] = self._compile_for(shape)
        self._kept.move_to_end(shape)
        return self._kept[shape]


def library(name: str, extra: str) -> Any:
    """A module of a library that not every installation has, with the library's telemetry off.

    Args:
        name: Of the module.
        extra: Which of this package's extras installs the library.

    Raises:
        BackendError: It does not import; says how to get it.
    """
    top = name.partition(".")[0]
    try:
        with _without_openvino_telemetry():
            module = import_module(name)
            if top == "onnxruntime":  # on Linux its variable in lseg_ros.environment has stopped it already
                import_module(top).disable_telemetry_events()
            return module
    except ImportError as error:
        raise BackendError(f"{top} does not import ({error}); install it: pip install 'lseg_ros[{extra}]'") from error


@contextmanager
def _without_openvino_telemetry() -> Iterator[None]:
    """Hides the package with which OpenVINO reports each of its imports to Intel, by way of Google.

    Only a file in the user's home folder would turn that off. Where the package is missing, OpenVINO has a stub.
    """
    hidden = "openvino_telemetry"
    if hidden in sys.modules:  # the program has loaded OpenVINO before
        yield
        return
    sys.modules[hidden] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        yield
    finally:
        del sys.modules[hidden]


def allow(backend: str, precision: str, known: tuple[str, ...]) -> None:
    """Raises BackendError where a backend does not run in a precision."""
    if precision not in known:
        raise BackendError(f"{backend} runs in {', '.join(known)} here, not in {precision}; choose another of the two")


def first_line(error: Exception) -> str:
    """What went wrong in a library, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200] if lines else 'no reason given'}"
