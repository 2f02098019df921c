"""CameraInfo that describes what the node publishes instead of what the camera did."""

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lseg_ros.ros import qos

_THROTTLE = 60.0  # seconds between repeated error messages


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
        """
        Args:
            topic: where the camera's comes from.
            out: where ours goes.

        Raises:
            QosError: an override cannot be used.
        """
        self._node, self._topic = node, topic
        self._profile = qos.overridden(node, topic, "subscription", qos.IMAGE_IN)
        self._publisher = node.create_publisher(CameraInfo, out, qos.overridden(node, out, "publisher", qos.OUTPUT))
        self._subscription: Subscription | None = None
        self._latest: CameraInfo | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to ours."""
        return self._publisher.get_subscription_count() > 0

    def update(self, wanted: bool) -> None:
        """Subscribes or unsubscribes; a calibration that has come is kept."""
        if wanted and self._subscription is None:
            try:
                self._subscription = self._node.create_subscription(CameraInfo, self._topic, self._keep, self._profile)
            except Exception as error:  # such as a topic of another type in the same process; it may go
                what = f"cannot subscribe to {self._topic}: {error}"
                self._node.get_logger().error(what, throttle_duration_sec=_THROTTLE)
        elif not wanted and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _keep(self, info: CameraInfo) -> None:
        self._latest = info

    def publish(self, header: Header, height: int, width: int) -> None:
        """Publishes the latest calibration for an image of that size; nothing while none has come."""
        info = self._latest
        if info is not None and self.wanted:
            self._publisher.publish(scaled(info, height, width, header))

    def close(self) -> None:
        """Removes the topics."""
        self.update(False)
        self._node.destroy_publisher(self._publisher)
