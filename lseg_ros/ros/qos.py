"""Quality of service of every topic, and what users may override of it, in one place."""

from typing import Any, Literal

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

# Matches any camera; only the newest image matters.
IMAGE_IN = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# A reliable publisher serves reliable and best-effort readers alike.
OUTPUT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
# State: whoever comes late gets the last one.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# For what is destroyed while the node runs: the executor waits on events, and trips over one that goes meanwhile.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
_RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
_DEEPEST = 1000


class QosError(ValueError):
    """An override of quality of service that the node cannot use; one sentence."""


def overridden(node: Node, topic: str, entity: Literal["publisher", "subscription"], default: QoSProfile) -> QoSProfile:
    """The default with what ROS's usual parameters, `qos_overrides.<topic>.<entity>.<policy>`, say of it.

    rclpy declares them too, but only when a topic is made, in the profile that it is given (the default of all others),
    and its errors name no parameter. Here they are known before a subscription is.

    Args:
        topic: as given to create_publisher or create_subscription; the parameters have its resolved name.

    Raises:
        QosError: a value cannot be used.
    """
    prefix = f"qos_overrides.{node.resolve_topic_name(topic)}.{entity}"
    reliability = _declared(node, f"{prefix}.reliability", default.reliability.name.lower())
    depth = _declared(node, f"{prefix}.depth", default.depth)
    history = _declared(node, f"{prefix}.history", "keep_last")
    if reliability not in _RELIABILITIES:
        raise QosError(f"parameter '{prefix}.reliability' is {reliability!r}; it must be reliable or best_effort")
    if not 1 <= depth <= _DEEPEST:
        raise QosError(f"parameter '{prefix}.depth' is {depth}; it must be from 1 to {_DEEPEST}")
    if history != "keep_last":
        raise QosError(f"parameter '{prefix}.history' is {history!r}; it must be keep_last, or images would pile up")
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=_RELIABILITIES[reliability],
        durability=default.durability,
    )


def _declared(node: Node, name: str, default: Any) -> Any:
    if not node.has_parameter(name):
        descriptor = ParameterDescriptor(description="Quality of service of a topic.", read_only=True)
        try:
            node.declare_parameter(name, default, descriptor)
        except Exception as error:  # rclpy has one exception for each way in which an override can be wrong
            raise QosError(f"parameter {name!r} cannot be used: {error}") from error
    return node.get_parameter(name).value
