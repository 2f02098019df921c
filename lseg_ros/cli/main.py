"""`lseg`: what needs no ROS."""

import argparse
import json
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"lseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lseg", description="Language-driven semantic segmentation.")
    commands = parser.add_subparsers(required=True, metavar="command")

    train = commands.add_parser("train", help="train a model, or continue a run that was stopped")
    train.add_argument("--config", type=Path, required=True, help="config/train/*.yaml")
    train.add_argument("--data", type=Path, required=True, help="folder that the paths in the config are relative to")
    train.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the weights")
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("eval", help="measure a model on images with masks")
    evaluate.add_argument("--config", type=Path, required=True, help="config/eval/*.yaml")
    evaluate.add_argument(
        "--data", type=Path, required=True, help="folder that the paths in the config are relative to"
    )
    evaluate.add_argument("--model", default="lseg_mini", help="named variant or weights file (default: lseg_mini)")
    evaluate.add_argument("--labels", help="other words for the config's labels, in its order, separated by commas")
    evaluate.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    evaluate.add_argument("--json", type=Path, help="write the figures here too")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _train(options: argparse.Namespace) -> None:
    # Imported by the command that needs it: torch takes seconds, and --help should not.
    from lseg_ros.training.config import read_config
    from lseg_ros.training.trainer import Trainer

    trainer = Trainer(read_config(options.config), options.data, options.out, options.device)
    trainer.resume()
    print(f"trained; the weights are in {trainer.run()}")


def _evaluate(options: argparse.Namespace) -> None:
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
