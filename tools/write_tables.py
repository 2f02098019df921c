"""Writes what the documents and configuration files say of options, from the code that declares the options.

`make tables` runs it. A test compares the files with the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import fill
from typing import Any

import yaml

from lseg_ros.ros import image_player
from lseg_ros.ros.given_parameters import Entry
from lseg_ros.ros.parameter_table import TABLE
from lseg_ros.training.config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
NODE_FILE = "config/lseg.yaml"

_WIDTH = 120  # characters of a line in configuration files
_HEAD = """\
# Every parameter of the node, with its default. Copy this file, edit the copy, and give it to the node:
#   ros2 launch lseg_ros lseg.launch.py params_file:=/path/to/my.yaml
#   lseg_node --ros-args --params-file /path/to/my.yaml
# Parameters marked (live) can change while the node runs: ros2 param set /lseg threshold 0.4
# Those marked (at start) are fixed after the start. All others can change while the node is unconfigured:
#   ros2 lifecycle set /lseg deactivate; ros2 lifecycle set /lseg cleanup; ros2 param set /lseg input_size 320
#   ros2 lifecycle set /lseg configure; ros2 lifecycle set /lseg activate
# `make tables` writes this file from lseg_ros/ros/parameter_table.py.

/**:
  ros__parameters:
"""
# The first parameter of each part of the file.
_PARTS = {
    "autostart": "Start",
    "model": "Model",
    "cameras": "Images",
    "labels": "Labels",
    "output_size": "What is published",
}
# Goes before the part "Labels".
_QOS = """\
    # Quality of service of a topic (reliability, depth): by default images come in as the camera offers them. This line
    # makes them best effort in any case, under whatever name they come:
    #   qos_overrides.image.subscription.reliability: best_effort
"""
_MARKS = {"live": "(live) ", "never": "(at start) ", "unconfigured": ""}
_CHANGES = {"live": "live", "never": "at start", "unconfigured": "unconfigured"}


def training_entries() -> str:
    """Returns the entries of a training configuration."""
    rows = []
    for field in fields(TrainConfig):
        shown = field.metadata["shown"]
        default = f"`{shown}`" if shown and shown not in ("none", "random", "all") else shown
        rows.append((f"`{field.name}`", default, field.metadata["meaning"]))
    return _table(("entry", "default", "meaning"), rows)


def node_parameters() -> str:
    """Returns the parameters of the node."""
    rows = [
        (f"`{entry.name}`", f"`{_in_yaml(entry.default)}`", _allowed(entry), _CHANGES[entry.changes], entry.description)
        for entry in TABLE
    ]
    return _table(("parameter", "default", "values", "changes", "meaning"), rows)


def player_parameters() -> str:
    """Returns the parameters of the image player."""
    rows = [
        (f"`{entry.name}`", f"`{_in_yaml(entry.default)}`", _allowed(entry), entry.description)
        for entry in image_player.TABLE
    ]
    return _table(("parameter", "default", "values", "meaning"), rows)


def node_file() -> str:
    """Returns the whole configuration file of the node."""
    text = _HEAD
    for entry in TABLE:
        if entry.name in _PARTS:
            text += _QOS if _PARTS[entry.name] == "Labels" else ""
            text += f"\n    # ==== {_PARTS[entry.name]} ====\n\n"
        comment = f"{_MARKS[entry.changes]}{entry.explained}"
        text += fill(comment, _WIDTH, initial_indent="    # ", subsequent_indent="    # ", break_on_hyphens=False)
        text += f"\n    {entry.name}: {_in_yaml(entry.default)}\n"
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _in_yaml(value: Any) -> str:
    if value == "":
        return '""'
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()


def _allowed(entry: Entry) -> str:
    """Returns the allowed values in a few words."""
    if entry.kind:
        return entry.kind
    if entry.choices:
        return ", ".join(entry.choices)
    if isinstance(entry.default, bool):
        return "true, false"
    if entry.limits:
        numbers = "number" if isinstance(entry.default, float) else "whole number"
        return f"{numbers}, {entry.limits[0]:g} to {entry.limits[1]:g}"
    return "list of texts" if isinstance(entry.default, list) else "text"


# The document and the name of the table's markers, and what makes the table.
TABLES: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/training.md", "training entries"): training_entries,
    ("docs/node.md", "node parameters"): node_parameters,
    ("docs/node.md", "player parameters"): player_parameters,
}
# The files that are written whole, and what makes them.
FILES: dict[str, Callable[[], str]] = {NODE_FILE: node_file}


def with_tables(path: str, text: str) -> str:
    """Returns a document's text with its tables as they should be.

    Raises:
        ValueError: The document lacks the markers of one of its tables.
    """
    for (document, name), table in TABLES.items():
        if document != path:
            continue
        begin, end = f"<!-- {name} -->\n\n", f"\n\n<!-- /{name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{path} has no {begin.strip()} ... {end.strip()}; put both where the table belongs")
        before, rest = text.split(begin, 1)
        text = before + begin + table() + end + rest.split(end, 1)[1]
    return text


def main() -> None:
    """Writes every table and every file."""
    for document in sorted({document for document, _ in TABLES}):
        path = ROOT / document
        path.write_text(with_tables(document, path.read_text(encoding="utf-8")), encoding="utf-8")
    for name, content in FILES.items():
        (ROOT / name).write_text(content(), encoding="utf-8")


if __name__ == "__main__":
    main()
