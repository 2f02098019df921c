"""Checks whether the tensors of a file are those of the published network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lseg_ros.model.keymap import from_original
from lseg_ros.model.variants import Variant
from lseg_ros.model.weights import differences, expected_shapes

_CLIP_SCALE = math.log(100)  # the largest value in CLIP's training, which all of OpenAI's models have reached
_UNUSED_UNIT = "scratch.refinenet4.resConfUnit1."  # part of the checkpoint, but it never runs
_SPREAD = (1e-4, 1.0)  # range of the standard deviations of matrices and kernels in trained networks
_LISTED = 3  # most tensors that a finding names


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        ok: Whether it is as in the published file.
        text: The result in one line.
    """

    ok: bool
    text: str


def check_tensors(state: Mapping[str, Tensor], variant: Variant, tensors: int, numbers: int) -> list[Finding]:
    """Compares a checkpoint with known facts about the published one.

    Args:
        state: All tensors of the file, from `read_weights`.
        variant: The network that it should hold.
        tensors: Number of tensors in the published file, including those that LSeg does not use.
        numbers: Number of elements of all these tensors.

    Returns:
        The result of each check.
    """
    state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
    return [
        _names(state, variant, tensors, numbers),
        _finite(state),
        _batches(state),
        _scale(state),
        _spread(state),
        _precision(state),
    ]


def _names(state: Mapping[str, Tensor], variant: Variant, tensors: int, numbers: int) -> Finding:
    used, _ = from_original(state)
    problems = differences(used, expected_shapes(variant))
    if problems:
        return Finding(False, f"names and shapes are not those of {variant.name}: {'; '.join(problems)}")
    count = sum(tensor.numel() for tensor in state.values())
    text = f"names and shapes are those of {variant.name}: {len(state)} tensors, {count / 1e6:.2f} M numbers"
    if (len(state), count) != (tensors, numbers):
        return Finding(False, f"{text}; the published file has {tensors} and {numbers / 1e6:.2f} M")
    return Finding(True, text)


def _finite(state: Mapping[str, Tensor]) -> Finding:
    bad = [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    return Finding(not bad, f"numbers are not finite in {_some(bad)}" if bad else "all numbers are finite")


def _batches(state: Mapping[str, Tensor]) -> Finding:
    """Checks the batch counts of BatchNorm: equal in all parts that run, and 0 in the part that never runs."""
    counts = {key: int(tensor) for key, tensor in state.items() if key.endswith("num_batches_tracked")}
    used = {count for key, count in counts.items() if not key.startswith(_UNUSED_UNIT)}
    unused = {count for key, count in counts.items() if key.startswith(_UNUSED_UNIT)}
    if used in (set(), {0}):
        return Finding(False, "it was never trained: batch normalisation has counted no batch")
    if len(used) > 1 or not unused <= {0}:
        return Finding(False, f"batch normalisation has counted {sorted(used | unused)} batches, in one network")
    return Finding(True, f"it was trained on {used.pop()} batches, by the counts of batch normalisation")


def _scale(state: Mapping[str, Tensor]) -> Finding:
    scale = state.get("clip_pretrained.logit_scale")
    if scale is None:
        return Finding(False, "CLIP's own scale is missing")
    text = f"CLIP's own scale is {float(scale):.4f}"
    if abs(float(scale) - _CLIP_SCALE) > 0.01:
        return Finding(False, f"{text}; in OpenAI's models it is {_CLIP_SCALE:.4f}")
    return Finding(True, f"{text}, as in OpenAI's models")


def _spread(state: Mapping[str, Tensor]) -> Finding:
    spreads = {
        key: tensor.float().std().item()
        for key, tensor in state.items()
        if tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() > tensor.shape[0]
    }
    # NaN is neither below nor above. `_finite` reports it.
    odd = [key for key, spread in spreads.items() if spread < _SPREAD[0] or spread > _SPREAD[1]]
    plain = [key for key, tensor in state.items() if key.endswith("bn1.weight") and bool((tensor == tensor[0]).all())]
    plain = [key for key in plain if not key.startswith(_UNUSED_UNIT)]
    if odd:
        values = ", ".join(f"{key} {spreads[key]:.2g}" for key in odd[:_LISTED])
        return Finding(False, f"{len(odd)} matrices have standard deviations that no trained network has ({values})")
    if plain:
        return Finding(False, f"weights are all equal in {_some(plain)}, as before any training")
    return Finding(True, f"{len(spreads)} matrices have standard deviations as in trained networks")


def _precision(state: Mapping[str, Tensor]) -> Finding:
    half = [key for key, tensor in state.items() if tensor.dtype == torch.float16]
    if half and all(key.startswith("clip_pretrained.") for key in half):
        return Finding(True, "CLIP is in float16 and the rest in float32, as its authors saved it")
    kinds = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}))
    return Finding(False, f"numbers are {kinds}; the published file has CLIP in float16 and the rest in float32")


def _some(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
