"""Networks from weights files, and weights files from networks."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.model.keymap import from_original, is_original
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, own_copy, read_weights
from lseg_ros.model.text import TextEncoder, build_text_encoder
from lseg_ros.model.variants import VARIANTS, ClipText, Variant, from_json, to_json, variant_named
from lseg_ros.model.weight_files import is_name, weights_path
from lseg_ros.model.writer import write_safetensors

FORMAT = "lseg_ros.v1"
logger = logging.getLogger(__name__)


def load_model(name_or_path: str | Path, variant: str | Variant | None = None) -> LSegNet:
    """A network with its weights, in eval mode on the CPU.

    Args:
        name_or_path: a named variant whose weights are here (see `lseg models`), or a file: ours, or a checkpoint of
            the original LSeg.
        variant: what the file holds, where it cannot tell; a name or the numbers.

    Raises:
        ValueError: no such variant, or the file is damaged or does not fit (CheckpointError).
        FileNotFoundError: no such file.
    """
    path = weights_path(name_or_path)
    if variant is None and is_name(name_or_path):
        variant = str(name_or_path)
    if isinstance(variant, str):
        variant = variant_named(variant)
    state, metadata = read_weights(path)
    if "config" in metadata:
        variant = _described(metadata, path, asked=variant)
    else:
        if is_original(state):
            state, _ = from_original(state)
        variant = variant or recognise(state, path)
    try:
        net = _empty(variant)
    except FileNotFoundError:
        raise  # the text encoder's
    except Exception as error:  # numbers that fit no network fail in any way there is
        raise CheckpointError(f"{path} describes no network that can be built: {error}") from error
    _fill(net, state, path)
    net.licence = metadata.get("licence", "unknown")
    logger.info("weights %s (%s), licence %s", path.name, variant.name, net.licence)
    return net.eval()


def recognise(state: Mapping[str, Tensor], path: Path) -> Variant:
    """The named variant whose tensors have just these names and shapes.

    Raises:
        CheckpointError: none has, or what the tensors say is not enough; names the candidates.
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
        f"{'; '.join(_differences(_relevant(state, VARIANTS[nearest]), expectations[nearest]))}. If it is "
        "another network, give its numbers as the variant: heads and taps are not in its weights"
    )


def _relevant(state: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """What a weights file of a variant has to do with: not a text encoder that comes from elsewhere."""
    own_text = isinstance(variant.text, ClipText)
    return {key: tensor for key, tensor in state.items() if own_text or not key.startswith("text_encoder.")}


def expected_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what a weights file of a variant holds."""
    return {key: tuple(tensor.shape) for key, tensor in own_state(_skeleton(variant)).items()}


def own_state(net: LSegNet) -> dict[str, Tensor]:
    """The tensors that a weights file holds: all but those of an external text encoder."""
    return _relevant(net.state_dict(), net.variant)


class _NoText(TextEncoder):
    """Stands for a text encoder whose weights are not in the file."""

    external = True


def _skeleton(variant: Variant) -> LSegNet:
    """The network without memory for its tensors, and without a text encoder that comes from elsewhere."""
    with torch.device("meta"):
        return LSegNet(variant, build_text_encoder(variant) if isinstance(variant.text, ClipText) else _NoText())


def _empty(variant: Variant) -> LSegNet:
    """The network, waiting for the file's tensors."""
    net = _skeleton(variant)
    if net.text_encoder.external:
        net.text_encoder = build_text_encoder(variant)
    return net


def _fill(net: LSegNet, state: Mapping[str, Tensor], path: Path) -> None:
    """Gives the network the file's tensors, as float32; raises CheckpointError naming those that do not fit."""
    own = own_state(net)
    state = _relevant(state, net.variant)
    problems = _differences(state, {key: tuple(tensor.shape) for key, tensor in own.items()})
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


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, unexpected or mis-shaped, the first five of them."""
    found = [f"{k} is missing" for k in expected if k not in state]
    found += [f"{k} is unexpected" for k in state if k not in expected]
    found += [
        f"{k} has shape {tuple(state[k].shape)} instead of {shape}"
        for k, shape in expected.items()
        if k in state and tuple(state[k].shape) != shape
    ]
    return [*found[:5], f"and {len(found) - 5} more"] if len(found) > 5 else found


def save_model(
    net: LSegNet,
    path: Path,
    licence: str,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], object] = lambda written: None,
) -> None:
    """Writes the network with all that is needed to build it again in the metadata.

    Args:
        net: the network.
        path: replaced at the end; a stop half-way leaves the old file.
        licence: of the weights.
        dtype: of the floats in the file.
        progress: told of the bytes of every tensor written.
    """
    metadata = {
        "format": FORMAT,
        "variant": net.variant.name,
        "config": to_json(net.variant),
        "licence": licence,
    }
    write_safetensors(path, own_state(net), metadata, dtype, progress)


def _described(metadata: Mapping[str, str], path: Path, asked: Variant | None) -> Variant:
    """The variant that one of our files is for, which must be the one asked for, if one was."""
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {metadata.get('format')!r}, and this version reads {FORMAT!r}")
    try:
        found = from_json(metadata["config"])
    except ValueError as error:
        raise CheckpointError(f"{path} does not say what network it is for: {error}") from error
    if asked is not None and to_json(replace(asked, name="")) != to_json(replace(found, name="")):
        raise CheckpointError(
            f"{path} is for the variant {found.name!r}, and {asked.name!r} was asked for; "
            "leave out the variant, or give the file that belongs to it"
        )
    return found
