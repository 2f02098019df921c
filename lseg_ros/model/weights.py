"""Weights on disk: one safetensors file with the image encoder and decoder, and what it is in its metadata."""

import json
import logging
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import TEXT_ENCODERS, check_sha256
from lseg_ros.model.variants import VARIANTS, Variant

FORMAT = "lseg_ros.v1"
logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A weights file that cannot be used; the message says which, why, and what to do."""


def load_model(name_or_path: str | Path) -> LSegNet:
    """A network with its weights, in eval mode on the CPU.

    Args:
        name_or_path: a named variant that comes with weights ("lseg_mini"), or a file written by `save_model`.

    Raises:
        ValueError: no such variant, or the file is damaged or does not fit (CheckpointError).
        FileNotFoundError: no such file.
    """
    variant = VARIANTS.get(str(name_or_path))
    if variant is not None and variant.weights is not None:
        file, pinned = variant.weights
        path = Path(str(files("lseg_ros") / "weights" / file))
        check_sha256(path, pinned)
    else:
        path = Path(name_or_path)
        if not path.exists() and not path.suffix:
            raise ValueError(f"there is no model {str(name_or_path)!r}; known: {', '.join(VARIANTS)}, or a file's path")
    state, metadata = read_safetensors(path)
    variant = _variant_of(metadata, path)
    net = LSegNet(variant, TEXT_ENCODERS[variant.text]())
    load_image_state(net, state, path)
    net.licence = metadata.get("licence", "unknown")
    logger.info("weights %s (%s), licence %s", path.name, variant.name, net.licence)
    return net.eval()


def image_state(net: LSegNet) -> dict[str, Tensor]:
    """The network's tensors without the text encoder, which is frozen and kept elsewhere."""
    return {k: v for k, v in net.state_dict().items() if not k.startswith("text_encoder.")}


def load_image_state(net: LSegNet, state: dict[str, Tensor], path: Path) -> None:
    """Fills everything but the text encoder; raises CheckpointError naming the keys that do not fit."""
    own = image_state(net)
    problems = [f"missing {k}" for k in own if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in own]
    problems += [
        f"{k} has shape {tuple(state[k].shape)}, expected {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{path} does not fit the network {net.variant.name!r}: {'; '.join(problems[:5])}{more}; "
            "use the file with the variant that it was written for"
        )
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(state[key])


def save_model(net: LSegNet, path: Path, licence: str, dtype: torch.dtype = torch.float16) -> None:
    """Writes the image side; floats as `dtype`, so that a small network makes a small file."""
    state = {k: (v.to(dtype) if v.is_floating_point() else v).contiguous() for k, v in image_state(net).items()}
    v = net.variant
    metadata = {
        "format": FORMAT,
        "variant": v.name,
        "text_encoder": v.text,
        "normalisation": json.dumps({"mean": v.mean, "std": v.std}),
        "licence": licence,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(state, part, metadata)
    part.replace(path)  # a stop half-way leaves the old file


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file; raises CheckpointError or FileNotFoundError in one sentence."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file at {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {_what_is_it(path)}") from error


def _what_is_it(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if size == 0:
        return "it is empty; fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights; run: git lfs pull"
    if head.startswith((b"<!doctype", b"<html")):
        return "it is a web page, not the weights; download the file itself"
    if head.startswith((b"pk\x03\x04", b"\x80")):
        return "it is a pickled PyTorch checkpoint; only safetensors files are read"
    return f"its {size} bytes are damaged or cut short; fetch it again"


def _variant_of(metadata: dict[str, str], path: Path) -> Variant:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not say that lseg_ros wrote it (metadata 'format' should be {FORMAT!r})")
    name = metadata.get("variant", "")
    if name not in VARIANTS:
        raise CheckpointError(f"{path} is for the variant {name!r}, which is not known here: {', '.join(VARIANTS)}")
    return VARIANTS[name]
