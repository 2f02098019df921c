"""The command `lseg labels`, which shows or sets the labels of a running node."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import table
from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, with_node
from lseg_ros.cli.options import user_path
from lseg_ros.files import from_home

if TYPE_CHECKING:
    from lseg_ros.inference.labels import LabelSpec
    from lseg_ros.ros.client import RemoteNode

_FILES = (".yaml", ".yml")
_DESCRIPTION = f"""\
Shows the labels of a running node, or replaces them:

  lseg labels                               shows them
  lseg labels path grass "person, standing" sets these three: each argument is one label
  lseg labels outdoor.yaml                  sets those of a label file, which is read here
  lseg labels --save robot.yaml             writes them into a label file, with what they were taught

A change is all or nothing and takes effect at once, also on the last image.

{EXIT_STATUS}"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "labels",
        help="show or set the labels of a running node",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="the new labels, or one label file (.yaml)")
    parser.add_argument(
        "--force", action="store_true", help="accept ids that move a label, or that another label had a moment ago"
    )
    parser.add_argument("--save", type=user_path, metavar="FILE", help="write the labels in force into a label file")
    add_node_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sets the labels if some are given, and prints those in force. Returns the exit status."""
    wanted = _wanted(options.labels)
    if options.force and not wanted:
        raise ValueError("--force goes with labels to set; give some")

    def work(node: "RemoteNode") -> int:
        if wanted:
            response = node.set_labels(wanted, force=options.force)
            print(response.message)
            labels = response.label_set
        else:
            labels = node.labels()
        if not labels.labels:
            print(f"{node.name} has no labels yet; it is not configured")
            return 0
        print(f"{node.name}, version {labels.version}:")
        print(label_table(labels.labels, colored=sys.stdout.isatty()))
        if options.save is not None:
            _save(labels.labels, from_home(options.save))
        return 0

    return with_node(options, work)


def _save(labels: Sequence[Any], path: Path) -> None:
    from lseg_ros.files import replacing
    from lseg_ros.inference.label_file import label_file_text
    from lseg_ros.ros.label_msgs import label_spec

    with replacing(path) as part:
        part.write_text(label_file_text([label_spec(label) for label in labels]), encoding="utf-8")
    print(f"wrote {path}")


def _wanted(given: Sequence[str]) -> "Sequence[str | LabelSpec]":
    files = [text for text in given if text.lower().endswith(_FILES)]
    if not files:
        return given
    if len(given) > 1:
        raise ValueError(f"{files[0]} is a label file, and there is more than that; give the file alone, or labels")
    from lseg_ros.inference.label_file import read_label_file

    return read_label_file(from_home(files[0]))


def label_table(labels: Sequence[Any], *, colored: bool) -> str:
    """Returns labels as a table.

    Args:
        labels: Messages of lseg_ros/msg/Label.
        colored: Whether to show each color as a square, for terminals.
    """
    with_prompts = any(list(label.prompts) not in ([], [label.name]) for label in labels)
    rows = [["label", "id", "color", "threshold", *(["prompts"] if with_prompts else [])]]
    for label in labels:
        rgb = tuple(round(255 * c) for c in (label.color.r, label.color.g, label.color.b))
        row = [
            label.name,
            "background" if label.background else str(label.class_id),
            "#{:02x}{:02x}{:02x}".format(*rgb),
            f"{label.threshold:.2f}" if label.threshold else "-",
        ]
        rows.append([*row, *(["; ".join(label.prompts)] if with_prompts else [])])
    lines = table(rows).splitlines()
    if colored:
        squares = ["  ", *("\x1b[38;2;{};{};{}m\u25a0\x1b[0m ".format(*_rgb(row[2])) for row in rows[1:])]
        lines = [square + line for square, line in zip(squares, lines, strict=True)]
    return "\n".join(lines)


def _rgb(code: str) -> tuple[int, int, int]:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)
