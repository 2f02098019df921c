"""`lseg train`."""

import argparse
from pathlib import Path
from typing import Any

from lseg_ros.cli.options import output_path


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser("train", help="train a model, or continue a run that was stopped")
    parser.add_argument("--config", type=Path, required=True, help="config/train/*.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder that the paths in the config are relative to")
    parser.add_argument("--out", type=output_path, required=True, help="folder for the state, the log and the weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Trains; returns the exit status."""
    from lseg_ros.training.config import read_config
    from lseg_ros.training.trainer import Trainer

    trainer = Trainer(read_config(options.config), options.data, options.out, options.device)
    trainer.resume()
    print(f"trained; the weights are in {trainer.run()}")
    return 0
