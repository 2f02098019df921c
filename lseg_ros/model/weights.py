"""Loads networks from weights files, and saves them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.model.hub import load_from_hub
from lseg_ros.model.keymap import from_original, is_original
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, own_copy, read_weights
from lseg_ros.model.text import TextEncoder, build_text_encoder
from lseg_ros.model.variants import VARIANTS, ClipText, Variant, from_json, to_json, variant_named
from lseg_ros.model.weight_files import is_hub_file, is_name, weights_path
from lseg_ros.model.writer import write_safetensors

FORMAT = "lseg_ros.v1"
logger = logging.getLogger(__name__)


def load_model(name_or_path: str | Path, variant: str | Variant | None = None) -> LSegNet:
    """Loads a network with its weights.

    Args:
        name_or_path: A named variant whose weights are on this machine (`lseg models` lists them), or a file: one of
            ours, or a checkpoint of the original LSeg; or a folder in the layout of the Hub.
        variant: The network in the file, by name or as numbers. Needed where the file cannot tell.

    Returns:
        The network in eval mode on the CPU.

    Raises:
        ValueError: There is no such variant, or the file is damaged or does not fit (CheckpointError).
        FileNotFoundError: There is no such file.
    """
    path = weights_path(name_or_path)
    if variant is None and is_name(name_or_path):
        variant = str(name_or_path)
    if isinstance(variant, str):
        variant = variant_named(variant)
    if is_hub_file(path):
        return load_from_hub(path.parent, variant)
    state, metadata = read_weights(path)
    if "config" in metadata:
        variant = _described(metadata, path, requested=variant)
    else:
        if is_original(state):
            state, _ = from_original(state)
        variant = variant or recognise(state, path)
    try:
        net = _empty(variant)
    except FileNotFoundError:
        raise  # the text encoder's file is missing; its message says so
    except Exception as error:  # timm, open_clip and torch raise different exceptions for impossible numbers
        raise CheckpointError(f"{path} describes no network that can be built: {error}") from error
    _fill(net, state, path)
    net.licence = metadata.get("licence", "unknown")
    logger.info("weights %s (%s), licence %s", path.name, variant.name, net.licence)
    return net.eval()


def recognise(state: Mapping[str, Tensor], path: Path) -> Variant:
    """Finds the named variant whose tensors have exactly these names and shapes.

    Args:
        state: Tensors by name.
        path: The file that they come from, for the message.

    Returns:
        The variant.

    Raises:
        CheckpointError: No variant fits, or several do. The message names the candidates.
    """
    plain = {key: tensor for key, tensor in state.items() if not key.startswith("head_block.")}
    expectations, shared = {}, {}
    for name, candidate in VARIANTS.items():
        relevant = {key: tuple(tensor.shape) for key, tensor in _relevant(plain, candidate).items()}
        expected = expectations[name] = expected_shapes(candidate)
        if relevant == expected and len(plain) == len(state):
            return candidate
        if relevant == expected:
            raise CheckpointError(
                f"{path} has a head block, whose kind and depth its weights do not tell; give the variant: "
                f"{name}+bottleneck1, {name}+bottleneck2, ..., or {name}+depthwise1, {name}+depthwise2, ..."
            )
        shared[name] = len(relevant.items() & expected.items())
    nearest = max(shared, key=lambda name: shared[name])
    raise CheckpointError(
        f"{path} is no variant known here ({', '.join(VARIANTS)}); the nearest is {nearest}, where "
        f"{'; '.join(differences(_relevant(state, VARIANTS[nearest]), expectations[nearest]))}. If it is "
        "another network, give its numbers as the variant: heads and taps are not in its weights"
    )


def _relevant(state: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Drops the tensors that a variant's weights file does not hold: those of a text encoder from elsewhere."""
    own_text = isinstance(variant.text, ClipText)
    return {key: tensor for key, tensor in state.items() if own_text or not key.startswith("text_encoder.")}


def expected_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors in a variant's weights file."""
    return {key: tuple(tensor.shape) for key, tensor in own_state(_skeleton(variant)).items()}


def own_state(net: LSegNet) -> dict[str, Tensor]:
    """Returns the tensors that a weights file holds: all but those of an external text encoder."""
    return _relevant(net.state_dict(), net.variant)


class _NoText(TextEncoder):
    """Takes the place of a text encoder whose weights are not in the file."""

    external = True


def _skeleton(variant: Variant) -> LSegNet:
    """Builds the network without memory for its tensors, and without a text encoder from elsewhere."""
    with torch.device("meta"):
        return LSegNet(variant, build_text_encoder(variant) if isinstance(variant.text, ClipText) else _NoText())


def _empty(variant: Variant) -> LSegNet:
    """Builds the network without memory for the tensors that the file will bring."""
    net = _skeleton(variant)
    if net.text_encoder.external:
        net.text_encoder = build_text_encoder(variant)
    return net


def _fill(net: LSegNet, state: Mapping[str, Tensor], path: Path) -> None:
    """Gives the network the file's tensors as float32, or raises CheckpointError naming those that do not fit."""
    own = own_state(net)
    state = _relevant(state, net.variant)
    problems = differences(state, {key: tuple(tensor.shape) for key, tensor in own.items()})
    problems += [
        f"{key} holds {str(state[key].dtype).removeprefix('torch.')}"
        for key, tensor in own.items()
        if key in state and state[key].is_floating_point() != tensor.is_floating_point()
    ][:1]
    if problems:
        raise CheckpointError(
            f"{path} does not fit the network {net.variant.name!r}: {'; '.join(problems)}; "
            "use the file with the variant that it was written for"
        )
    copies = {key: own_copy(state.pop(key)) for key in own}
    net.load_state_dict(copies, strict=False, assign=True)
    for name, parameter in net.named_parameters():
        if name.startswith("text_encoder."):
            parameter.requires_grad_(False)


def differences(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Lists the first five tensors that are missing, unexpected or of another shape."""
    problems = [f"{k} is missing" for k in expected if k not in state]
    problems += [f"{k} is unexpected" for k in state if k not in expected]
    problems += [
        f"{k} has shape {tuple(state[k].shape)} instead of {shape}"
        for k, shape in expected.items()
        if k in state and tuple(state[k].shape) != shape
    ]
    return [*problems[:5], f"and {len(problems) - 5} more"] if len(problems) > 5 else problems


def save_model(
    net: LSegNet,
    path: Path,
    licence: str,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], object] = lambda written: None,
) -> None:
    """Writes a network. The metadata describe it completely, so the file alone is enough to load it.

    Args:
        net: The network.
        path: The file. It is replaced at the end; an interruption leaves the old file.
        licence: Licence of the weights.
        dtype: The type in which floats are written.
        progress: Called with the number of bytes of each tensor written.
    """
    metadata = {
        "format": FORMAT,
        "variant": net.variant.name,
        "config": to_json(net.variant),
        "licence": licence,
    }
    write_safetensors(path, own_state(net), metadata, dtype, progress)


def _described(metadata: Mapping[str, str], path: Path, requested: Variant | None) -> Variant:
    """Returns the variant that one of our files describes, and checks it against a requested one."""
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {metadata.get('format')!r}, and this version reads {FORMAT!r}")
    try:
        described = from_json(metadata["config"])
    except ValueError as error:
        raise CheckpointError(f"{path} does not say what network it is for: {error}") from error
    if requested is not None and to_json(replace(requested, name="")) != to_json(replace(described, name="")):
        raise CheckpointError(
            f"{path} is for the variant {described.name!r}, and {requested.name!r} was asked for; "
            "leave out the variant, or give the file that belongs to it"
        )
    return described
