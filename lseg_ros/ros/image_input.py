"""The images of one camera, raw or compressed, subscribed to while they are wanted."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from lseg_ros.ros.camera_subscription import CameraSubscription


def beside(node: Node, name: str, derived: str) -> str:
    """Returns the name of a topic that belongs to another one, unless a remap names it.

    A remap of `image` takes `camera_info` and `image/compressed` with it; a remap of their own goes before that.

    Args:
        node: The node that subscribes.
        name: The topic's own relative name, such as camera_info.
        derived: The name that follows from the other topic.
    """
    is_remapped = node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True)
    return name if is_remapped else derived


class ImageInput:
    """Subscribes to a camera's images, raw or compressed, whichever is published. For the executor's thread."""

    def __init__(self, node: Node, topic: str, transport: str, on_image: Callable[[Any], None]) -> None:
        """Subscribes to nothing yet.

        Args:
            node: The node that subscribes.
            topic: The topic of raw images. Compressed ones come on <topic>/compressed, or where that is remapped to;
                without such a remap, on the resolved name of `topic` + /compressed.
            transport: raw, compressed, or auto: raw if it is published, else compressed if that is.
            on_image: Is given every Image or CompressedImage.

        Raises:
            QosError: An override of quality of service cannot be used.
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
        """Full name of the topic that is read now, or was last."""
        return self._current.topic

    def update(self, wanted: bool) -> None:
        """Subscribes, changes to the other transport or reliability, or unsubscribes."""
        if wanted:
            # Where nobody publishes, the one in use stays.
            self._current = next((x for x in self._inputs.values() if x.is_published), self._current)
        for subscription in self._inputs.values():
            subscription.update(wanted and subscription is self._current)

    @property
    def topics(self) -> list[str]:
        """The full names of the topics that it subscribes to, one at a time."""
        return [subscription.topic for subscription in self._inputs.values()]

    def why_silent(self) -> str:
        """Returns what can be known about why no image comes, in one sentence."""
        topics = " and ".join(self.topics)
        return self._current.why_silent() or (
            f"nobody publishes {topics}; start the camera, or remap: --ros-args -r image:=/camera/image_raw"
        )
