"""Quality of service of every topic and service, and what users may override of it, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from lseg_ros.ros.given_parameters import ParameterError, declare_given, fitted, given_parameters

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

# A reliable publisher serves reliable and best-effort readers alike.
OUTPUT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
# State: whoever comes late gets the last one.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# A service that has no room for a request drops it, and its client waits for ever. ROS's default has room for ten.
SERVICE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1000, reliability=ReliabilityPolicy.RELIABLE)
# For what is destroyed while the node runs: the executor waits on events, and trips over one that goes meanwhile.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)

_RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
_AS_PUBLISHED = "best_available"  # ROS's own word for it
_DEEPEST = 1000


class QosError(ParameterError):
    """An override of quality of service that the node cannot use; one sentence."""


@dataclass(frozen=True)
class InputQos:
    """Quality of service of a subscription to a camera.

    Attributes:
        reliability: What an override asks for; None: what the publishers offer.
        depth: How many messages wait; only the newest image matters, so one is enough.
        parameter: The name of the parameter that overrides the reliability.
    """

    reliability: ReliabilityPolicy | None
    depth: int
    parameter: str

    def profile(self, publishers: Sequence[QoSProfile], before: ReliabilityPolicy | None) -> QoSProfile:
        """Returns the profile to subscribe with.

        rclpy's own "best available" looks at the publishers once, when the subscription is made, and Humble has none.
        Best effort serves every publisher, and loses large images; so reliable is chosen where all of them offer it.

        Args:
            publishers: What the publishers of the topic offer.
            before: The reliability of the subscription that there is; it stays while nobody publishes. Without one,
                reliable is tried first: that is what ROS's publishers offer if nobody says otherwise.
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
    """Returns the quality of service of a subscription to a camera, with what overrides say of it.

    Args:
        node: The node that subscribes.
        topic: As it is given to create_subscription.

    Raises:
        QosError: A value cannot be used.
    """
    policies = _Overrides(node, topic, "subscription")
    reliability = policies.get("reliability", _AS_PUBLISHED, (*_RELIABILITIES, _AS_PUBLISHED))
    depth = policies.depth(1)
    return InputQos(_RELIABILITIES.get(reliability), depth, policies.name("reliability"))


def output_qos(node: Node, topic: str) -> QoSProfile:
    """Returns the quality of service of a publisher, with what overrides say of it.

    Args:
        node: The node that publishes.
        topic: As it is given to create_publisher.

    Raises:
        QosError: A value cannot be used.
    """
    policies = _Overrides(node, topic, "publisher")
    reliability = policies.get("reliability", "reliable", tuple(_RELIABILITIES))
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=policies.depth(OUTPUT.depth), reliability=_RELIABILITIES[reliability]
    )


class _Overrides:
    """The parameters `qos_overrides.<topic>.<entity>.<policy>` of one topic.

    rclpy declares them too, but only when a topic is made, in the profile that it is given (the default of all others),
    and its errors name no parameter. Here they are known before a subscription is.

    ROS's usual name of the topic is the resolved one. People also write the name that the documents use, such as image
    or /lseg/mask, which a remap or a namespace makes another. Both are read; the resolved one goes first.
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
        """The name of a parameter; of the resolved topic where no other is given."""
        return f"qos_overrides.{topic or self._topics[0]}.{self._entity}.{policy}"

    def depth(self, default: int) -> int:
        depth = self.get("depth", default)
        self.get("history", "keep_last", ("keep_last",), "; else images would pile up")
        return depth

    def get(self, policy: str, default: Any, choices: tuple[str, ...] = (), why: str = "") -> Any:
        """Declares a policy's parameters, under each name that was given, and returns the value that counts."""
        if self._node.has_parameter(self.name(policy)):
            return self._node.get_parameter(self.name(policy)).value
        given = given_parameters(self._node)
        names = [self.name(policy, topic) for topic in self._topics]
        used = next((name for name in names if name in given), names[0])
        others = [name for name in names if name in given and given[name].value != given[used].value]
        if others:
            raise QosError(f"parameters {used!r} and {others[0]!r} are of one topic and differ; give one of them")
        try:
            value = fitted(
                used,
                given[used].value if used in given else default,
                default,
                limits=(1, _DEEPEST) if policy == "depth" else None,
            )
            if choices and value not in choices:
                must = " or ".join(choices)
                raise ParameterError(f"parameter {used!r} is {value!r}; it must be {must}{why}")
            for name in names:
                # Under the resolved name in any case, so that `ros2 param get` shows what holds.
                if (name == names[0] or name in given) and not self._node.has_parameter(name):
                    declare_given(self._node, name, value, description="Quality of service of a topic.", read_only=True)
        except ParameterError as error:
            raise QosError(str(error)) from error
        return value
