"""The interface that all backends share.

Shapes: H x W pixels that the network sees, R coordinates per pixel, h x w decoder resolution.
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

_SHAPES = 3  # number of image sizes whose compiled encoder is kept

Shape = tuple[int, ...]
Compiled = TypeVar("Compiled")


class BackendError(ValueError):
    """A backend cannot be used. The message says why and what to do."""


class Backend(Protocol):
    """Runs the image encoder in place of `FusedEncoderDecoder.forward`."""

    @property
    def name(self) -> str:
        """A name for people, as in "openvino float32"."""

    @property
    def recordable(self) -> bool:
        """Whether a call can become part of a CUDA graph."""

    def __call__(self, images: Tensor) -> Tensor:
        """Encodes an image.

        Args:
            images: [1,3,H,W] float32, normalized with the variant's mean and std.

        Returns:
            [1,R,h,w] float32 unit vectors, in the basis of the image encoder.
        """


@dataclass(frozen=True)
class Request:
    """What a backend has to run, and how.

    Attributes:
        encoder: The image encoder in eval mode, on `device`.
        device: The device that computes.
        precision: One of `PRECISIONS`, but not "auto".
        exported: The file of `lseg export` to run. None: the backend exports the encoder itself and keeps the file in
            the user's cache.
    """

    encoder: FusedEncoderDecoder
    device: torch.device
    precision: str = "float32"
    exported: Path | None = None


class PerShape(Generic[Compiled]):
    """Compiles something for each input shape, and keeps the results for the shapes used last."""

    def __init__(self, compile_for: Callable[[Shape], Compiled]) -> None:
        self._compile_for = compile_for
        self._kept: OrderedDict[Shape, Compiled] = OrderedDict()

    def __call__(self, shape: Shape) -> Compiled:
        """Returns the result for a shape, and compiles it if it is missing."""
        if shape not in self._kept:
            while len(self._kept) >= _SHAPES:
                self._kept.popitem(last=False)
            self._kept[shape] = self._compile_for(shape)
        self._kept.move_to_end(shape)
        return self._kept[shape]


def library(name: str, extra: str) -> Any:
    """Imports a module of an optional library, and switches the library's telemetry off.

    Args:
        name: The module's name.
        extra: The extra of this package that installs the library.

    Returns:
        The module.

    Raises:
        BackendError: The module cannot be imported. The message says how to install it.
    """
    top = name.partition(".")[0]
    try:
        with _without_openvino_telemetry():
            module = import_module(name)
            if top == "onnxruntime":  # on Linux, a variable set by lseg_ros.environment has switched it off already
                import_module(top).disable_telemetry_events()
            return module
    except ImportError as error:
        raise BackendError(
            f"{top} does not import ({error}); in the folder of lseg_ros, run: pip install '.[{extra}]'"
        ) from error


@contextmanager
def _without_openvino_telemetry() -> Iterator[None]:
    """Hides the package with which OpenVINO reports each import to Intel, by way of Google.

    Otherwise only a file in the user's home folder would switch the reports off. OpenVINO works without the package.
    """
    hidden = "openvino_telemetry"
    if hidden in sys.modules:  # the program has already loaded OpenVINO
        yield
        return
    sys.modules[hidden] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        yield
    finally:
        del sys.modules[hidden]


def allow(backend: str, precision: str, known: tuple[str, ...]) -> None:
    """Checks that a backend can run in a precision.

    Args:
        backend: The backend's name, for the message.
        precision: The requested precision.
        known: The precisions that the backend can run in.

    Raises:
        BackendError: `precision` is not among `known`.
    """
    if precision not in known:
        raise BackendError(f"{backend} runs in {', '.join(known)} here, not in {precision}; choose another of the two")


def first_line(error: Exception) -> str:
    """Returns the type and the last line of a library's error, short enough for one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200] if lines else 'no reason given'}"
