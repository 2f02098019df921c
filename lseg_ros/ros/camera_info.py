"""Publishes a CameraInfo that describes the node's outputs instead of the camera's images."""

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lseg_ros.ros import qos
from lseg_ros.ros.camera_subscription import CameraSubscription
from lseg_ros.ros.silence import SilenceWatch


def scaled(info: CameraInfo, height: int, width: int, header: Header) -> CameraInfo:
    """Returns the calibration of an image that was resized.

    In the camera's message, K and P describe the full sensor, and the region of interest and binning describe the
    image. Here both are merged into K and P, in the order in which image_geometry applies them. Focal lengths, centers
    and the baseline terms of P scale by the ratio of the sizes, as in image_proc's resize. Distortion and rectification
    do not depend on the size. A camera without calibration (K all zero) stays without.

    Args:
        info: The camera's message, unchecked.
        height: Height of the resized image in pixels.
        width: Width of the resized image in pixels.
        header: Header of the resized image.
    """
    roi = info.roi
    # The image shows the region of interest. The number of pixels after binning has no effect.
    seen_width, seen_height = roi.width or info.width, roi.height or info.height
    x = width / seen_width if seen_width else 1.0
    y = height / seen_height if seen_height else 1.0
    result = CameraInfo(header=header, height=height, width=width, roi=RegionOfInterest())
    result.distortion_model, result.d, result.r = info.distortion_model, info.d, info.r
    result.k, result.p = _scaled(info.k, 3, roi, x, y), _scaled(info.p, 4, roi, x, y)
    return result


def _scaled(matrix: "list[float]", columns: int, roi: RegionOfInterest, x: float, y: float) -> list[float]:
    """Shifts a 3x3 or 3x4 projection, row by row, by the region of interest, then scales it."""
    m = [float(v) for v in matrix]
    if any(m):
        m[2] -= roi.x_offset
        m[columns + 2] -= roi.y_offset
    return [v * x for v in m[:columns]] + [v * y for v in m[columns : 2 * columns]] + m[2 * columns :]


class CameraInfoRelay:
    """Receives a camera's CameraInfo while somebody subscribes to the node's."""

    def __init__(self, node: Node, topic: str, out: str) -> None:
        """Creates the output topic.

        Args:
            node: The node that has the topics.
            topic: The topic of the camera's calibration.
            out: The output topic.

        Raises:
            QosError: A QoS override cannot be used.
        """
        self._node = node
        self._input = CameraSubscription(node, CameraInfo, topic, self._keep)
        self._publisher = node.create_publisher(CameraInfo, out, qos.output_qos(node, out))
        self._latest: CameraInfo | None = None
        self._watch = SilenceWatch()

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to the output topic."""
        return self._publisher.get_subscription_count() > 0

    @property
    def input_topic(self) -> str:
        """Full name of the topic of the camera's calibration."""
        return self._input.topic

    def update(self, wanted: bool, warn_after: float) -> None:
        """Subscribes or unsubscribes. A calibration that has arrived is kept.

        Args:
            wanted: Whether to be subscribed.
            warn_after: Seconds without a calibration until a warning; 0 for never.
        """
        self._input.update(wanted)
        self._watch.listen(wanted and self._latest is None)
        if warn_after > 0 and self._watch.to_report(warn_after) is not None:
            out = self._publisher.topic_name
            self._node.get_logger().warning(f"{out} has readers, and no calibration came: {self._why_silent()}")

    def _why_silent(self) -> str:
        return self._input.why_silent() or (
            f"nobody publishes {self._input.topic}; set the parameter camera_info_topic, or remap: "
            "--ros-args -r camera_info:=/camera/camera_info"
        )

    def _keep(self, info: CameraInfo) -> None:
        self._latest = info

    def publish(self, header: Header, height: int, width: int) -> None:
        """Publishes the latest calibration, if there is one.

        Args:
            header: Header of the output.
            height: Height of the output in pixels.
            width: Width of the output in pixels.
        """
        info = self._latest
        if info is not None and self.wanted:
            self._publisher.publish(scaled(info, height, width, header))

    def close(self) -> None:
        """Removes the topics."""
        self._input.update(False)
        self._node.destroy_publisher(self._publisher)
