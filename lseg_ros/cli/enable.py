"""The command `lseg enable`, which makes a running node take images, or stop taking them."""

import argparse
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, with_node

if TYPE_CHECKING:
    from lseg_ros.ros.client import RemoteNode


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "enable",
        help="make a running node take images, or take no more",
        description=f"Makes a running node take images (on), or take no more (off); model and labels stay.\n\n"
        f"{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("state", choices=["on", "off"])
    add_node_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the node's message. Returns the exit status."""

    def work(node: "RemoteNode") -> int:
        print(f"{node.name}: {node.enable(options.state == 'on')}")
        return 0

    return with_node(options, work)
