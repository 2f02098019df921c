"""The command `lseg convert`."""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lseg_ros.cli.describe import megabytes
from lseg_ros.cli.options import VARIANT_HELP, user_path, variant_option
from lseg_ros.model.weight_files import weights_path

# Descriptions of tensors by the beginning of their names in the original's checkpoints.
_UNUSED = {
    "clip_pretrained.visual.": "CLIP's image tower",
    "clip_pretrained.logit_scale": "CLIP's own logit scale",
    "pretrained.model.": "classification head of the image encoder",
    "scratch.refinenet4.": "decoder unit that gets no input",
}


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "convert",
        help="rewrite a checkpoint as a small file that describes itself",
        description="Reads a checkpoint of the original LSeg, a plain state dict or a file of ours, and writes "
        "safetensors with all that is needed to load it again. What LSeg does not use is left out, and named.",
    )
    parser.add_argument("input", help="the checkpoint, or a variant whose weights are here")
    parser.add_argument("output", type=user_path, help="the file to write, *.safetensors")
    parser.add_argument("--variant", help=VARIANT_HELP)
    parser.add_argument("--half", action="store_true", help="write float16: half the size, slightly different numbers")
    parser.add_argument("--licence", help="of the weights, written into the file (default: the input's)")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Converts a checkpoint and prints what was left out. Returns the exit status."""
    if options.output.suffix != ".safetensors":
        raise ValueError(f"{options.output} must end in .safetensors, the format that is written")
    variant = variant_option(options.variant)
    if options.output.exists() and not options.force:
        raise ValueError(f"{options.output} is there already; choose another name, or give --force")

    import torch
    from tqdm import tqdm

    from lseg_ros.model.weights import load_model, own_state, save_model

    path = weights_path(options.input)
    net = load_model(path, variant)
    before, dropped = path.stat().st_size, _dropped(path)  # read now, because the output may replace the input
    dtype = torch.float16 if options.half else torch.float32
    sizes = [x.numel() * (dtype if x.is_floating_point() else x.dtype).itemsize for x in own_state(net).values()]
    with tqdm(total=sum(sizes), unit="B", unit_scale=True, disable=None, desc=options.output.name) as bar:
        save_model(net, options.output, options.licence or net.licence, dtype, bar.update)
    after = megabytes(options.output.stat().st_size)
    print(f"{path} ({megabytes(before)}) -> {options.output} ({after}): {net.variant.name}, {len(sizes)} tensors")
    for what, size in sorted(dropped.items(), key=lambda item: -item[1]):
        if size:
            print(f"dropped: {what}, {megabytes(size)}")
    small = [what for what, size in dropped.items() if not size]
    if small:
        print(f"dropped: {', '.join(small)}, no tensors")
    return 0


def _dropped(path: Path) -> dict[str, int]:
    """Returns the contents of a file that LSeg does not need, with the size of their tensors in bytes."""
    from lseg_ros.model.keymap import from_original, is_original
    from lseg_ros.model.reader import read_others, read_weights

    state, _ = read_weights(path)
    unused = from_original(state)[1] if is_original(state) else []
    dropped: dict[str, int] = defaultdict(int)
    seen: set[int] = set()
    for key in unused:
        name = key.removeprefix("net.")
        dropped[next((what for start, what in _UNUSED.items() if name.startswith(start)), name)] += state[key].nbytes
    others = read_others(path)
    for name, value in others.items():
        dropped[name] = _tensor_bytes(value, seen)
    return dict(dropped)


def _tensor_bytes(value: object, seen: set[int]) -> int:
    """Returns the size in bytes of all tensors inside a value.

    Args:
        value: Any value from a checkpoint.
        seen: Ids of values that were counted before. They are skipped, and new ones are added.
    """
    from torch import Tensor

    # Without recursion, and each value once, because lists in a file may contain themselves or share their items.
    size, left = 0, [value]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            size += item.nbytes
        elif isinstance(item, Mapping):
            left += item.values()
        elif isinstance(item, list | tuple):
            left += item
    return size
