"""Creates backends, and chooses the fastest one."""

import hashlib
import json
import logging
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.files import replacing
from lseg_ros.inference.backends.base import Backend, BackendError, Request, first_line
from lseg_ros.inference.backends.cache import cache_folder, stored
from lseg_ros.inference.backends.eager import EagerBackend
from lseg_ros.inference.backends.names import BACKENDS, PRECISIONS
from lseg_ros.inference.backends.onnx_files import (
    forget_onnx,
    onnx_of,
    precision_of,
    size_of,
    weights_key,
)
from lseg_ros.inference.cuda_graphs import wait_for
from lseg_ros.inference.numerics import AUTO_ON_GPU, float32_products

logger = logging.getLogger(__name__)

_MEASURE = 0.6  # seconds for which a candidate is measured; it runs at least once
_RUNS = 9  # most runs of a candidate
_TOLERANCE = 1e-3  # largest error of coordinates in float32; coordinates are at most 1
_LEAST_COSINE = {
    "tf32": 0.98,
    "float16": 0.98,
    "bfloat16": 0.95,
    "int8": 0.8,
}  # least mean over pixels; with other weights the mean is about 0
_CHECK_SIZE = (2, 3)  # height and width, in steps of the network


def backend_for(name: str, request: Request) -> Backend:
    """Returns a backend by name. "auto" chooses the fastest one at the first image.

    Args:
        name: One of `BACKENDS`.
        request: What to run.

    Raises:
        BackendError: The backend is not installed, cannot run the request, or computes other numbers than PyTorch.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is not known; use {', '.join(BACKENDS)}")
    if name == "auto" and candidates(request) != ["torch"]:
        return FastestBackend(request)
    return _checked("torch" if name == "auto" else name, request)


def precision_for(name: str, backend: str, device: torch.device, exported: Path | None) -> str:
    """Returns a precision by name. "auto" depends on the device and on the exported file.

    Args:
        name: One of `PRECISIONS`.
        backend: One of `BACKENDS`.
        device: The device that computes.
        exported: The file of `lseg export` to run, if there is one.

    Raises:
        BackendError: The name is unknown, or the exported file has another precision.
    """
    if name not in PRECISIONS:
        raise BackendError(f"precision {name!r} is not known; use {', '.join(PRECISIONS)}")
    held = "float32" if exported is None or not exported.is_file() else precision_of(exported)
    if name == "auto":
        if held != "float32":
            return held
        # A float32 file runs in float32. Only TensorRT builds an engine of another precision from it.
        as_written = backend == "onnxruntime" or (backend == "auto" and exported is not None)
        return AUTO_ON_GPU if device.type == "cuda" and not as_written else "float32"
    # A backend may run a float32 file in another precision, but not in int8.
    if exported is not None and name != held and "int8" in (held, name) or held == "float16" != name:
        raise BackendError(
            f"{exported} holds {held}, and precision {name} was asked for; leave out the precision, or export the file "
            "again"
        )
    return name


class FastestBackend:
    """The installed backend that is fastest on this machine with the first image.

    The result of the measurement is kept in the user's cache; see `lseg_ros.inference.backends.cache`.
    """

    def __init__(self, request: Request) -> None:
        """Prepares the choice; the first image starts it.

        Args:
            request: What to run.

        Raises:
            BackendError: The exported file does not exist or does not fit.
        """
        if request.exported is not None:
            onnx_of(request)
        self._request = request
        self._chosen: Backend | None = None
        self._measuring = False  # written by the thread that runs it, read by any
        self._failed: BackendError | None = None

    @property
    def name(self) -> str:
        """The name of the chosen backend, or "auto" and why none is chosen yet."""
        if self._chosen is not None:
            return self._chosen.name
        return "auto, being measured" if self._measuring else "auto, not measured yet"

    @property
    def recordable(self) -> bool:
        """False, because a measurement cannot be recorded."""
        return False

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`. The first call takes some seconds if no earlier measurement is stored."""
        if self._failed is not None:  # trying again for each image would take seconds each time
            raise self._failed
        if self._chosen is None:
            self._measuring = True
            try:
                self._chosen = _remembered(self._request, images) or _fastest(self._request, images)
            except BackendError as error:
                self._failed = error
                raise
            finally:
                self._measuring = False
        return self._chosen(images)


def candidates(request: Request) -> list[str]:
    """Returns the names of the installed backends that can run a request, PyTorch last.

    On a GPU this is PyTorch alone, because no other backend can use a CUDA graph; or ONNX Runtime for an exported file.
    TensorRT is never a candidate, because it takes minutes to build an engine.
    """
    if request.device.type == "cuda" and request.exported is None:
        return ["torch"]
    names = []
    if request.device.type == "cpu" and find_spec("openvino"):
        names.append("openvino")
    float16 = request.precision == "float16" and request.exported is not None
    if (request.precision in ("float32", "int8") or float16) and find_spec("onnxruntime"):
        names.append("onnxruntime")
    if request.exported is None:  # PyTorch does not run an exported file
        names.append("torch")
    return names


def _new(name: str, request: Request) -> Backend:
    """Creates a backend. The backend's library is imported here and not earlier."""
    if name == "torch":
        if request.exported is not None:
            raise BackendError(
                f"torch does not run {request.exported}; choose the backend openvino, onnxruntime or auto, or leave "
                "out the exported file"
            )
        return EagerBackend(request)
    if name == "openvino":
        if request.device.type != "cpu":
            raise BackendError(f"openvino runs on the CPU here, and the device is {request.device}; set device to cpu")
        from lseg_ros.inference.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(request)
    if name == "tensorrt":
        from lseg_ros.inference.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(request)
    from lseg_ros.inference.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(request)


def _checked(name: str, request: Request) -> Backend:
    """Creates a backend and compares its numbers with PyTorch's on a small picture; raises BackendError."""
    for again in (True, False):
        try:
            backend = _new(name, request)
            if name not in ("torch", "tensorrt"):  # TensorRT would take minutes to build an engine for this size
                picture = _picture(request)
                _compare(backend(picture), _exact(request, picture), request)
            return backend
        except (BackendError, ImportError):
            raise
        except Exception as error:  # a library may raise anything
            if again and name != "torch" and forget_onnx(request):
                logger.warning("%s could not use its stored file (%s); it is made again", name, first_line(error))
                continue
            what = name if request.exported is None else f"{name} with {request.exported}"
            raise BackendError(f"{what} does not run: {first_line(error)}") from error
    raise AssertionError


def _exact(request: Request, images: Tensor) -> Tensor:
    """Returns the coordinates that the network itself computes in float32."""
    with float32_products(request.device, tf32=False):
        coordinates: Tensor = request.encoder(images)
        return coordinates


def _picture(request: Request) -> Tensor:
    """Returns a [1,3,H,W] test picture of a few steps with slopes, an edge and a spot, from -1 to 1.

    If an exported file takes a single size, the picture has that size.
    """
    exported = request.exported
    size = None if exported is None or not exported.is_file() else size_of(exported)
    height, width = size or (steps * request.encoder.size_step for steps in _CHECK_SIZE)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y * x.abs(), ((x * x + y * y) < 0.3).float()])[None].to(request.device)


class _DifferError(RuntimeError):
    """A backend's numbers differ from PyTorch's."""


def _compare(coordinates: Tensor, plain: Tensor, request: Request) -> None:
    """Raises _DifferError if coordinates differ from the network's own (`plain`)."""
    if coordinates.shape != plain.shape:
        raise _DifferError(f"it gives {tuple(coordinates.shape)} where PyTorch gives {tuple(plain.shape)}")
    if request.precision == "float32":
        worst = (coordinates - plain).abs().max().item()
        if not worst <= _TOLERANCE:
            raise _DifferError(f"its numbers differ from PyTorch's by up to {worst:.2g}; is the file of other weights?")
    else:
        cosine = functional.cosine_similarity(coordinates, plain, dim=1).mean().item()
        if not cosine >= _LEAST_COSINE[request.precision]:
            raise _DifferError(
                f"its vectors have a cosine of {cosine:.2f} with PyTorch's; is the file of other weights?"
            )


def _fastest(request: Request, images: Tensor) -> Backend:
    """Measures all candidates, logs and stores the result; raises BackendError if none runs."""
    best: Backend | None = None
    taken: dict[str, float] = {}
    reasons: list[str] = []
    plain = _exact(request, images)
    for name in candidates(request):
        try:
            backend = _checked(name, request)
            if name != "torch":
                _compare(backend(images), plain, request)
            seconds = _measure(backend, images)
        except Exception as error:  # a library may raise anything; the other candidates may still run
            reasons.append(str(error) if isinstance(error, BackendError) else f"{name} failed: {first_line(error)}")
            logger.warning("%s; left out", reasons[-1])
            continue
        if best is None or seconds < min(taken.values()):
            best = backend
        taken[name] = seconds
    if best is None:
        advice = "; ".join(reasons) or "install openvino, or choose another precision"
        raise BackendError(f"nothing here runs {request.precision} on {request.device}: {advice}")
    order = sorted(taken, key=lambda name: taken[name])
    figures = ", ".join(f"{name} {1e3 * taken[name]:.0f} ms" for name in order)
    logger.info("backend %s, the fastest here at %dx%d: %s", best.name, images.shape[3], images.shape[2], figures)
    _remember(request, images, order[0], figures)
    return best


def _measure(backend: Backend, images: Tensor) -> float:
    """Returns the median time of a run in seconds."""
    taken: list[float] = []
    while len(taken) < 1 or (sum(taken) < _MEASURE and len(taken) < _RUNS):
        wait_for(images.device)
        start = time.perf_counter()
        backend(images)
        wait_for(images.device)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


def _remembered(request: Request, images: Tensor) -> Backend | None:
    """Returns the backend that was fastest before, or None if that is unknown or it does not run any more."""
    path = stored(_verdict_name(request, images))
    if path is None:
        return None
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        name, figures = str(verdict["backend"]), str(verdict["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if name not in candidates(request):
        return None
    try:
        backend = _checked(name, request)
    except BackendError as error:
        logger.warning("%s; measuring the others", error)
        return None
    logger.info("backend %s, the fastest when it was measured here: %s", backend.name, figures)
    return backend


def _remember(request: Request, images: Tensor, name: str, figures: str) -> None:
    verdict = _verdict_name(request, images)
    try:
        with replacing(cache_folder() / verdict) as part:
            part.write_text(json.dumps({"backend": name, "figures": figures}), encoding="utf-8")
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s); the next start measures again; set XDG_CACHE_HOME to a folder that can be "
            "written",
            error.filename or verdict,
            error.strerror,
        )


def _verdict_name(request: Request, images: Tensor) -> str:
    """Returns the name of the stored measurement for this network, image size, machine and these library versions."""
    exported = "" if request.exported is None else f"{request.exported} {request.exported.stat().st_mtime_ns}"
    facts = (
        weights_key(request.encoder),
        str(tuple(images.shape)),
        f"{request.device} {request.precision} {exported}",
        f"{platform.node()} {torch.get_num_threads()}",
        *(f"{name} {_version(name)}" for name in candidates(request)),
    )
    return f"{hashlib.sha256('|'.join(facts).encode()).hexdigest()[:24]}.json"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the package may have another name than its module, such as onnxruntime-gpu
        return ""
