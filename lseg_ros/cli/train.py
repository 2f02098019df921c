"""The command `lseg train`."""

import argparse
import sys
from typing import Any

from lseg_ros.cli.options import user_path


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "train",
        help="train a model, or continue a run that was stopped",
        description="Trains a model, or continues a run that was stopped. On several GPUs or machines: "
        "torchrun --nproc_per_node=N -m lseg_ros.cli train ...; see docs/training.md.",
    )
    parser.add_argument("--config", type=user_path, required=True, help="config/train/*.yaml")
    parser.add_argument("--data", type=user_path, required=True, help="folder that paths in the config are relative to")
    parser.add_argument("--out", type=user_path, required=True, help="folder for the state, the log and the weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Trains. Returns the exit status, which is that of the signal if one ended the run."""
    from lseg_ros.training.config_reader import read_config
    from lseg_ros.training.distributed import world
    from lseg_ros.training.memory import keep_freed_memory
    from lseg_ros.training.trainer import Stopped, train

    config = read_config(options.config)
    if options.device == "cpu":
        keep_freed_memory()
    with world(options.device) as processes:
        try:
            weights, is_new = train(config, options.data, options.out, processes)
        except Stopped as stop:
            if processes.is_first:
                print(f"lseg: {stop}; the same command goes on from there", file=sys.stderr)
            return 128 + stop.number
        if processes.is_first:
            print(f"{'trained' if is_new else 'this run was finished before'}; the weights are in {weights}")
    return 0
