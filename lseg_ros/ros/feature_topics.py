"""Feature vectors for maps: ~/features, the latched ~/feature_basis, and the answers of ~/encode_text."""

import sys
import zlib
from array import array
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.protocol import FeatureGrid
from lseg_ros.ros import qos
from lseg_ros.ros.rate_limit import RateLimit

if TYPE_CHECKING:
    from lseg_ros.srv import EncodeText


def basis_version(basis: NDArray[np.float32]) -> int:
    """Returns a checksum of a basis, from 1 to 2^32 - 1. The same basis always has the same one."""
    return zlib.crc32(np.ascontiguousarray(basis, "<f4").tobytes()) or 1


class FeatureBasis:
    """The latched matrix that leads from coordinates to the model's own space. It is published once.

    Attributes:
        basis: [D,R] float32.
        version: The basis's checksum.
        publisher: The publisher of ~/feature_basis.
    """

    def __init__(self, node: Node, basis: NDArray[np.float32], model: str) -> None:
        """Creates ~/feature_basis and publishes it.

        Args:
            node: The node that has the topic.
            basis: [D,R] float32.
            model: The model's name, for people.
        """
        self.basis, self.version = basis, basis_version(basis)
        self.publisher = node.create_publisher(lseg_msgs.FeatureBasis, "~/feature_basis", qos.LATCHED)
        message = lseg_msgs.FeatureBasis(version=self.version, model=model)
        message.header.stamp = node.get_clock().now().to_msg()
        message.dimensions, message.channels = basis.shape
        message.basis = array("f", basis.reshape(-1))
        self.publisher.publish(message)

    def fill_answer(self, response: "EncodeText.Response", vectors: NDArray[np.float32]) -> None:
        """Fills a response of ~/encode_text.

        Args:
            response: The response to fill.
            vectors: [N,D], the vectors of the phrases.
        """
        response.success, response.basis_version = True, self.version
        response.dimensions, response.channels = self.basis.shape
        response.vectors = array("f", vectors.reshape(-1))
        response.coordinates = array("f", (vectors @ self.basis).reshape(-1))


class FeatureTopic:
    """The topic ~/features of one camera."""

    def __init__(self, node: Node, prefix: str, version: int) -> None:
        """Creates the topic.

        Args:
            node: The node that has the topic.
            prefix: Prefix of the camera's topics.
            version: The basis's version.

        Raises:
            QosError: A QoS override cannot be used.
        """
        topic = f"~/{prefix}features"
        self._version, self._limit = version, RateLimit()
        self.publisher = node.create_publisher(lseg_msgs.Features, topic, qos.output_qos(node, topic))

    @property
    def heard(self) -> bool:
        """Whether anybody subscribes."""
        return self.publisher.get_subscription_count() > 0

    def due(self, rate: float) -> bool:
        """Returns whether anybody subscribes and an image that arrived now would be published.

        Args:
            rate: Most images per second; 0 for all.
        """
        return self.heard and self._limit.due(rate)

    def publish(self, header: Header, grid: FeatureGrid, rate: float) -> None:
        """Publishes the vectors of one image, and counts it for `due`.

        Args:
            header: Header of the image.
            grid: Its vectors.
            rate: As for `due`.
        """
        self._limit.admit(rate, always=True)
        message = lseg_msgs.Features(header=header, basis_version=self._version)
        message.image_height, message.image_width = grid.image
        message.channels, message.rows, message.columns = grid.coordinates.shape
        message.scale, message.offset = np.array(grid.scale, np.float32), np.array(grid.offset, np.float32)
        numbers = np.ascontiguousarray(grid.coordinates)
        if sys.byteorder == "big":
            numbers = numbers.byteswap()
        data = array("B")
        data.frombytes(numbers.reshape(-1).view(np.uint8).data)
        message.data = data
        self.publisher.publish(message)
