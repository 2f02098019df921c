"""Reads weights files of any kind without running code from them.

A PyTorch checkpoint is a zip archive of tensors and a pickle. A pickle can call any function that it names. PyTorch's
safe mode refuses Lightning's checkpoints, because they name a class of Lightning. Its unsafe mode runs whatever the
pickle names. The reader here builds only dictionaries and tensors that lie within the file, and puts an inert object in
place of everything else.
"""

import ctypes
import hashlib
import io
import mmap
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# Bytes. The pickles of whole Lightning checkpoints are well below a megabyte.
_LARGEST_PICKLE = 2**26


class CheckpointError(ValueError):
    """A weights file cannot be used. The message says which file, why, and what to do."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file or a PyTorch checkpoint.

    Args:
        path: The file.

    Returns:
        Its tensors and its metadata. A tensor's data stay on disk until they are used.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is of another kind, damaged, or cut short.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file at {path}; check the path")
    with path.open("rb") as file:
        head = file.read(256)
    problem = _not_weights(path, head)
    if problem:
        raise CheckpointError(f"{path} cannot be used: {problem}")
    if head.startswith(b"PK\x03\x04"):
        return _state_dict(_read_zip(path), path), {}
    if head.startswith(b"\x80") and head[8:9] != b"{":  # safetensors begins with eight bytes of length, then JSON
        raise CheckpointError(
            f"{path} is in PyTorch's format from before version 1.6; load it with torch once, and save it again"
        )
    return _read_safetensors(path)


def read_others(path: Path) -> dict[str, Any]:
    """Reads what a PyTorch checkpoint holds beside its state dict, such as the epoch and the optimizer's state.

    Args:
        path: The file.

    Returns:
        The entries by name. A tensor's data stay on disk until they are used.

    Raises:
        CheckpointError: The file is damaged or cut short.
    """
    content = _read_zip(path) if zipfile.is_zipfile(path) else {}
    lightning = isinstance(content, dict) and isinstance(content.get("state_dict"), dict)
    return {k: v for k, v in content.items() if isinstance(k, str) and k != "state_dict"} if lightning else {}


def _not_weights(path: Path, head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "it is empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights; run: git lfs pull"
    if start.startswith(b"<") and head[8:9] != b"{":
        return "it is a web page, not the weights; download the file itself"
    return ""


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} cannot be used: it is no weights file, or damaged or cut short at {size} bytes; fetch it again"
        ) from error
    if "sha256" in metadata and _sha256_of_data(path) != metadata["sha256"]:
        raise CheckpointError(f"{path} is damaged: its tensors do not have the checksum that it names; fetch it again")
    return tensors, metadata


def _sha256_of_data(path: Path) -> str:
    """Returns the SHA-256 of everything after the header of a safetensors file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while chunk := file.read(2**22):
            digest.update(chunk)
    return digest.hexdigest()


def _read_zip(path: Path) -> Any:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _Unpickler(file, archive).load()
    except Exception as error:  # a damaged pickle can raise any exception
        whole = zipfile.is_zipfile(path)  # the directory of a zip archive is at its end
        reason = "a zip archive, but no PyTorch checkpoint" if whole else f"cut short at {path.stat().st_size} bytes"
        raise CheckpointError(f"{path} cannot be used: it is damaged, or {reason}; fetch it again") from error


def own_copy(tensor: Tensor) -> Tensor:
    """Copies a tensor out of the file that it is mapped from.

    `read_weights` returns tensors that are mapped from the file, so rewriting the file would change a running network.
    The copy releases the pages that were read for it, so that loading takes little more memory than the network.

    Args:
        tensor: A tensor of `read_weights`.

    Returns:
        A float32 copy, or a copy of the same type where the tensor holds no floats.
    """
    copy = tensor.float() if tensor.is_floating_point() else tensor
    if copy.data_ptr() == tensor.data_ptr():
        copy = copy.clone()
    # Release only pages that lie wholly within the tensor, so that other tensors keep theirs.
    page = mmap.PAGESIZE
    start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    start, end = -(-start // page) * page, end // page * page
    if tensor.is_contiguous() and start < end and hasattr(mmap, "MADV_DONTNEED"):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
    return copy


class _Inert:
    """Stands for any object that a checkpoint names and that we do not need. It accepts every call and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "_Inert":
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Ignores what the pickle appends to a list."""

    extend = add = append


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Unpickler(pickle._Unpickler):
    """The unpickler written in Python. The faster one in C allocates as much memory as the pickle asks for.

    Tensors are parts of the mapped file. Their pages are read when they are used.
    """

    stack: list[Any]

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile) -> None:
        (info,) = (i for i in archive.infolist() if i.filename.count("/") == 1 and i.filename.endswith("/data.pkl"))
        if info.file_size > _LARGEST_PICKLE:
            raise pickle.UnpicklingError("too large")
        super().__init__(io.BytesIO(archive.read(info)))
        self._folder = info.filename.removesuffix("data.pkl")
        self._file = file
        self._archive = archive
        self._size = file.seek(0, io.SEEK_END)
        self._mapped = torch.UntypedStorage.from_file(file.name, False, self._size)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("torch", "Size"):
            return tuple
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        return _DTYPES.get(name, _Inert) if module == "torch" else _Inert

    def load_build(self) -> None:
        """Drops the state that a pickle gives to an object, because it could change any attribute."""
        self.stack.pop()

    def load_bytearray8(self) -> None:
        """Refuses a bytearray: it takes as much memory as the pickle asks for, and no checkpoint needs one."""
        raise pickle.UnpicklingError("a bytearray")

    dispatch = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,  # type: ignore[dict-item]
        pickle.BYTEARRAY8[0]: load_bytearray8,  # type: ignore[dict-item]
    }

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, torch.UntypedStorage]:
        kind, dtype, key = pid[:3]
        info = self._archive.getinfo(f"{self._folder}data/{key}")
        if kind != "storage" or info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("not a stored tensor")
        self._file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", self._file.read(4))
        start = info.header_offset + 30 + name_length + extra_length
        if start + info.file_size > self._size:
            raise pickle.UnpicklingError("a tensor beyond the file's end")
        return dtype, self._mapped[start : start + info.file_size]


def _tensor(
    stored: tuple[torch.dtype, torch.UntypedStorage],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *_: Any,
) -> Tensor:
    dtype, storage = stored
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(0, offset, *size, *stride) < 0 or (0 not in size and last >= storage.nbytes() // dtype.itemsize):
        raise pickle.UnpicklingError("a tensor beyond its storage's end")
    return torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a plain state dict, or of the `state_dict` in a Lightning checkpoint."""
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path} holds no state dict; give a checkpoint of weights, not a whole model or a script"
        )
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors under the names of weights; give a checkpoint of weights")
    return tensors
