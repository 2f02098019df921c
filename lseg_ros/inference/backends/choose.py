"""Making a backend, and finding the fastest one."""

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.files import replacing
from lseg_ros.inference.backends.base import BACKENDS, PRECISIONS, Backend, BackendError, Request, first_line
from lseg_ros.inference.backends.cache import cache_folder, stored
from lseg_ros.inference.backends.eager import EagerBackend
from lseg_ros.inference.backends.onnx_files import (
    forget_onnx,
    onnx_of,
    precision_of,
    size_of,
    weights_key,
)
from lseg_ros.inference.numerics import AUTO_ON_GPU, float32_products

logger = logging.getLogger(__name__)

_MEASURE = 0.6  # seconds that a candidate is measured for, at least one run
_RUNS = 9  # and at most so many
_TOLERANCE = 1e-3  # of coordinates in float32, which are at most 1
_LEAST_COSINE = {
    "tf32": 0.98,
    "float16": 0.98,
    "bfloat16": 0.95,
    "int8": 0.8,
}  # mean over pixels; other weights give about 0
_CHECK_SIZE = (64, 96)


def backend_for(name: str, request: Request) -> Backend:
    """A backend by name; "auto" is measured with the first image.

    Raises:
        BackendError: it is not installed, does not do this, or gives other numbers than PyTorch.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is not known; use {', '.join(BACKENDS)}")
    if name == "auto" and candidates(request) != ["torch"]:
        return FastestBackend(request)
    return _checked("torch" if name == "auto" else name, request)


def precision_for(name: str, backend: str, device: torch.device, exported: Path | None) -> str:
    """The precision that "auto" stands for, or the one that was named.

    Raises:
        BackendError: it is not known, or the exported file is of another one.
    """
    if name not in PRECISIONS:
        raise BackendError(f"precision {name!r} is not known; use {', '.join(PRECISIONS)}")
    held = "float32" if exported is None or not exported.is_file() else precision_of(exported)
    if name == "auto":
        if held != "float32":
            return held
        # A float32 file stays what it is but for TensorRT, which builds an engine from it.
        as_written = backend == "onnxruntime" or (backend == "auto" and exported is not None)
        return AUTO_ON_GPU if device.type == "cuda" and not as_written else "float32"
    # What runs a float32 file may compute in another type, but for int8.
    if exported is not None and name != held and "int8" in (held, name) or held == "float16" != name:
        raise BackendError(
            f"{exported} holds {held}, and precision {name} was asked for; leave out the precision, or export the file "
            "again"
        )
    return name


class FastestBackend:
    """Whichever of the installed backends is fastest on this machine with the first image it gets.

    What was measured is remembered in the user's cache; `lseg_ros.inference.backends.cache`.
    """

    def __init__(self, request: Request) -> None:
        """Raises BackendError where the exported file is not there."""
        if request.exported is not None:
            onnx_of(request)
        self._request = request
        self._chosen: Backend | None = None
        self._measuring = False  # written by the thread that runs it, read by any
        self._failed: BackendError | None = None

    @property
    def name(self) -> str:
        """The backend's that was chosen."""
        if self._chosen is not None:
            return self._chosen.name
        return "auto, being measured" if self._measuring else "auto, not measured yet"

    @property
    def recordable(self) -> bool:
        """As `Backend`; measuring cannot be recorded."""
        return False

    def __call__(self, images: Tensor) -> Tensor:
        """As `Backend`; the first call takes some seconds where nothing is remembered."""
        if self._failed is not None:  # not again for each image
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
    """The installed backends that may do what is asked for, PyTorch last. TensorRT takes minutes: not unasked.

    On a GPU it is PyTorch, whose CUDA graph no other backend has; or what runs an exported file.
    """
    if request.device.type == "cuda" and request.exported is None:
        return ["torch"]
    names = []
    if request.device.type == "cpu" and find_spec("openvino"):
        names.append("openvino")
    float16 = request.precision == "float16" and request.exported is not None
    if (request.precision in ("float32", "int8") or float16) and find_spec("onnxruntime"):
        names.append("onnxruntime")
    if request.exported is None:  # else the file is what was asked for
        names.append("torch")
    return names


def _new(name: str, request: Request) -> Backend:
    """The backend; each library is imported here at the earliest."""
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
    """The backend, seen to give PyTorch's numbers on a small picture; raises BackendError."""
    for again in (True, False):
        try:
            backend = _new(name, request)
            if name not in ("torch", "tensorrt"):  # whose engines would take minutes for a picture of this size
                picture = _picture(request)
                _compare(backend(picture), _exact(request, picture), request)
            return backend
        except (BackendError, ImportError):
            raise
        except Exception as error:  # of a library, in whatever way
            if again and name != "torch" and forget_onnx(request):
                logger.warning("%s could not use what was stored for it (%s); making it anew", name, first_line(error))
                continue
            what = name if request.exported is None else f"{name} with {request.exported}"
            raise BackendError(f"{what} does not run: {first_line(error)}") from error
    raise AssertionError


def _exact(request: Request, images: Tensor) -> Tensor:
    """What the network itself gives in float32."""
    with float32_products(request.device, tf32=False):
        coordinates: Tensor = request.encoder(images)
        return coordinates


def _picture(request: Request) -> Tensor:
    """[1,3,64,96], or of the size that an exported file takes, with slopes, an edge and a spot, from -1 to 1."""
    exported = request.exported
    size = None if exported is None or not exported.is_file() else size_of(exported)
    height, width = size or _CHECK_SIZE
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y * x.abs(), ((x * x + y * y) < 0.3).float()])[None].to(request.device)


class _DifferError(RuntimeError):
    """Numbers that are not PyTorch's."""


def _compare(found: Tensor, plain: Tensor, request: Request) -> None:
    """Raises _DifferError where coordinates are not those of the network."""
    if found.shape != plain.shape:
        raise _DifferError(f"it gives {tuple(found.shape)} where PyTorch gives {tuple(plain.shape)}")
    if request.precision == "float32":
        worst = (found - plain).abs().max().item()
        if not worst <= _TOLERANCE:
            raise _DifferError(f"its numbers are up to {worst:.2g} from PyTorch's; is the file of other weights?")
    else:
        cosine = functional.cosine_similarity(found, plain, dim=1).mean().item()
        if not cosine >= _LEAST_COSINE[request.precision]:
            raise _DifferError(
                f"its vectors have a cosine of {cosine:.2f} with PyTorch's; is the file of other weights?"
            )


def _fastest(request: Request, images: Tensor) -> Backend:
    """Measures all candidates, says so, and remembers; raises BackendError where none runs."""
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
        except Exception as error:  # of a library, in whatever way: there are others
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
    """Seconds of a run, the median of a few."""
    wait: Callable[[], object] = torch.cuda.synchronize if images.device.type == "cuda" else lambda: None
    taken: list[float] = []
    while len(taken) < 1 or (sum(taken) < _MEASURE and len(taken) < _RUNS):
        wait()
        start = time.perf_counter()
        backend(images)
        wait()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


def _remembered(request: Request, images: Tensor) -> Backend | None:
    """What was fastest before, or None where nothing is known or it does not run any more."""
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
    """The file of the verdict for this network, image size, machine and these libraries."""
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
    except PackageNotFoundError:  # such as onnxruntime-gpu, which has another name than its module
        return ""
