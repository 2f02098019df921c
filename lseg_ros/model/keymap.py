"""Renames the tensors in checkpoints of the original LSeg (isl-org/lang-seg)."""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_LEVEL = r"(?P<level>[1-4])"
_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        # vision transformer
        (r"pretrained\.model\.(cls_token|pos_embed|blocks\..+)", r"encoder.{1}"),
        (r"pretrained\.model\.patch_embed\.proj\.(.+)", r"encoder.patch_embed.{1}"),
        (rf"pretrained\.act_postprocess{_LEVEL}\.0\.project\.0\.(.+)", "encoder.reassemble.{level}.readout.{2}"),
        (rf"pretrained\.act_postprocess{_LEVEL}\.3\.(.+)", "encoder.reassemble.{level}.project.{2}"),
        (rf"pretrained\.act_postprocess{_LEVEL}\.4\.(.+)", "encoder.reassemble.{level}.resample.{2}"),
        # ResNet, cut into stages
        (r"pretrained\.layer1\.0\.(.+)", "encoder.cnn.conv1.{1}"),
        (r"pretrained\.layer1\.1\.(.+)", "encoder.cnn.bn1.{1}"),
        (r"pretrained\.layer1\.4\.(.+)", "encoder.cnn.layer1.{1}"),
        (r"pretrained\.(layer[234]\..+)", "encoder.cnn.{1}"),
        # decoder
        (rf"scratch\.layer{_LEVEL}_rn\.(.+)", "decoder.project.{level}.{2}"),
        (rf"scratch\.refinenet{_LEVEL}\.resConfUnit1\.(.+)", "decoder.fuse.{level}.skip_unit.{2}"),
        (rf"scratch\.refinenet{_LEVEL}\.resConfUnit2\.(.+)", "decoder.fuse.{level}.unit.{2}"),
        (rf"scratch\.refinenet{_LEVEL}\.out_conv\.(.+)", "decoder.fuse.{level}.out_conv.{2}"),
        (r"scratch\.head1\.(.+)", "decoder.head.{1}"),
        (r"scratch\.head_block\.depthwise\.depthwise\.(.+)", "head_block.conv.{1}"),
        # CLIP's text tower
        (
            r"clip_pretrained\.(positional_embedding|text_projection|(?:token_embedding|ln_final|transformer)\..+)",
            "text_encoder.tower.{1}",
        ),
    )
]
# The checkpoints hold these tensors, and nothing in LSeg uses them.
_UNUSED = re.compile(
    r"pretrained\.model\.(norm|head)\..+"
    r"|scratch\.refinenet4\.resConfUnit1\..+"
    r"|clip_pretrained\.(visual\..+|logit_scale)"
)


def is_original(keys: Mapping[str, T]) -> bool:
    """Returns whether a state dict has the original's names, with or without Lightning's prefix `net.`."""
    return any(key.removeprefix("net.").startswith("scratch.") for key in keys)


def from_original(state: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
    """Renames the tensors of an original checkpoint.

    Args:
        state: Its tensors by name.

    Returns:
        The tensors under our names, with unknown names unchanged, and the names of those that LSeg does not use.
    """
    ours: dict[str, T] = {}
    unused = []
    for key, tensor in state.items():
        name = key.removeprefix("net.")
        if _UNUSED.fullmatch(name):
            unused.append(key)
        else:
            ours[_rename(name)] = tensor
    return ours, unused


def _rename(name: str) -> str:
    for pattern, ours in _RULES:
        match = pattern.fullmatch(name)
        if match:
            levels = {k: int(v) - 1 for k, v in match.groupdict().items()}
            return ours.format(match[0], *match.groups(), **levels)
    return name
