"""Loads networks from folders in the Hub's layout: config.json, model.safetensors, a tokenizer. Nothing is fetched."""

import json
import logging
from pathlib import Path

from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.tips import load_tips
from lseg_ros.model.variants import HUB_VARIANTS, HubBackbone, Variant
from lseg_ros.model.weight_files import HUB_CONFIG

logger = logging.getLogger(__name__)


def load_from_hub(folder: Path, variant: Variant | None) -> LSegNet:
    """Loads a network from a folder.

    Args:
        folder: A folder in the Hub's layout.
        variant: The network that it must hold; None for any.

    Returns:
        The network in eval mode on the CPU.

    Raises:
        CheckpointError: The folder holds another network, or a damaged one.
    """
    kind, width = _described(folder)
    held = next((v for v in HUB_VARIANTS.values() if _kind(v) == kind and v.embed_dim == width), None)
    if held is None:
        known = ", ".join(HUB_VARIANTS)
        raise CheckpointError(f"{folder} holds {kind!r} of width {width}, which is none of {known}; give one of these")
    if variant is not None and variant.name != held.name:
        raise CheckpointError(
            f"{folder} holds {held.name}, and {variant.name} was asked for; leave out the variant, or give its folder"
        )
    assert isinstance(held.backbone, HubBackbone)
    encoder, text = load_tips(folder, held.backbone)
    net = LSegNet(held, text, encoder)
    net.licence = held.backbone.licence
    logger.info("weights %s (%s), licence %s", folder.name, held.name, net.licence)
    return net.eval()


def _kind(variant: Variant) -> str:
    return variant.backbone.kind if isinstance(variant.backbone, HubBackbone) else ""


def _described(folder: Path) -> tuple[str, int]:
    """Returns the kind and width of the network that a folder's config.json describes."""
    path = folder / HUB_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config["model_type"]), int(config.get("vision_config", {}).get("hidden_size", 768))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} does not say what network it is for ({error}); fetch it again") from error
