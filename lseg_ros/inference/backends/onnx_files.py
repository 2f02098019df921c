"""The image encoder as an ONNX file: input `images` [1,3,height,width], output `coordinates` [1,R,h,w], both float32.

Height and width are free, in steps of 32 pixels.
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

_FORMAT = "1"  # of what is stored; part of the names of stored files
_OPSET = 17  # understood by every ONNX Runtime and OpenVINO that runs on Python 3.10 or newer
_ABANDONED = 86400  # seconds; what another process has been writing for longer is left over from a kill
_TRACED = (256, 320)  # height and width of the image with which the graph is recorded; any other may follow

_KEY, _TYPE, _SIZE = "lseg_weights", "lseg_precision", "lseg_size"
# Entries of a map as protobuf writes them: key, and behind it the tag of the value, its length, and the value.
_ENTRY = re.compile(_KEY.encode() + rb"\x12\x18([0-9a-f]{24})")
_IN_FLOAT16 = re.compile(_TYPE.encode() + rb"\x12\x07(float16)")
_OF_SIZE = re.compile(_SIZE.encode() + rb"\x12.([0-9]+x[0-9]+)", re.DOTALL)
# Computed from weights, so the last bits are the machine's.
_COMPUTED = ("basis", "head.", "encoder.reassemble.", "decoder.project.")

_keys: WeakKeyDictionary[FusedEncoderDecoder, str] = WeakKeyDictionary()  # a large network's takes seconds


class _Images(nn.Module):
    """The encoder with nothing to choose, as a graph has no dtypes among its inputs."""

    def __init__(self, encoder: FusedEncoderDecoder) -> None:
        super().__init__()
        self.image = encoder

    def forward(self, images: Tensor) -> Tensor:
        """As `FusedEncoderDecoder.forward` in float32."""
        coordinates: Tensor = self.image(images)
        return coordinates


def export_onnx(encoder: FusedEncoderDecoder, path: Path, size: Size | None = None) -> None:
    """Writes the encoder as ONNX, in float32, BatchNorms folded.

    Args:
        encoder: in eval mode.
        path: the file, which is replaced at the end.
        size: the only height and width of images that it takes, multiples of 32; None for any.
    """
    free = {"images": {2: "height", 3: "width"}, "coordinates": {2: "rows", 3: "columns"}}
    device = encoder.basis.device
    # torch's newer exporter needs onnxscript and several seconds for the same graph. Before it was there, exporting
    # had no such option.
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with replacing(path) as part, warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # what recording fixes, it may fix: the checks of sizes, and the batch of one
        torch.onnx.export(
            _Images(encoder).eval(),
            (torch.zeros(1, 3, *(size or _TRACED), device=device),),
            str(part),
            input_names=["images"],
            output_names=["coordinates"],
            dynamic_axes=None if size else free,
            opset_version=_OPSET,
            **options,
        )


def onnx_of(request: Request) -> Path:
    """The ONNX to run: the file that was exported, or one from the cache, made where it is missing.

    Raises:
        BackendError: there is no such file, it is of other weights, not of the precision asked for, or none can be
            made.
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
    """A file of the cache, made where it is missing; raises BackendError where it cannot be made."""
    found = stored(name)
    if found is not None:
        return found
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
    logger.info("made %s, which later starts use", path)
    return path


def forget_onnx(request: Request) -> bool:
    """Removes the ONNX from the cache, where it may be damaged; whether there was one that is ours to remove."""
    path = stored(_name(request.encoder))
    if request.exported is not None or path is None:
        return False
    with suppress(OSError):  # such as a cache that may only be read
        path.unlink()
        return True
    return False


def precision_of(path: Path) -> str:
    """What an ONNX holds: int8, float16 or float32."""
    if _search(path, re.compile(b"(QuantizeLinear)")) is not None:  # names of operators stand in it as they are
        return "int8"
    return "float32" if _search(path, _IN_FLOAT16) is None else "float16"


def size_of(path: Path) -> Size | None:
    """The height and width of the only images that an ONNX in float16 takes; None for any."""
    found = _search(path, _OF_SIZE)
    if found is None:
        return None
    height, width = map(int, found.split(b"x"))
    return height, width


def mark_float16(model: Any, size: Size) -> None:
    """Writes into a loaded ONNX that it is in float16, for images of that height and width."""
    model.metadata_props.add(key=_TYPE, value="float16")
    model.metadata_props.add(key=_SIZE, value=f"{size[0]}x{size[1]}")


def mark(path: Path, encoder: FusedEncoderDecoder) -> None:
    """Writes into an ONNX which weights it was made of; raises BackendError where onnx is not installed."""
    onnx = library("onnx", "onnx")
    model = onnx.load(str(path))
    model.metadata_props.add(key=_KEY, value=_origin(encoder))
    onnx.save(model, str(path))


def check_origin(path: Path, encoder: FusedEncoderDecoder) -> None:
    """Raises BackendError where an ONNX was made of other weights; one without a mark may be of any."""
    found = _search(path, _ENTRY)
    if found is not None and found.decode() != _origin(encoder):
        raise BackendError(f"{path} was made of other weights than those of the model; run `lseg export` again")


def _name(encoder: FusedEncoderDecoder) -> str:
    return f"{weights_key(encoder)}.onnx"


def weights_key(encoder: FusedEncoderDecoder) -> str:
    """Names the weights and what else a stored file depends on; 24 hexadecimal digits."""
    if encoder not in _keys:
        _keys[encoder] = _digest(encoder, f"{_FORMAT} {torch.__version__}")
    return _keys[encoder]


def _origin(encoder: FusedEncoderDecoder) -> str:
    """Names the weights that an ONNX was made of, the same on every machine; 24 hexadecimal digits."""
    return _digest(encoder, keep=lambda name: not name.startswith(_COMPUTED))


def _digest(encoder: FusedEncoderDecoder, first: str = "", keep: Callable[[str], bool] = lambda name: True) -> str:
    """24 hexadecimal digits of `first` and the tensors whose names `keep` accepts."""
    digest = hashlib.sha256(first.encode())
    for name, tensor in encoder.state_dict().items():
        if keep(name):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:24]


def _search(path: Path, pattern: re.Pattern[bytes]) -> bytes | None:
    """The pattern's group where it is first found; large files are not read into memory for that."""
    if not path.stat().st_size:  # of which there is no map
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = pattern.search(content)
        return None if found is None else found[1]
