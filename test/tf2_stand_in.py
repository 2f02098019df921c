"""Replaces tf2_ros if that is missing: transforms with single stamps, on a topic of their own."""

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time

TOPIC = "tf_stand_in"  # /tf has a type that is missing, too


class TransformException(Exception):
    """There is no such transform."""


class Buffer:
    """Keeps transforms."""

    def __init__(self) -> None:
        self.kept: list[TransformStamped] = []

    def lookup_transform(self, target: str, source: str, stamp: object) -> TransformStamped:
        """Returns a transform of exactly that stamp."""
        for kept in self.kept:
            if (kept.header.frame_id, kept.child_frame_id, kept.header.stamp) == (target, source, stamp):
                return kept
        raise TransformException(f"{source} to {target} at {Time.from_msg(stamp).nanoseconds}")


class TransformListener:
    """Fills a buffer."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        node.create_subscription(TransformStamped, TOPIC, buffer.kept.append, 10)


class TransformBroadcaster:
    """Sends transforms."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(TransformStamped, TOPIC, 10)

    def sendTransform(self, transform: TransformStamped) -> None:  # noqa: N802  # tf2's name
        """Sends one transform."""
        self._publisher.publish(transform)
