"""The images of one camera, subscribed to while they are wanted."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, ReliabilityPolicy, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from lseg_ros.ros import qos

_THROTTLE = 60.0  # seconds between repeated error messages
_TYPES: dict[str, tuple[Any, str]] = {"raw": (Image, ""), "compressed": (CompressedImage, "/compressed")}


class ImageInput:
    """Subscribes to a camera's images, raw or compressed, whichever is published. For the executor's thread."""

    def __init__(self, node: Node, topic: str, transport: str, on_image: Callable[[Any], None]) -> None:
        """
        Args:
            topic: of raw images; compressed ones come on its resolved name + /compressed.
            transport: raw, compressed, or auto: raw if it is published, else compressed if that is.
            on_image: is given every Image or CompressedImage.

        Raises:
            QosError: an override cannot be used.
        """
        self._node, self._on_image = node, on_image
        self._transports = ["raw", "compressed"] if transport == "auto" else [transport]
        resolved = node.resolve_topic_name(topic)
        self._topics = {name: resolved + _TYPES[name][1] for name in self._transports}
        self._profiles = {
            name: qos.overridden(node, topic, "subscription", qos.IMAGE_IN) for name, topic in self._topics.items()
        }
        self._transport = self._transports[0]
        self._subscription: Subscription | None = None

    @property
    def raw_topic(self) -> str:
        """Full name of the topic of raw images."""
        return self._topics[self._transports[0]].removesuffix("/compressed")

    @property
    def topic(self) -> str:
        """Full name of the topic that is read now, or was last."""
        return self._topics[self._transport]

    def update(self, wanted: bool) -> None:
        """Subscribes, changes to the other transport, or unsubscribes."""
        transport = self._published() if wanted else None
        if self._subscription is not None and transport != self._transport:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        if transport is None or self._subscription is not None:
            return
        self._transport = transport
        kind, topic, profile = _TYPES[transport][0], self._topics[transport], self._profiles[transport]
        try:
            self._subscription = self._node.create_subscription(kind, topic, self._on_image, profile)
        except Exception as error:  # such as a topic of another type in the same process; it may go
            self._node.get_logger().error(f"cannot subscribe to {topic}: {error}", throttle_duration_sec=_THROTTLE)

    def _published(self) -> str:
        """The first transport that somebody publishes; where nobody does, the one in use."""
        return next((t for t in self._transports if self._node.count_publishers(self._topics[t])), self._transport)

    def why_silent(self) -> str:
        """What can be known about why no image comes, in one sentence."""
        topic, profile = self._topics[self._transport], self._profiles[self._transport]
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            topics = " and ".join(self._topics.values())
            return f"nobody publishes {topics}; start the camera, or remap: --ros-args -r image:=/camera/image_raw"
        kind = f"sensor_msgs/msg/{_TYPES[self._transport][0].__name__}"
        for publisher in publishers:
            if publisher.topic_type != kind:
                return f"{publisher.node_name} publishes {topic} as {publisher.topic_type}, and {kind} is needed"
            compatibility, reason = qos_check_compatible(publisher.qos_profile, profile)
            if compatibility == QoSCompatibility.ERROR:
                return (
                    f"{publisher.node_name} publishes {topic} with a quality of service that does not fit "
                    f"(reliability: {reason.removeprefix('ERROR: ').rstrip(';').lower()}); set the parameter "
                    f"qos_overrides.{topic}.subscription.reliability to best_effort"
                )
        found = f"{publishers[0].node_name} publishes {topic}, its quality of service fits, and nothing arrives"
        if profile.reliability == ReliabilityPolicy.BEST_EFFORT:
            found += (
                "; if it does send, its images may be too large for best effort: set the parameter "
                f"qos_overrides.{topic}.subscription.reliability to reliable"
            )
            if self._transport == "raw":
                found += ", or publish compressed images"
        return found
