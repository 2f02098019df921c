"""Options that several commands take."""

import argparse
from pathlib import Path

from lseg_ros.model.variants import Variant, from_json

VARIANT_HELP = (
    "what the weights file holds, where it cannot tell: a name (see `lseg models`), or a *.json file with the numbers, "
    "as lseg_ros.model.variants.to_json writes them"
)


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Adds --device, --precision, --backend and --exported; their values are Segmenter's to check."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, float32, float16, bfloat16 or int8 (default: auto)")
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, onnxruntime, openvino, tensorrt, or auto, which measures (default: torch)",
    )
    parser.add_argument("--exported", type=Path, help="file of `lseg export` for the backend to run")


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
