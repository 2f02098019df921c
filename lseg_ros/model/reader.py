"""Reads weights files of any kind without running anything that is in them.

PyTorch checkpoints are pickles, and a pickle can call whatever it names. Lightning's name a class of theirs besides
tensors, so PyTorch's own safe mode refuses them. Here, what is not needed to rebuild tensors becomes an inert stand-in.
"""

import collections
import pickle
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# What torch.load raises on files that are not what they seem.
_UNREADABLE = (
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
)


class CheckpointError(ValueError):
    """A weights file that cannot be used; the message says which, why, and what to do."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file or a PyTorch checkpoint; tensors stay on disk until they are used.

    Raises:
        FileNotFoundError: there is no file.
        CheckpointError: it is something else, damaged, or cut short.
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
    if head.startswith(b"\x80"):
        raise CheckpointError(
            f"{path} is in PyTorch's format from before version 1.6; load it with torch once, and save it again"
        )
    return _read_safetensors(path)


def read_others(path: Path) -> dict[str, Any]:
    """What a PyTorch checkpoint holds besides its state dict, such as epoch and optimizer state; tensors stay on disk.

    Raises:
        CheckpointError: as `read_weights` does.
    """
    content = _read_zip(path) if zipfile.is_zipfile(path) else {}
    lightning = isinstance(content, dict) and isinstance(content.get("state_dict"), dict)
    return {str(key): value for key, value in content.items() if key != "state_dict"} if lightning else {}


def _not_weights(path: Path, head: bytes) -> str:
    start = head.lstrip().lower()
    if not head:
        return "it is empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights; run: git lfs pull"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not the weights; download the file itself"
    return ""


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} cannot be used: it is no weights file, or damaged or cut short at {size} bytes; fetch it again"
        ) from error


def _read_zip(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=False, pickle_module=_restricted_pickle())
    except _UNREADABLE as error:
        whole = zipfile.is_zipfile(path)  # the directory of a zip archive is at its end
        reason = "a zip archive, but no PyTorch checkpoint" if whole else f"cut short at {path.stat().st_size} bytes"
        raise CheckpointError(f"{path} cannot be used: it is damaged, or {reason}; fetch it again") from error


class _Inert:
    """Stands for anything that a checkpoint names and we do not need; takes every call and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Takes what the pickle puts into a list."""

    def extend(self, items: object) -> None:
        """Takes what the pickle puts into a list."""


# What rebuilding tensors takes; none of it can do anything else.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        storage = getattr(torch, name, None) if module == "torch" and name.endswith("Storage") else None
        return _Inert if storage is None else storage


def _restricted_pickle() -> ModuleType:
    """A stand-in for the module `pickle`, in the form that torch.load asks for."""
    module = ModuleType("restricted_pickle")
    vars(module).update(Unpickler=_Unpickler, load=_refuse, loads=_refuse, UnpicklingError=pickle.UnpicklingError)
    return module


def _refuse(*args: object, **kwargs: object) -> None:
    raise pickle.UnpicklingError("only the restricted reader may read this file")


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a Lightning checkpoint (`state_dict` in it) or of a plain state dict."""
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no state dict, but {type(content).__name__}; give a checkpoint of weights")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors under the names of weights; give a checkpoint of weights")
    return tensors
