"""Writes the safetensors format one tensor at a time: little memory for large networks, and a progress to show."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.files import replacing

_NOT_YET = "#" * 64  # the place of the checksum, which is known once all is written
_CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def write_safetensors(
    path: Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    dtype: torch.dtype,
    progress: Callable[[int], object],
) -> None:
    """Writes tensors and metadata to a file.

    Args:
        path: replaced at the end; a stop half-way leaves the old file.
        state: tensors; floats are written as `dtype`.
        metadata: texts that the file carries along; `sha256` joins them, that of all bytes behind the header.
        dtype: of the floats.
        progress: told of the bytes of every tensor written.

    Raises:
        OSError: the file cannot be written.
    """
    types = {name: dtype if tensor.is_floating_point() else tensor.dtype for name, tensor in state.items()}
    # The largest items first: every tensor then starts at a multiple of its item's size, which readers rely on.
    order = sorted(state, key=lambda name: (-types[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": {**metadata, "sha256": _NOT_YET}}
    end = 0
    for name in order:
        start, end = end, end + state[name].numel() * types[name].itemsize
        header[name] = {"dtype": _CODES[types[name]], "shape": list(state[name].shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with replacing(path) as part, part.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            tensor = state[name].detach().to("cpu", types[name]).contiguous()
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            digest.update(data)
            file.write(data)
            progress(tensor.nbytes)
        file.seek(8 + head.index(_NOT_YET.encode()))
        file.write(digest.hexdigest().encode())
