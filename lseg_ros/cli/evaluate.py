"""The command `lseg eval`."""

import argparse
import math
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.options import WINDOW_HELP, user_path
from lseg_ros.files import sha256

if TYPE_CHECKING:
    from lseg_ros.data.common import Dataset
    from lseg_ros.data.episodes import EpisodeSet
    from lseg_ros.evaluation.config import EvalConfig
    from lseg_ros.evaluation.metrics import EpisodeMetrics, Metrics
    from lseg_ros.evaluation.scoring import Scorer
    from lseg_ros.evaluation.subject import Subject
    from lseg_ros.training.config import TrainConfig


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser("eval", help="measure a model on images with masks")
    parser.add_argument("--config", type=user_path, required=True, help="config/eval/*.yaml")
    parser.add_argument("--data", type=user_path, required=True, help="folder that paths in the config are relative to")
    parser.add_argument("--model", default="lseg_mini", help="named variant or weights file (default: lseg_mini)")
    parser.add_argument("--labels", help="other words for the config's labels, in its order, separated by commas")
    parser.add_argument(
        "--training",
        type=user_path,
        nargs="+",
        default=[],
        help="the model's config/train/*.yaml, and that of its initial weights, to show which words it was trained on",
    )
    parser.add_argument("--input-size", type=int, help="longest side in pixels that the network sees")
    parser.add_argument("--window", type=int, help=WINDOW_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--multiscale", action="store_true", help="measure the original's slow evaluation over scales and mirrors, too"
    )
    parser.add_argument(
        "--limit", type=_count, help="measure this many images or episodes, evenly spread (default: all)"
    )
    parser.add_argument("--out", type=user_path, help="folder for report.json and report.html, with all analyses")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images; give 1 or more")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Measures a model, prints a table and writes the report. Returns the exit status."""
    from lseg_ros.data.catalogue import open_dataset
    from lseg_ros.data.episodes import EpisodeSet
    from lseg_ros.evaluation.config import read_eval_config

    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if options.out and missing:
        raise ValueError(f"--out needs {' and '.join(missing)}; run in the folder of lseg_ros: pip install '.[train]'")
    config = read_eval_config(options.config)
    data = open_dataset(config.data, options.data, str(options.config))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)  # an error should come now, not after hours
    if isinstance(data, EpisodeSet):
        _run_episodes(options, config, data)
    else:
        _run_dense(options, config, data)
    if options.out:
        print(f"the report is {options.out / 'report.html'}")
    return 0


def _run_dense(options: argparse.Namespace, config: "EvalConfig", data: "Dataset") -> None:
    from lseg_ros import load_model
    from lseg_ros.evaluation.config import check_against, check_words, with_training
    from lseg_ros.evaluation.dense import evaluate, measure
    from lseg_ros.evaluation.report import write_report
    from lseg_ros.evaluation.scoring import Scorer
    from lseg_ros.evaluation.subset import Subset
    from lseg_ros.training.config_reader import read_config

    if config.labels is not None:
        data = Subset(data, config.labels)
    check_against(config, data.labels, str(options.config))
    if options.training:
        met = set().union(*(_training_words(read_config(path), options.data, str(path)) for path in options.training))
        config = with_training(config, data.labels, met)
    words = data.labels
    if options.labels is not None:
        words = [word.strip() for word in options.labels.split(",")]
        check_words(words, data.labels, "--labels")
    scorer = Scorer(load_model(options.model), options.device, options.input_size, options.window)
    indices = _progress(len(data), options.limit, "image")
    if not options.out:
        print(table(words, evaluate(scorer, data, words, indices)))
        if options.multiscale:
            indices = _progress(len(data), options.limit, "image")
            print(f"multi-scale: {summary(evaluate(scorer, data, words, indices, multiscale=True))}")
        return
    result = measure(scorer, data, config, indices, words, multiscale=options.multiscale)
    write_report(options.out, _subject(options, scorer, data.name, len(data)), config, result)
    print(table(words, result.metrics))
    if result.multiscale:
        print(f"multi-scale: {summary(result.multiscale)}")


def _run_episodes(options: argparse.Namespace, config: "EvalConfig", episodes: "EpisodeSet") -> None:
    from lseg_ros import load_model
    from lseg_ros.evaluation.few_shot import SIDE, measure_episodes
    from lseg_ros.evaluation.report import write_report
    from lseg_ros.evaluation.scoring import Scorer

    if (
        options.labels
        or options.multiscale
        or options.input_size
        or options.window
        or config.labels
        or config.words
        or config.unseen
    ):
        raise ValueError(
            f"{options.config} holds episodes, which the original measures in one pass at {SIDE}x{SIDE} pixels under "
            "the classes' own names; leave out --labels, --multiscale, --input-size, --window, and labels, words and "
            "unseen in the file"
        )
    scorer = Scorer(load_model(options.model), options.device, input_size=SIDE)
    result = measure_episodes(scorer, episodes, _progress(len(episodes), options.limit, "episode"))
    if options.out:
        name = f"{type(episodes).__name__} {episodes.split}"
        write_report(options.out, _subject(options, scorer, name, len(episodes)), config, result)
    print(episode_table(result.labels, result.metrics))


def _training_words(config: "TrainConfig", root: Path, where: str) -> set[str]:
    """Returns all phrases of a training run and of the runs that it starts from.

    Raises what the reading of data sets raises.
    """
    from lseg_ros.data.catalogue import open_dataset
    from lseg_ros.data.episodes import EpisodeSet
    from lseg_ros.training.config import Run

    words: set[str] = set()
    for first in config.init:
        if isinstance(first, Run):
            words |= _training_words(first.config, root, f"{where}, {first.name}")
    for name, source in config.sources.items():
        data = open_dataset(source.data, root, f"{where}, {name}", config.words, config.without)
        words |= set(data.labels if isinstance(data, EpisodeSet) else (p for all_ in data.phrases for p in all_))
    return words


def _progress(size: int, limit: int | None, unit: str) -> Iterable[int]:
    """Returns the indices to measure, evenly spread, with a progress bar in a terminal."""
    from tqdm import tqdm

    count = min(size, limit or size)
    return tqdm([i * size // count for i in range(count)], unit=unit, leave=False, disable=None)


def _subject(options: argparse.Namespace, scorer: "Scorer", data: str, size: int) -> "Subject":
    from lseg_ros.evaluation.subject import Subject
    from lseg_ros.model.weight_files import weights_path

    segmenter, net = scorer.segmenter, scorer.net
    return Subject(
        model=options.model if not Path(options.model).suffix else Path(options.model).name,
        sha256=sha256(weights_path(options.model)),
        variant=net.variant.name,
        licence=net.licence,
        device=str(segmenter.device),
        precision=segmenter.precision,
        input_size=segmenter.input_size,
        window=segmenter.window,
        data=data,
        size=size,
        config=options.config.name,
    )


def summary(metrics: "Metrics") -> str:
    """Returns the main figures in one line, in percent."""
    return f"mIoU {100 * metrics.mean_iou:.1f} %, pixel accuracy {100 * metrics.pixel_accuracy:.1f} %"


def table(names: Sequence[str], metrics: "Metrics") -> str:
    """Returns the figures as text, in percent. A class that does not occur has a dash.

    Args:
        names: The classes.
        metrics: Their figures.
    """
    width = max(map(len, names))
    rows = [
        f"{name:<{width}}  {'-' if math.isnan(iou) else f'{100 * iou:.1f}':>5}"
        for name, iou in zip(names, metrics.iou, strict=True)
    ]
    return "\n".join([*rows, f"{summary(metrics)}, FB-IoU {100 * metrics.fb_iou:.1f} %"])


def episode_table(labels: dict[int, str], metrics: "EpisodeMetrics") -> str:
    """Returns the figures of episodes as text, in percent.

    Args:
        labels: Names of the classes by id.
        metrics: Their figures.
    """
    width = max(map(len, labels.values()))
    rows = [f"{labels[class_id]:<{width}}  {100 * iou:5.1f}" for class_id, iou in metrics.iou.items()]
    return "\n".join([*rows, f"mIoU {100 * metrics.mean_iou:.1f} %, FB-IoU {100 * metrics.fb_iou:.1f} %"])
