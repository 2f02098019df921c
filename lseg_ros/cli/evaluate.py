"""`lseg eval`."""

import argparse
import json
from pathlib import Path
from typing import Any

from lseg_ros.cli.options import output_path


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser("eval", help="measure a model on images with masks")
    parser.add_argument("--config", type=Path, required=True, help="config/eval/*.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder that the paths in the config are relative to")
    parser.add_argument("--model", default="lseg_mini", help="named variant or weights file (default: lseg_mini)")
    parser.add_argument("--labels", help="other words for the config's labels, in its order, separated by commas")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", type=output_path, help="write the figures here too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures and prints a table; returns the exit status."""
    from lseg_ros import Segmenter, load_model
    from lseg_ros.training.config import read_source
    from lseg_ros.training.data import Source
    from lseg_ros.training.evaluate import evaluate, table

    source = Source(read_source(options.config), options.data)
    segmenter = Segmenter(load_model(options.model), options.device)
    words = None if options.labels is None else options.labels.split(",")
    names, metrics = evaluate(segmenter, source, words)
    print(table(names, metrics))
    if options.json:
        figures = {"pixel_accuracy": metrics.pixel_accuracy, "mean_iou": metrics.mean_iou}
        options.json.write_text(
            json.dumps({**figures, "iou": dict(zip(names, metrics.iou, strict=True)), "images": len(source)}, indent=2)
        )
    return 0
