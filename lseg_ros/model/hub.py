"""Networks out of folders in the layout of the Hub: config.json, model.safetensors, a tokenizer. Nothing is fetched."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.siglip import load_siglip
from lseg_ros.model.tips import load_tips
from lseg_ros.model.variants import HUB_VARIANTS, HubBackbone, Variant
from lseg_ros.model.weight_files import HUB_CONFIG

logger = logging.getLogger(__name__)


def load_from_hub(folder: Path, variant: Variant | None) -> LSegNet:
    """Loads a network from a folder.

    Args:
        folder: In the layout of the Hub.
        variant: The network that it must hold; None for the one that it does.

    Returns:
        The network in eval mode on the CPU.

    Raises:
        CheckpointError: The folder holds another network, or a damaged one.
    """
    found = variant_in(folder)
    if variant is not None and variant.name != found.name:
        raise CheckpointError(
            f"{folder} holds {found.name}, and {variant.name} was asked for; leave out the variant, or give its folder"
        )
    backbone = _backbone(found)
    encoder: Any
    text: Any
    if backbone.kind == "siglip":
        encoder, text, scale = load_siglip(folder)
        found = replace(found, logit_scale=scale)
    else:
        encoder, text = load_tips(folder)
    net = LSegNet(found, text, encoder)
    net.licence = backbone.licence
    logger.info("weights %s (%s), licence %s", folder.name, found.name, net.licence)
    return net.eval()


def variant_in(folder: Path) -> Variant:
    """Returns the variant that a folder says that it holds.

    Raises:
        CheckpointError: It says none that is known.
    """
    path = folder / HUB_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        vision = config.get("vision_config", {})
        # What a config leaves out has the library's default.
        kind, width, patch = str(config["model_type"]), int(vision.get("hidden_size", 768)), vision.get("patch_size")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} does not say what network it is for ({error}); fetch it again") from error
    for variant in HUB_VARIANTS.values():
        backbone = _backbone(variant)
        if (backbone.kind, variant.embed_dim) == (kind, width) and patch in (None, backbone.patch):
            return variant
    known = ", ".join(HUB_VARIANTS)
    what = f"{kind!r} of width {width}" + (f" with patches of {patch} pixels" if patch else "")
    raise CheckpointError(f"{folder} holds {what}, which is none of {known}; give one of these")


def _backbone(variant: Variant) -> HubBackbone:
    assert isinstance(variant.backbone, HubBackbone)
    return variant.backbone
