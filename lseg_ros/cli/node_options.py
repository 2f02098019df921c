"""Options and errors of the commands that talk to a running node."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lseg_ros.ros.client import RemoteNode

_ANSWER_WITHIN = 60.0  # least seconds to wait for an answer, because a node that has just started loads its model first
_NO_NODE = 3  # the exit status if no node is found or none answers
EXIT_STATUS = f"""\
Exit status: 0 done; 1 the node refused, or something given here cannot be used; 2 the command line is wrong;
{_NO_NODE} no such node, or no answer in time.
"""


def add_node_options(parser: argparse.ArgumentParser, *, camera: bool = False) -> None:
    """Adds the options that choose a node.

    Args:
        parser: The command's parser.
        camera: Whether to add an option that chooses a camera of the node.
    """
    parser.add_argument("--node", metavar="NAME", help="such as /robot1/lseg; needed only if there are several")
    parser.add_argument(
        "--wait",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="for the node to be found (default: 5), and to answer (at least 60)",
    )
    if camera:
        parser.add_argument("--camera", default="", metavar="NAME", help="of a node with several cameras")


def with_node(options: argparse.Namespace, work: Callable[["RemoteNode"], int]) -> int:
    """Finds the node and passes it to a function.

    Args:
        options: The options of `add_node_options`.
        work: Called with the node; returns the exit status.

    Returns:
        The exit status. If there was a ClientError, it has been printed.

    Raises:
        ValueError: ROS is not installed.
    """
    try:
        from lseg_ros.ros.client import ClientError, Refused, RemoteNode, Session, choose_node
    except ImportError as error:
        raise ValueError(
            f"this command needs ROS 2 and the package built for it ({error}); source your distribution and your "
            "workspace, or run `make env` and then `. ./env.sh`"
        ) from error
    try:
        with Session() as session:
            info = choose_node(session, options.node, options.wait)
            if info.count > 1:
                warn(f"{info.count} nodes are called {info.name}, and any of them may answer; end all but one")
            return work(RemoteNode(session, info, max(options.wait, _ANSWER_WITHIN)))
    except ClientError as error:
        warn(str(error))
        return 1 if isinstance(error, Refused) else _NO_NODE


def warn(text: str) -> None:
    """Prints a sentence on standard error."""
    print(f"lseg: {text}", file=sys.stderr, flush=True)
