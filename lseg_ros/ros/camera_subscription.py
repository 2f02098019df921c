"""A subscription to a camera whose reliability follows the topic's publishers."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from lseg_ros.ros import qos

_THROTTLE = 60.0  # seconds between repeated error messages
_UNKNOWN_NAME = "_NODE_NAME_UNKNOWN_"  # rmw's name for a publisher whose node is not known yet


class CameraSubscription:
    """Subscribes to one topic while it is needed. For the executor's thread.

    It is reliable if every publisher of the topic is, else best effort, unless an override says which. Publishers come,
    go and change. So `update` looks at them each time, and subscribes again if another reliability fits.

    Attributes:
        topic: Full name of the topic.
    """

    def __init__(self, node: Node, kind: Any, topic: str, on_message: Callable[[Any], None]) -> None:
        """Prepares the subscription.

        Args:
            node: The node that subscribes.
            kind: The message type.
            topic: The topic's name, before remapping.
            on_message: Called with every message.

        Raises:
            QosError: A QoS override cannot be used.
        """
        self._node, self._kind, self._given_topic, self._on_message = node, kind, topic, on_message
        self.topic: str = node.resolve_topic_name(topic)
        self._qos = qos.input_qos(node, topic)
        self._subscription: Subscription | None = None
        self._profile = self._qos.profile([], None)

    @property
    def is_published(self) -> bool:
        """Whether anybody publishes the topic, with any type."""
        return bool(self._publishers())

    def update(self, wanted: bool) -> None:
        """Subscribes, subscribes again with another reliability, or unsubscribes. Called several times a second.

        Args:
            wanted: Whether to be subscribed.
        """
        if not wanted:
            self._drop()
            return
        before = None if self._subscription is None else self._profile.reliability
        profile = self._qos.profile([p.qos_profile for p in self._of_our_type()], before)
        if self._subscription is not None:
            if profile.reliability == before:
                return
            word = profile.reliability.name.lower().replace("_", " ")
            self._node.get_logger().info(f"subscribing to {self.topic} again, now {word}, as its publishers are")
            self._drop()
        self._profile = profile
        try:
            self._subscription = self._node.create_subscription(
                self._kind,
                self._given_topic,
                self._on_message,
                profile,
                event_callbacks=qos.SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            )
        except Exception as error:  # for example, the process has the topic with another type, perhaps not for long
            self._node.get_logger().error(f"cannot subscribe to {self.topic}: {error}", throttle_duration_sec=_THROTTLE)

    def _drop(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_incompatible(self, event: object) -> None:
        """Replaces rclpy's warning, which would also come when the next `update` fixes the cause."""
        if self._qos.reliability is not None:
            why = self._why_incompatible()
            if why:
                self._node.get_logger().warning(why, throttle_duration_sec=_THROTTLE)

    def why_silent(self) -> str:
        """Returns one sentence about why nothing arrives, or an empty text if nobody publishes."""
        publishers = self._publishers()
        if not publishers:
            return ""
        if not self._of_our_type():
            first = publishers[0]
            return f"{_who(first)} publishes {self.topic} as {first.topic_type}, and {self._type_name} is needed"
        return self._why_incompatible() or self._why_lost(self._of_our_type())

    def _why_incompatible(self) -> str:
        for publisher in self._of_our_type():
            compatibility, reason = qos_check_compatible(publisher.qos_profile, self._profile)
            if compatibility == QoSCompatibility.ERROR:
                return (
                    f"{_who(publisher)} publishes {self.topic} with a quality of service that does not fit "
                    f"(reliability: {reason.removeprefix('ERROR: ').rstrip(';').lower()}); set the parameter "
                    f"{self._qos.parameter} to best_effort, or leave it out"
                )
        return ""

    def _why_lost(self, publishers: list[TopicEndpointInfo]) -> str:
        """Returns why nothing arrives from publishers whose type and QoS fit."""
        if all(publisher.node_name == _UNKNOWN_NAME for publisher in publishers):
            return (
                f"a publisher of {self.topic} is visible, but nothing arrives from it, not even its node's name; do "
                "both run as one user, and in containers with --ipc=host --network=host?"
            )
        fact = f"{_who(publishers[0])} publishes {self.topic}, its quality of service fits, and nothing arrives"
        if self._profile.reliability == ReliabilityPolicy.RELIABLE:
            return (
                f"{fact}; does it send at all? `ros2 topic hz {self.topic}` tells; between two machines look at the "
                "firewall and the network"
            )
        best_effort = next((p for p in publishers if p.qos_profile.reliability != ReliabilityPolicy.RELIABLE), None)
        if best_effort is None:  # then an override made the subscription best effort
            advice = f"leave out the parameter {self._qos.parameter}, since {_who(publishers[0])} is reliable"
        else:
            advice = f"make {_who(best_effort)} reliable, or publish compressed images"
        return f"{fact}; if it does send, its messages may be too large for best effort: {advice}"

    def _publishers(self) -> list[TopicEndpointInfo]:
        # rclpy resolves the name here too. A resolved name could be remapped a second time.
        return self._node.get_publishers_info_by_topic(self._given_topic)

    def _of_our_type(self) -> list[TopicEndpointInfo]:
        return [publisher for publisher in self._publishers() if publisher.topic_type == self._type_name]

    @property
    def _type_name(self) -> str:
        return f"sensor_msgs/msg/{self._kind.__name__}"

    @property
    def profile(self) -> QoSProfile:
        """The QoS profile of the current or the last subscription."""
        return self._profile


def _who(publisher: TopicEndpointInfo) -> str:
    """Returns a publisher's node for a sentence."""
    if publisher.node_name == _UNKNOWN_NAME:
        return "a node whose name is not known"
    return str(publisher.node_name)
