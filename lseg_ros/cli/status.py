"""The command `lseg status`, which shows the state of a running node from its diagnostics."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import table
from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, with_node

if TYPE_CHECKING:
    from lseg_ros.ros.client import RemoteNode

_PATIENCE = 10.0  # seconds without a status; the node sends one each second
_LEVELS = {0: "OK", 1: "WARNING", 2: "ERROR", 3: "STALE"}
_CLEAR = "\x1b[2J\x1b[H"  # clears the terminal
_DESCRIPTION = f"""\
Shows the state of a running node, and why nothing comes if nothing comes: its diagnostics as a table. In a terminal the
table is renewed each second until Ctrl-C; elsewhere, and with --once, it is printed once.

{EXIT_STATUS}With --once it is also 1 if the node reports a warning or an error.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "status",
        help="show the state of a running node, and why nothing comes",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--once", action="store_true", help="print the table once, and end")
    add_node_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the table. Returns the exit status."""
    once = options.once or not sys.stdout.isatty()

    def work(node: "RemoteNode") -> int:
        from lseg_ros.ros.client import NoAnswer, StatusWatch

        watch = StatusWatch(node.session, node.name)
        try:
            while True:
                statuses = watch.take(_PATIENCE)
                if not statuses:
                    raise NoAnswer(f"{node.name} has sent no diagnostics for {_PATIENCE:g} s; it may be stuck, or gone")
                text = "\n\n".join(status_table(node.name, status) for status in statuses)
                if once:
                    print(text)
                    return 1 if options.once and any(_level(status) for status in statuses) else 0
                print(_CLEAR + text, flush=True)
        except KeyboardInterrupt:
            return 0

    return with_node(options, work)


def status_table(node: str, status: Any) -> str:
    """Returns one status as text: level and message, the values, and the times of each stage.

    Args:
        node: The node's name.
        status: The DiagnosticStatus.
    """
    values = {pair.key: pair.value for pair in status.values if pair.value and pair.key != "node"}
    stages = [key.removesuffix("_p50_ms") for key in values if key.endswith("_p50_ms")]
    times = [(stage, values.pop(f"{stage}_p50_ms"), values.pop(f"{stage}_p95_ms", "")) for stage in stages]
    what = status.name.partition(": ")[2] or status.name
    parts = [f"{node}, {what}: {_LEVELS.get(_level(status), '?')}: {status.message}", _columns(list(values.items()))]
    if times:
        parts.append(table([("stage", "half under (ms)", "95 % under (ms)"), *times]))
    return "\n\n".join(part for part in parts if part)


def _level(status: Any) -> int:
    level = status.level  # rclpy has a byte as bytes
    return level[0] if isinstance(level, bytes) else int(level)


def _columns(pairs: Sequence[tuple[str, str]]) -> str:
    width = max((len(key) for key, _ in pairs), default=0)
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in pairs)
