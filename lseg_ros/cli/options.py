"""Options of several commands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lseg_ros.files import from_home
from lseg_ros.model.variants import Variant, from_json

if TYPE_CHECKING:
    from lseg_ros.inference.labels import IdRules
    from lseg_ros.inference.segmenter import Segmenter

VARIANT_HELP = (
    "what the weights file holds, where it cannot tell: a name (see `lseg models`), or a *.json file with the numbers, "
    "as lseg_ros.model.variants.to_json writes them"
)

WINDOW_HELP = (
    "side in pixels of overlapping windows in which the network sees an input of --input-size, for encoders that were "
    "trained with images of one size"
)


def add_segmenter_options(parser: argparse.ArgumentParser) -> None:
    """Adds the labels, the model and its options: everything that `segmenter_of` reads."""
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--labels", help='separated by commas, as in "dog, grass, other"')
    labels.add_argument("--label-file", type=user_path, help="YAML file with labels, as the node takes it")
    parser.add_argument(
        "--threshold", type=float, default=0.0, help="confidence, 0 to 1, below which a pixel is unknown"
    )
    add_model_options(parser)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the model and its options: everything that `unlabelled_segmenter_of` reads."""
    parser.add_argument("--model", default="lseg_mini", help="variant or weights file (default: lseg_mini)")
    parser.add_argument("--variant", help=VARIANT_HELP)
    parser.add_argument("--input-size", type=int, help="longest side in pixels that the network sees")
    parser.add_argument("--window", type=int, help=WINDOW_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--precision", default="auto", help="auto, float32, tf32, float16, bfloat16 or int8 (default: auto)"
    )
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, onnxruntime, openvino, tensorrt, or auto, which measures (default: torch)",
    )
    parser.add_argument("--exported", type=user_path, help="file of `lseg export` for the backend to run")


def segmenter_of(options: argparse.Namespace, device: str | None = None) -> "Segmenter":
    """Builds the segmenter with the labels of the options.

    Args:
        options: The command's options.
        device: A device that replaces that of the options.

    Raises:
        ValueError: An option cannot be used.
        FileNotFoundError: A file does not exist.
    """
    from lseg_ros.inference.label_file import read_label_file
    from lseg_ros.inference.labels import IdRules, as_specs

    labels = read_label_file(options.label_file) if options.label_file else as_specs(options.labels.split(","))
    rules = IdRules()
    if max([len(labels), *(label.class_id or 0 for label in labels)]) >= rules.unknown_id:
        rules = IdRules(max_id=65535, unknown_id=65535)  # masks have 16 bits then
    segmenter = unlabelled_segmenter_of(options, device, threshold=options.threshold, rules=rules)
    segmenter.set_labels(labels)
    return segmenter


def unlabelled_segmenter_of(
    options: argparse.Namespace, device: str | None = None, *, threshold: float = 0.0, rules: "IdRules | None" = None
) -> "Segmenter":
    """As `segmenter_of`, without labels."""
    if options.window is not None and getattr(options, "multiscale", False):
        raise ValueError("--multiscale has windows of its own; leave out --window")
    from lseg_ros import Segmenter, load_model

    return Segmenter(
        load_model(options.model, variant_option(options.variant)),
        options.device if device is None else device,
        options.precision,
        options.input_size,
        window=options.window,
        backend=options.backend,
        exported=options.exported,
        threshold=threshold,
        rules=rules,
    )


def user_path(text: str) -> Path:
    """Parses an option that names a file or folder. It replaces ~, which the shell leaves in --output=~/out.png."""
    if not text:  # Path would read it as the current folder
        raise argparse.ArgumentTypeError("the name is empty")
    try:
        return from_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def variant_option(text: str | None) -> str | Variant | None:
    """Returns the name of a variant, or the variant in a .json file; raises ValueError if the file has none."""
    if text is None or not text.lower().endswith(".json"):
        return text
    try:
        return from_json(from_home(text).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text} cannot be used: {error}") from error
