"""The command `lseg models`."""

import argparse
from typing import Any

from lseg_ros.cli.describe import image_encoder, table, text_encoder
from lseg_ros.model.variants import HUB_VARIANTS, VARIANTS, HubBackbone, Variant
from lseg_ros.model.weight_files import weights_path, where_expected

# Whether a variant was compared with the original network under the same weights.
NUMBERS = {
    "lseg_mini": "our own network",
    "lseg_mini_street": "our own network",
    "lseg_vit_l16": "same as the original's (on a reduced twin)",
    "lseg_vit_l16_rn50x16": "same as the original's (on a reduced twin)",
    "lseg_vit_b32": "same as the original's (on a reduced twin)",
    "lseg_rn101": "same as the original's (with a reduced decoder)",
}


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "models",
        help="list the variants, and where their weights are",
        description="Lists the variants, where their weights are expected, and whether they are there. The folder is "
        "$LSEG_WEIGHTS, or lseg_ros in the user's cache. Each variant exists with a head block too, as in "
        "lseg_vit_l16+bottleneck2 or lseg_vit_l16+depthwise1-tanh.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the table of variants. Returns the exit status."""
    rows = [("variant", "image encoder", "text encoder", "numbers", "weights")]
    for name, variant in VARIANTS.items():
        rows.append((name, image_encoder(variant), text_encoder(variant), NUMBERS[name], _weights(variant)))
    for name, variant in HUB_VARIANTS.items():
        row = (name, image_encoder(variant), text_encoder(variant), "the library's (with random weights)")
        rows.append((*row, _weights(variant)))
    print(table(rows))
    return 0


def _weights(variant: Variant) -> str:
    try:
        return f"here: {weights_path(variant.name)}"
    except (FileNotFoundError, ValueError) as error:
        if isinstance(variant.backbone, HubBackbone):
            command = f"lseg fetch {variant.name}"
            return f"missing: {where_expected(variant)} ({command}; licence {variant.backbone.licence})"
        if variant.weights is None:
            return f"missing: {where_expected(variant)}"
        return f"not usable: {error}"
