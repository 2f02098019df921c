"""Loads the weights that a run starts with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.files import from_home
from lseg_ros.model.keymap import from_original, is_original
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, read_weights
from lseg_ros.model.variants import ClipText, CnnBackbone, VitBackbone
from lseg_ros.model.weight_files import is_name, weights_path

_CLIP_TEXT = re.compile(
    r"(?:text\.)?(positional_embedding|text_projection|(?:token_embedding|ln_final|transformer)\..+)"
)

_CONTEXT = re.compile(r"deeplab\.(aspp0|image_pooling|concat_projection)\.")
_SECOND = "encoder.second."  # the stages that the second network has of its own


def located(name_or_path: str, data: Path) -> Path:
    """Returns the path of a weights file.

    Args:
        name_or_path: The name of a variant, or a file relative to `data`.
        data: The run's folder of data.

    Raises:
        ValueError: It is no known variant, or its weights are damaged.
        FileNotFoundError: The variant's weights are missing.
    """
    return weights_path(name_or_path) if is_name(name_or_path) else data / from_home(name_or_path)


def initialise(
    net: LSegNet, init: Sequence[Path], text_init: Path | None = None, second_init: Path | None = None
) -> None:
    """Loads the initial weights of a run.

    Args:
        net: A network with random weights. Tensors without initial weights keep them.
        init: Files of this package, of the original LSeg, or image encoders alone with timm's names. Several files are
            averaged: networks that were trained on from the same weights are better on average than each of them
            ("model soups", Wortsman et al., ICML 2022).
        text_init: A file with the text tower of a CLIP, with OpenAI's or open_clip's names; or a file as for `init`, of
            which only the text tower is used.
        second_init: A file with an image encoder, with timm's names, for the second network.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: Tensors are missing or have other shapes, or a CLIP has no weights. The message names the file.
    """
    has_text = False
    if init:
        state = _mean({path: _our_names(read_weights(path)[0]) for path in init})
        has_text = _fill_encoder(net, state, init[0], optional=None if second_init is None else _SECOND)
    if second_init is not None:
        backbone = net.variant.backbone
        if not isinstance(backbone, CnnBackbone) or not backbone.second_from:
            raise ValueError(f"'second_init' is {second_init.name}, and {net.variant.name} has no second network")
        state = read_weights(second_init)[0]
        named = {_second_name(key, backbone.second_from): tensor for key, tensor in state.items()}
        _load(net, {name: tensor for name, tensor in named.items() if name is not None}, second_init, _SECOND)
    if text_init is not None:
        state = {_clip_name(key): tensor for key, tensor in _our_names(read_weights(text_init)[0]).items()}
        text = {key: tensor for key, tensor in state.items() if key.startswith("text_encoder.")}
        _load(net, text, text_init, "text_encoder.")
    elif isinstance(net.variant.text, ClipText) and not has_text:
        raise ValueError(
            f"the text encoder of {net.variant.name} stays as it is in training, and so needs weights from the start; "
            "give 'text_init', a file with the weights of a CLIP"
        )


def _our_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return from_original(state)[0] if is_original(state) else state


def _mean(states: Mapping[Path, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Averages tensors in float32; raises CheckpointError if the files have different ones."""
    (path, first), *others = states.items()
    for other, state in others:
        shapes = [{key: tensor.shape for key, tensor in held.items()} for held in (first, state)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(f"{path} and {other} hold other tensors, so they have no mean")
    if not others:
        return first
    return {
        key: torch.stack([state[key].float() for state in states.values()]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in first.items()
    }


def _clip_name(key: str) -> str:
    match = _CLIP_TEXT.fullmatch(key)
    return f"text_encoder.tower.{match[1]}" if match else key


def _fill_encoder(net: LSegNet, state: dict[str, Tensor], path: Path, optional: str | None) -> bool:
    """Loads the network's tensors from a file, and returns whether the file has a text encoder."""
    if any(key.startswith("encoder.") for key in state):
        has_text = any(key.startswith("text_encoder.") for key in state)
        needed = ["encoder."] + (["text_encoder."] if has_text and not net.text_encoder.external else [])
        _load(net, state, path, *needed, optional=optional)
        return has_text
    if isinstance(net.variant.backbone, VitBackbone):
        # The reassembly of tokens belongs to LSeg and keeps its random weights.
        _load(net, {_vit_name(k): v for k, v in state.items()}, path, "encoder.", optional="encoder.reassemble.")
    else:
        _load(net, {_cnn_name(key): tensor for key, tensor in state.items()}, path, "encoder.", optional=optional)
    return False


def _cnn_name(key: str) -> str:
    if _CONTEXT.match(key):
        return key.replace("deeplab.", "decoder.context.", 1)
    return f"decoder.{key.removeprefix('deeplab.')}" if key.startswith("deeplab.") else f"encoder.cnn.{key}"


def _second_name(key: str, first: int) -> str | None:
    """Returns our name of the second network's tensor; None for what it does not use, such as shared stages."""
    if _CONTEXT.match(key):
        return key.replace("deeplab.", "decoder.evidence.context.", 1)
    stage = re.match(r"blocks\.(\d+)\.", key)
    if stage is None or int(stage[1]) < first:
        return None
    return key.replace("blocks.", _SECOND, 1)


def _vit_name(key: str) -> str:
    return f"encoder.{key.replace('patch_embed.proj.', 'patch_embed.')}"


def _load(net: LSegNet, state: Mapping[str, Tensor], path: Path, *needed: str, optional: str | None = None) -> None:
    """Loads tensors into the network.

    Args:
        net: The network.
        state: The tensors.
        path: The file, for the message.
        needed: Prefixes of tensors that the file must have.
        optional: Prefix of tensors that may be missing nevertheless.

    Raises:
        CheckpointError: A tensor is missing or has another shape.
    """
    own = net.state_dict()
    for key, tensor in state.items():
        if key in own and own[key].shape != tensor.shape:
            raise CheckpointError(
                f"{path} does not fit {net.variant.name}: {key} has the shape {tuple(tensor.shape)} "
                f"instead of {tuple(own[key].shape)}"
            )
    missing = net.load_state_dict(dict(state), strict=False).missing_keys
    for part in needed:
        lacking = [key for key in missing if key.startswith(part) and not (optional and key.startswith(optional))]
        if lacking:
            what = "text encoder" if part == "text_encoder." else "backbone"
            more = f" and {len(lacking) - 1} more tensors" if len(lacking) > 1 else ""
            raise CheckpointError(f"{path} lacks {lacking[0]}{more} of the {what} of {net.variant.name}")
