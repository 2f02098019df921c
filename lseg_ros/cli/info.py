"""The command `lseg info`."""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import image_encoder, megabytes, text_encoder
from lseg_ros.model.weight_files import is_hub_file, weights_path

if TYPE_CHECKING:
    from torch import Tensor


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser("info", help="say what a weights file holds", description="Says what a file holds.")
    parser.add_argument("file", help="weights file, or a variant whose weights are here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the facts about a file, one per line. Returns the exit status."""
    from lseg_ros.model.keymap import from_original, is_original
    from lseg_ros.model.reader import read_others, read_weights

    path = weights_path(options.file)
    state, metadata = read_weights(path)  # the tensors stay on disk
    others = read_others(path)
    original = is_original(state)
    used, unused = from_original(state) if original else (state, [])
    network = _network(metadata, used, path)
    parameters = sum(tensor.numel() for tensor in used.values())
    facts = {
        "file": str(path),
        "size": megabytes(path.stat().st_size),
        "format": _format(metadata, original, bool(others)),
        **network,
        "tensors": f"{len(used)}" + (f", and {len(unused)} that LSeg does not use" if unused else ""),
        "parameters": f"{parameters / 1e6:.2f} M" if parameters >= 1e6 else str(parameters),
        "types": _types(state),
        "licence": metadata.get("licence", network.get("licence", "unknown")),
        **{key: text for key, text in metadata.items() if key not in ("format", "variant", "config", "licence")},
        **{key: _short(value) for key, value in others.items()},
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name.ljust(width)}  {fact}")
    return 0


def _format(metadata: Mapping[str, str], original: bool, lightning: bool) -> str:
    if "format" in metadata:
        return f"safetensors, {metadata['format']}"
    kind = "checkpoint of PyTorch Lightning" if lightning else "plain weights"
    return f"{kind}, with the original's names" if original else kind


def _network(metadata: Mapping[str, str], used: "Mapping[str, Tensor]", path: Path) -> dict[str, str]:
    """Returns variant and encoders, or why the file does not tell, with the candidates."""
    from lseg_ros.model.variants import HubBackbone, from_json

    try:
        if is_hub_file(path):
            from lseg_ros.model.hub import variant_in

            variant = variant_in(path.parent)
        elif "config" in metadata:
            variant = from_json(metadata["config"])
        else:
            from lseg_ros.model.weights import recognise  # imports the libraries of all networks

            variant = recognise(used, path)
    except ValueError as error:
        return {"variant": f"not recognised: {str(error).replace(str(path), 'it', 1)}"}
    return {
        "variant": variant.name,
        "image encoder": image_encoder(variant),
        "text encoder": text_encoder(variant),
        "normalised with": f"mean {variant.mean}, std {variant.std}",
        "sides of images": f"multiples of {variant.size_step} pixels",
        **({"licence": variant.backbone.licence} if isinstance(variant.backbone, HubBackbone) else {}),
    }


def _types(state: "Mapping[str, Tensor]") -> str:
    sizes: dict[str, int] = defaultdict(int)
    for tensor in state.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return ", ".join(f"{name} {megabytes(size)}" for name, size in sorted(sizes.items(), key=lambda x: -x[1]))


def _short(value: object) -> str:
    """Returns a number or text as it is, and anything larger by its type."""
    if isinstance(value, int | float | str):
        return str(value)
    return f"({len(value)} inside)" if isinstance(value, dict | list | tuple) else f"({type(value).__name__})"
