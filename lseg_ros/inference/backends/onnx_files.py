"""The image encoder as an ONNX file.

Its input is `images` [1,3,height,width], its output is `coordinates` [1,R,h,w], both float32. Height and width are any
multiples of the variant's `size_step`, unless the file was exported for one size.
"""

import hashlib
import inspect
import logging
import mmap
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lseg_ros.files import remove_leftovers, replacing
from lseg_ros.inference.backends.base import BackendError, Request, first_line, library
from lseg_ros.inference.backends.cache import cache_folder, stored
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # height, width

_FORMAT = "1"  # version of the stored files, part of their names
_OPSET = 17  # every ONNX Runtime and OpenVINO for Python 3.10 or newer reads it
_ABANDONED = 86400  # seconds; a partial file that is older was left by a process that was killed
_TRACED = (8, 10)  # height and width, in steps, of the image with which the graph is recorded; it takes any size

_KEY, _TYPE, _SIZE = "lseg_weights", "lseg_precision", "lseg_size"
# Entries of a map as protobuf writes them: the key, the tag of the value, the value's length, and the value.
_ENTRY = re.compile(_KEY.encode() + rb"\x12\x18([0-9a-f]{24})")
_IN_FLOAT16 = re.compile(_TYPE.encode() + rb"\x12\x07(float16)")
_OF_SIZE = re.compile(_SIZE.encode() + rb"\x12.([0-9]+x[0-9]+)", re.DOTALL)
# Computed from weights. The last bits differ between machines.
_COMPUTED = ("basis", "head.", "encoder.reassemble.", "decoder.project.")

_keys: WeakKeyDictionary[FusedEncoderDecoder, str] = WeakKeyDictionary()  # a large network's key takes seconds


class _Images(nn.Module):
    """Runs the encoder in float32, because a graph cannot have a type among its inputs."""

    def __init__(self, encoder: FusedEncoderDecoder) -> None:
        super().__init__()
        self.image = encoder

    def forward(self, images: Tensor) -> Tensor:
        """As `FusedEncoderDecoder.forward` in float32."""
        coordinates: Tensor = self.image(images)
        return coordinates


def export_onnx(encoder: FusedEncoderDecoder, path: Path, size: Size | None = None) -> None:
    """Writes the encoder as ONNX, in float32, with folded BatchNorms.

    Args:
        encoder: The encoder in eval mode.
        path: The file to write. It is replaced at the end.
        size: The only height and width that the file will take, multiples of `size_step`; None for any.
    """
    free = {"images": {2: "height", 3: "width"}, "coordinates": {2: "rows", 3: "columns"}}
    device = encoder.basis.device
    traced = size or tuple(steps * encoder.size_step for steps in _TRACED)
    # torch's newer exporter needs onnxscript and several seconds for the same graph. Older versions of torch have only
    # the old one, and no option.
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with replacing(path) as part, warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # recording turns the size checks and the batch of one into constants, rightly
        torch.onnx.export(
            _Images(encoder).eval(),
            (torch.zeros(1, 3, *traced, device=device),),
            str(part),
            input_names=["images"],
            output_names=["coordinates"],
            dynamic_axes=None if size else free,
            opset_version=_OPSET,
            **options,
        )


def onnx_of(request: Request) -> Path:
    """Returns the ONNX to run: the exported file, or one from the cache, which is exported if it is missing.

    Args:
        request: What to run.

    Raises:
        BackendError: The exported file does not exist, or has other weights or another precision; or the encoder cannot
            be exported.
    """
    if request.exported is not None:
        if not request.exported.is_file():
            raise BackendError(f"{request.exported} is not there; `lseg export` writes such files")
        check_origin(request.exported, request.encoder)
        return request.exported
    if request.precision == "int8":
        raise BackendError(
            "int8 needs a file that was calibrated on your images: run `lseg export MODEL OUT.onnx --calibrate FOLDER` "
            "and give OUT.onnx as `exported`"
        )
    return kept(_name(request.encoder), lambda path: export_onnx(request.encoder, path))


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Returns a file of the cache, and makes it if it is missing.

    Args:
        name: The file's name.
        make: Writes the file to a path.

    Raises:
        BackendError: The file cannot be made.
    """
    existing = stored(name)
    if existing is not None:
        return existing
    try:
        path = cache_folder() / name
        remove_leftovers(path.parent, _ABANDONED)
        make(path)
    except OSError as error:
        raise BackendError(
            f"{error.filename or 'the cache'} cannot be written: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    except RuntimeError as error:
        raise BackendError(f"this network does not become ONNX: {first_line(error)}") from error
    logger.info("made %s for later starts", path)
    return path


def forget_onnx(request: Request) -> bool:
    """Removes the encoder's ONNX from the cache, where it may be damaged.

    Returns:
        Whether there was such a file and it was removed. An exported file is never removed.
    """
    path = stored(_name(request.encoder))
    if request.exported is not None or path is None:
        return False
    with suppress(OSError):  # the cache may be read-only
        path.unlink()
        return True
    return False


def precision_of(path: Path) -> str:
    """Returns the precision of an ONNX: "int8", "float16" or "float32"."""
    if _search(path, re.compile(b"(QuantizeLinear)")) is not None:  # an ONNX has the names of operators as plain text
        return "int8"
    return "float32" if _search(path, _IN_FLOAT16) is None else "float16"


def size_of(path: Path) -> Size | None:
    """Returns the only height and width that an ONNX takes, or None if it takes any."""
    size = _search(path, _OF_SIZE)
    if size is None:
        return None
    height, width = map(int, size.split(b"x"))
    return height, width


def mark_float16(model: Any, size: Size) -> None:
    """Notes in a loaded ONNX that it is in float16, for images of one height and width.

    Args:
        model: The loaded ONNX.
        size: Height and width.
    """
    model.metadata_props.add(key=_TYPE, value="float16")
    model.metadata_props.add(key=_SIZE, value=f"{size[0]}x{size[1]}")


def mark(path: Path, encoder: FusedEncoderDecoder) -> None:
    """Notes in an ONNX file which weights it was made of.

    Raises:
        BackendError: The package onnx is not installed.
    """
    onnx = library("onnx", "onnx")
    model = onnx.load(str(path))
    model.metadata_props.add(key=_KEY, value=_origin(encoder))
    onnx.save(model, str(path))


def check_origin(path: Path, encoder: FusedEncoderDecoder) -> None:
    """Checks that an ONNX was made of an encoder's weights. A file without a note passes.

    Raises:
        BackendError: It was made of other weights.
    """
    key = _search(path, _ENTRY)
    if key is not None and key.decode() != _origin(encoder):
        raise BackendError(f"{path} was made of other weights than those of the model; run `lseg export` again")


def _name(encoder: FusedEncoderDecoder) -> str:
    return f"{weights_key(encoder)}.onnx"


def weights_key(encoder: FusedEncoderDecoder) -> str:
    """Returns 24 hexadecimal digits that identify the weights and all else that a stored file depends on."""
    if encoder not in _keys:
        _keys[encoder] = _digest(encoder, f"{_FORMAT} {torch.__version__}")
    return _keys[encoder]


def _origin(encoder: FusedEncoderDecoder) -> str:
    """Returns 24 hexadecimal digits that identify the weights, the same on every machine."""
    return _digest(encoder, keep=lambda name: not name.startswith(_COMPUTED))


def _digest(encoder: FusedEncoderDecoder, first: str = "", keep: Callable[[str], bool] = lambda name: True) -> str:
    """Returns 24 hexadecimal digits of `first` and the tensors whose names `keep` accepts."""
    digest = hashlib.sha256(first.encode())
    for name, tensor in encoder.state_dict().items():
        if keep(name):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:24]


def _search(path: Path, pattern: re.Pattern[bytes]) -> bytes | None:
    """Returns the group of a pattern's first match. The file is mapped, because it may be too large to read."""
    if not path.stat().st_size:  # an empty file cannot be mapped
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = pattern.search(content)
        return None if match is None else match[1]
