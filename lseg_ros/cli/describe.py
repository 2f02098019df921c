"""Describes networks in words, and prints tables and warnings."""

import sys
from collections.abc import Sequence

from lseg_ros.model.variants import ClipText, HubBackbone, Variant, VitBackbone

_VITS = {(1024, 24, 16): "ViT-L/16", (768, 12, 32): "ViT-B/32"}  # by width, depth and patch
_CLIPS = {(512, 12): "CLIP ViT-B/32", (768, 12): "CLIP RN50x16"}  # by width and layers


def image_encoder(variant: Variant) -> str:
    """Returns the name of a variant's image encoder, and of its head block if there is one."""
    backbone, block = variant.backbone, variant.head_block
    if isinstance(backbone, HubBackbone):
        return f"{backbone.repository}, patch {backbone.patch}"
    if isinstance(backbone, VitBackbone):
        numbers = (backbone.width, backbone.depth, backbone.patch)
        name = _VITS.get(numbers, "ViT {}x{}, patch {}".format(*numbers))
    else:
        name = backbone.name
    return name if block is None else f"{name}, {block.kind} block x{block.depth} ({block.activation})"


def text_encoder(variant: Variant) -> str:
    """Returns the name of a variant's text encoder."""
    text = variant.text
    if isinstance(text, ClipText):
        return _CLIPS.get((text.width, text.layers), f"CLIP text {text.width}x{text.layers}")
    return text


def megabytes(size: int) -> str:
    """Returns a size in bytes as text for people."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as lines with aligned columns. The first row is the head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def warn(text: str) -> None:
    """Prints a sentence on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(f"lseg: {text}", file=sys.stderr)
