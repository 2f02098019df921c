"""CameraInfo that describes what the node publishes instead of what the camera did."""

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lseg_ros.ros import qos
from lseg_ros.ros.camera_subscription import CameraSubscription
from lseg_ros.ros.silence import SilenceWatch


def scaled(info: CameraInfo, height: int, width: int, header: Header) -> CameraInfo:
    """The calibration of an image that was resized to `height` x `width`.

    K and P of a CameraInfo are those of the full sensor; the region of interest and binning say what became of it. Here
    both go into K and P, in the order in which image_geometry applies them, and what comes out has neither. Focal
    lengths, centres and the baseline terms of P scale by the ratio of the sizes, as in image_proc's resize. Distortion
    and rectification do not depend on the size. A camera that is not calibrated (K all zero) stays so.

    Args:
        info: of the camera, unchecked.
        header: of the resized image.
    """
    roi = info.roi
    # The field of view is the region of interest's; into how many pixels it was binned on its way has no effect.
    seen_width, seen_height = roi.width or info.width, roi.height or info.height
    x = width / seen_width if seen_width else 1.0
    y = height / seen_height if seen_height else 1.0
    found = CameraInfo(header=header, height=height, width=width, roi=RegionOfInterest())
    found.distortion_model, found.d, found.r = info.distortion_model, info.d, info.r
    found.k, found.p = _scaled(info.k, 3, roi, x, y), _scaled(info.p, 4, roi, x, y)
    return found


def _scaled(matrix: "list[float]", columns: int, roi: RegionOfInterest, x: float, y: float) -> list[float]:
    """A 3x3 or 3x4 projection, row by row, moved by the region of interest and then scaled."""
    m = [float(v) for v in matrix]
    if any(m):
        m[2] -= roi.x_offset
        m[columns + 2] -= roi.y_offset
    return [v * x for v in m[:columns]] + [v * y for v in m[columns : 2 * columns]] + m[2 * columns :]


class CameraInfoRelay:
    """A camera's CameraInfo, taken in while somebody wants ours."""

    def __init__(self, node: Node, topic: str, out: str) -> None:
        """Creates the topic that goes out.

        Args:
            node: The node that has the topics.
            topic: Where the camera's calibration comes from.
            out: Where ours goes.

        Raises:
            QosError: An override of quality of service cannot be used.
        """
        self._node = node
        self._input = CameraSubscription(node, CameraInfo, topic, self._keep)
        self._publisher = node.create_publisher(CameraInfo, out, qos.output_qos(node, out))
        self._latest: CameraInfo | None = None
        self._watch = SilenceWatch()

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to ours."""
        return self._publisher.get_subscription_count() > 0

    @property
    def input_topic(self) -> str:
        """The full name of the topic that the camera's calibration comes from."""
        return self._input.topic

    def update(self, wanted: bool, warn_after: float) -> None:
        """Subscribes or unsubscribes; a calibration that has come is kept.

        Args:
            wanted: Whether to be subscribed.
            warn_after: Seconds until a warning says that no calibration comes, while there is none; 0 for never.
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
        """Publishes the latest calibration for an image of that size; nothing while none has come."""
        info = self._latest
        if info is not None and self.wanted:
            self._publisher.publish(scaled(info, height, width, header))

    def close(self) -> None:
        """Removes the topics."""
        self._input.update(False)
        self._node.destroy_publisher(self._publisher)
