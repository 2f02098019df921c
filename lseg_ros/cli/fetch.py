"""The command `lseg fetch`."""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lseg_ros.cli.describe import megabytes

_WANTED = ["*.json", "*.safetensors", "tokenizer*", "*.txt", "*.md", "LICENSE*"]

_DESCRIPTION = """\
Fetches a model's weights from the Hub, once, into the folder where `lseg models` expects them. First it prints what it
fetches, how much, under which licence and where to. No other command of this package fetches anything. You can stop it
at any moment; the same command continues. With HF_HUB_OFFLINE=1 it takes only what is in the Hub's cache already.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "fetch",
        help="fetch a model's weights from the Hub",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="variant, see `lseg models`")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetches a model. Returns the exit status."""
    from lseg_ros.model.variants import HUB_VARIANTS, HubBackbone
    from lseg_ros.model.weight_files import user_weights

    variant = HUB_VARIANTS.get(options.model)
    if variant is None:
        raise ValueError(f"{options.model} is not on the Hub; {', '.join(HUB_VARIANTS)} are. `lseg models` lists all")
    backbone = variant.backbone
    assert isinstance(backbone, HubBackbone)
    places = user_weights(variant)
    if not places:
        raise ValueError("there is no home folder to put the weights into; set LSEG_WEIGHTS to a folder")
    if find_spec("transformers") is None:
        raise ValueError(
            "models of the Hub need the library transformers; run in the folder of lseg_ros: pip install '.[hub]'"
        )
    folder = places[0].parent
    print(f"{variant.name}: {backbone.repository}, about {megabytes(backbone.size)}, licence {backbone.licence}")
    print(f"into {folder}", flush=True)
    _fetch(backbone.repository, folder)
    print(f"{variant.name} is there; give it as the model")
    return 0


def _fetch(repository: str, folder: Path) -> None:
    """Downloads a repository; raises OSError if that fails."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, local_dir=folder, allow_patterns=_WANTED)
    except Exception as error:  # the library and those below it raise a dozen classes for network failures
        reason = " ".join(str(error).split())
        raise OSError(
            f"{repository} could not be fetched: {reason}. Where there is no internet, fetch it on another machine and "
            f"copy the folder to {folder}"
        ) from error
