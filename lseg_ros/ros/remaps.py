"""Finds remaps on the command line that change no name of the node, such as misspelled ones."""

from collections.abc import Iterable, Sequence

from rclpy.node import Node

from lseg_ros.ros.given_parameters import nearest


def remaps_without_effect(arguments: Sequence[str], node: Node, inputs: Iterable[str]) -> list[str]:
    """Returns a sentence for each remap that changes no name of a node.

    Args:
        arguments: The command line, as in sys.argv.
        node: The node, with all its topics and services.
        inputs: Full names of topics that it subscribes to while somebody listens.
    """
    used = {*inputs, *(publisher.topic_name for publisher in node.publishers)}
    used |= {subscription.topic_name for subscription in node.subscriptions}
    used |= {node.resolve_service_name(service.srv_name) for service in node.services}
    private = node.get_fully_qualified_name() + "/"
    known = ["image", "image/compressed", "camera_info"]
    known += [f"~/{name.removeprefix(private)}" for name in used if name.startswith(private)]
    known += [name.rsplit("/", 1)[1] for name in used if not name.startswith(private)]
    sentences = []
    for rule in _rules(arguments):
        old, new = rule.split(":=", 1)
        owner, _, old = old.rpartition(":")
        if old.startswith("__") or owner not in ("", node.get_name()):
            continue
        if node.resolve_topic_name(new, only_expand=True) not in used:
            name = node.get_fully_qualified_name()
            sentences.append(f"the remap {rule} changes no name of {name}{nearest(old, known)}")
    return sentences


def _rules(arguments: Sequence[str]) -> list[str]:
    """Returns the remap rules of a command line. ROS has already refused unreadable ones."""
    return [
        value
        for option, value in zip(arguments, arguments[1:], strict=False)
        if option in ("-r", "--remap") and ":=" in value
    ]
