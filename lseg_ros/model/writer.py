"""Writes safetensors files one tensor at a time, which takes little memory and can show its progress."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.files import replacing

_NOT_YET = "#" * 64  # stands where the checksum goes, which is known when everything is written
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
        path: The file. It is replaced at the end; an interruption leaves the old file.
        state: The tensors by name.
        metadata: Texts to write into the file. `sha256` is added: the checksum of all bytes behind the header.
        dtype: The type in which floats are written.
        progress: Called with the number of bytes of each tensor written.

    Raises:
        OSError: The file cannot be written.
    """
    types = {name: dtype if tensor.is_floating_point() else tensor.dtype for name, tensor in state.items()}
    # Types with large items come first, so that each tensor starts at a multiple of its item's size. Readers need that.
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
