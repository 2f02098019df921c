"""What an exported file says of itself: its precision, and the weights that it was made of."""

import hashlib
import mmap
import re
from pathlib import Path

from lseg_ros.inference.backends.base import BackendError, library
from lseg_ros.model.image_encoder import ImageEncoder

_KEY = "lseg_weights"
# The entry of a map as protobuf writes it: key, and behind it the tag of the value, its length, and the value.
_ENTRY = re.compile(_KEY.encode() + rb"\x12\x18([0-9a-f]{24})")
# Computed from weights, so the last bits are the machine's.
_COMPUTED = ("basis", "head.", "encoder.reassemble.", "decoder.project.")


def is_quantised(path: Path) -> bool:
    """Whether an ONNX holds int8: the names of its operators stand in it as they are."""
    return _search(path, re.compile(b"(QuantizeLinear)")) is not None


def mark(path: Path, encoder: ImageEncoder) -> None:
    """Writes into an ONNX which weights it was made of; raises BackendError where onnx is not installed."""
    onnx = library("onnx", "onnx")
    model = onnx.load(str(path))
    model.metadata_props.add(key=_KEY, value=_digest(encoder))
    onnx.save(model, str(path))


def check_origin(path: Path, encoder: ImageEncoder) -> None:
    """Raises BackendError where an ONNX was made of other weights; one without a mark may be of any."""
    found = _search(path, _ENTRY)
    if found is not None and found.decode() != _digest(encoder):
        raise BackendError(f"{path} was made of other weights than those of the model; run `lseg export` again")


def _digest(encoder: ImageEncoder) -> str:
    """Names weights, the same on every machine; 24 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        if not name.startswith(_COMPUTED):
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
