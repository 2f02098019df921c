"""Options that several commands take."""

import argparse
from pathlib import Path

from lseg_ros.model.variants import Variant, from_json

VARIANT_HELP = (
    "what the weights file holds, where it cannot tell: a name (see `lseg models`), or a *.json file with the numbers, "
    "as lseg_ros.model.variants.to_json writes them"
)


def output_path(text: str) -> Path:
    """The type of options that name an output."""
    if not text:  # which Path takes for the current folder
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def variant_option(text: str | None) -> str | Variant | None:
    """A variant's name as it is, or the variant in a .json file; raises ValueError where the file is not one."""
    if text is None or not text.lower().endswith(".json"):
        return text
    try:
        return from_json(Path(text).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text} cannot be used: {error}") from error
