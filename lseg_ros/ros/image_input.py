"""Subscribes to the images of one camera, raw or compressed, while they are needed."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from lseg_ros.ros.camera_subscription import CameraSubscription


def beside(node: Node, name: str, derived: str) -> str:
    """Returns the name of a topic that belongs to another topic.

    A remap of `image` also applies to `camera_info` and `image/compressed`. A remap of their own has precedence.

    Args:
        node: The node that subscribes.
        name: The topic's own relative name, such as camera_info.
        derived: The name that follows from the other topic.
    """
    is_remapped = node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True)
    return name if is_remapped else derived


class ImageInput:
    """Subscribes to a camera's images, raw or compressed, whichever is published. For the executor's thread.

    Attributes:
        raw_topic: Full name of the topic of raw images.
    """

    def __init__(self, node: Node, topic: str, transport: str, on_image: Callable[[Any], None]) -> None:
        """Prepares the subscriptions.

        Args:
            node: The node that subscribes.
            topic: The topic of raw images. Compressed ones come on <topic>/compressed if that is remapped, else on the
                resolved name of `topic` + /compressed.
            transport: "raw", "compressed", or "auto": raw if it is published, else compressed if that is.
            on_image: Called with every Image or CompressedImage.

        Raises:
            QosError: A QoS override cannot be used.
        """
        self.raw_topic: str = node.resolve_topic_name(topic)
        compressed = beside(node, f"{topic}/compressed", f"{self.raw_topic}/compressed")
        topics = {"raw": (Image, topic), "compressed": (CompressedImage, compressed)}
        self._inputs = {
            name: CameraSubscription(node, kind, given, on_image)
            for name, (kind, given) in topics.items()
            if transport in ("auto", name)
        }
        self._current = next(iter(self._inputs.values()))

    @property
    def topic(self) -> str:
        """Full name of the topic that is read now, or was read last."""
        return self._current.topic

    def update(self, wanted: bool) -> None:
        """Subscribes, changes to the other transport or reliability, or unsubscribes.

        Args:
            wanted: Whether to be subscribed.
        """
        if wanted:
            # If nobody publishes, the current one stays.
            self._current = next((x for x in self._inputs.values() if x.is_published), self._current)
        for subscription in self._inputs.values():
            subscription.update(wanted and subscription is self._current)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that may be read. Only one of them is read at a time."""
        return [subscription.topic for subscription in self._inputs.values()]

    def why_silent(self) -> str:
        """Returns one sentence about why no image arrives."""
        topics = " and ".join(self.topics)
        return self._current.why_silent() or (
            f"nobody publishes {topics}; start the camera, or remap: --ros-args -r image:=/camera/image_raw"
        )
