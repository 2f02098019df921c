"""The quality of service (QoS) of every topic and service, and what users can override of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from lseg_ros.ros.given_parameters import Entry, ParameterError, declare_given, fitted, given_parameters

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = [
    "LATCHED",
    "NO_EVENTS",
    "OUTPUT",
    "SERVICE",
    "InputQos",
    "QosError",
    "SubscriptionEventCallbacks",
    "input_qos",
    "output_qos",
]

# A reliable publisher serves both reliable and best-effort readers.
OUTPUT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
# For states: a late subscriber gets the last message.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# A full service queue drops requests, and their clients wait forever. ROS's default has room for ten.
SERVICE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1000, reliability=ReliabilityPolicy.RELIABLE)
# For publishers that are destroyed while the node runs: the executor waits on events and fails if one is destroyed.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)

_RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
_AS_PUBLISHED = "best_available"  # ROS's name for "as the publishers"
_DEEPEST = 1000
_DESCRIPTION = "Quality of service of a topic."  # of each parameter


class QosError(ParameterError):
    """A QoS override cannot be used. The message is one sentence."""


@dataclass(frozen=True)
class InputQos:
    """The QoS of a subscription to a camera.

    Attributes:
        reliability: The override's value; None to follow the publishers.
        depth: Length of the queue. Only the newest image matters, so 1 is enough.
        parameter: Name of the parameter that overrides the reliability.
    """

    reliability: ReliabilityPolicy | None
    depth: int
    parameter: str

    def profile(self, publishers: Sequence[QoSProfile], before: ReliabilityPolicy | None) -> QoSProfile:
        """Returns the profile to subscribe with.

        rclpy's own "best available" looks at the publishers only once, at the subscription, and Humble does not have
        it. Best effort works with every publisher but loses large images. So reliable is chosen if all publishers offer
        it.

        Args:
            publishers: The profiles of the topic's publishers.
            before: Reliability of the current subscription, which stays while nobody publishes. None: reliable is tried
                first, because it is the default of ROS's publishers.
        """
        reliability = self.reliability
        if reliability is None and publishers:
            all_reliable = all(publisher.reliability == ReliabilityPolicy.RELIABLE for publisher in publishers)
            reliability = ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=reliability or before or ReliabilityPolicy.RELIABLE,
        )


def input_qos(node: Node, topic: str) -> InputQos:
    """Returns the QoS of a subscription to a camera, with its overrides.

    Args:
        node: The node that subscribes.
        topic: The topic as given to create_subscription.

    Raises:
        QosError: An override cannot be used.
    """
    policies = _Overrides(node, topic, "subscription")
    reliability = policies.get("reliability", _AS_PUBLISHED, (*_RELIABILITIES, _AS_PUBLISHED))
    depth = policies.depth(1)
    return InputQos(_RELIABILITIES.get(reliability), depth, policies.name("reliability"))


def output_qos(node: Node, topic: str) -> QoSProfile:
    """Returns the QoS of a publisher, with its overrides.

    Args:
        node: The node that publishes.
        topic: The topic as given to create_publisher.

    Raises:
        QosError: An override cannot be used.
    """
    policies = _Overrides(node, topic, "publisher")
    reliability = policies.get("reliability", "reliable", tuple(_RELIABILITIES))
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=policies.depth(OUTPUT.depth), reliability=_RELIABILITIES[reliability]
    )


class _Overrides:
    """The parameters `qos_overrides.<topic>.<entity>.<policy>` of one topic.

    rclpy declares them too, but only when a topic is created, with the given profile as default, and its errors name no
    parameter. Here their values are known before a subscription exists.

    In ROS's convention the topic is the resolved one. People also write the name that the documents use, such as image
    or /lseg/mask, which a remap or a namespace changes. Both are read; the resolved one has precedence.
    """

    def __init__(self, node: Node, topic: str, entity: Literal["publisher", "subscription"]) -> None:
        self._node, self._entity = node, entity
        written = topic.replace("~", node.get_name(), 1)
        self._topics = list(
            dict.fromkeys(
                [
                    node.resolve_topic_name(topic),
                    node.resolve_topic_name(topic, only_expand=True),
                    "/" + written.lstrip("/"),
                    written,
                    topic,
                ]
            )
        )

    def name(self, policy: str, topic: str = "") -> str:
        """Returns the name of a parameter, for the resolved topic unless another is given."""
        return f"qos_overrides.{topic or self._topics[0]}.{self._entity}.{policy}"

    def depth(self, default: int) -> int:
        """Returns the length of the queue."""
        depth = self.get("depth", default)
        self.get("history", "keep_last", ("keep_last",), "; else images would pile up")
        return depth

    def get(self, policy: str, default: Any, choices: tuple[str, ...] = (), why: str = "") -> Any:
        """Declares a policy's parameters under each name that was given, and returns the value in use."""
        if self._node.has_parameter(self.name(policy)):
            return self._node.get_parameter(self.name(policy)).value
        given = given_parameters(self._node)
        names = [self.name(policy, topic) for topic in self._topics]
        used = next((name for name in names if name in given), names[0])
        others = [name for name in names if name in given and given[name].value != given[used].value]
        if others:
            raise QosError(f"parameters {used!r} and {others[0]!r} are of one topic and differ; give one of them")
        try:
            entry = Entry(used, default, _DESCRIPTION, limits=(1, _DEEPEST) if policy == "depth" else None)
            value = fitted(entry, given[used].value if used in given else default)
            if choices and value not in choices:
                must = " or ".join(choices)
                raise ParameterError(f"parameter {used!r} is {value!r}; it must be {must}{why}")
            for name in names:
                # Always under the resolved name too, so that `ros2 param get` shows the value in use.
                if (name == names[0] or name in given) and not self._node.has_parameter(name):
                    declare_given(self._node, Entry(name, value, _DESCRIPTION, changes="never"))
        except ParameterError as error:
            raise QosError(str(error)) from error
        return value
