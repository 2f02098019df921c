"""An example: a voxel map of vectors from ~/features, depth and TF, asked later with any words.

    python3 feature_map.py --ros-args -r features:=/lseg/features -r encode_text:=/lseg/encode_text \
        -r depth:=/camera/depth/image_rect -r camera_info:=/camera/depth/camera_info -p fixed_frame:=map
    ros2 topic pub --once /feature_map/ask std_msgs/msg/String "{data: fire extinguisher}"

The depth image must be registered to the color image that the node sees, and have its stamps. The answer is a point
cloud, ~/found: the center of each voxel, and the cosine of its vector and the words.

Where the camera publishes best effort: -p qos_overrides./camera/depth/image_rect.subscription.reliability:=best_effort
"""

from collections import OrderedDict
from typing import Any

import numpy as np
import rclpy
from lseg_ros.msg import Features
from lseg_ros.srv import EncodeText
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import String
from tf2_ros import Buffer, TransformException, TransformListener

VOXEL = 0.1  # meters
FARTHEST = 5.0  # meters; depth beyond is left out
_KEPT = 150  # depth images that wait for the features of the same stamp; the network may take seconds
_DEPTHS = {"16UC1": (np.uint16, 0.001), "32FC1": (np.float32, 1.0)}  # type and unit in meters, by encoding


class VoxelMap:
    """The mean vector of each voxel that has been seen."""

    def __init__(self, size: float = VOXEL) -> None:
        """Makes an empty map of voxels whose sides have `size` meters."""
        self._size = size
        self._sums: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def add(self, points: NDArray[np.float64], vectors: NDArray[np.float32]) -> None:
        """Adds [N,3] points in the map's frame, in meters, with their [N,R] coordinates."""
        voxels, place = np.unique(np.floor(points / self._size).astype(np.int64), axis=0, return_inverse=True)
        sums = np.zeros((len(voxels), vectors.shape[1]), np.float32)
        np.add.at(sums, place.reshape(-1), vectors)
        for (x, y, z), total in zip(voxels.tolist(), sums, strict=True):
            self._sums[x, y, z] = self._sums.get((x, y, z), 0) + total

    def ask(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compares [R] coordinates of words with each voxel; returns [N,4], its center and the cosine."""
        if not self._sums:
            return np.zeros((0, 4), np.float32)
        centers = (np.array(list(self._sums)) + 0.5) * self._size
        vectors = np.stack(list(self._sums.values()))
        cosines = vectors @ text / np.linalg.norm(vectors, axis=1).clip(1e-9) / np.linalg.norm(text)
        return np.column_stack([centers, cosines]).astype(np.float32)


def grid_of(features: Features) -> NDArray[np.float32]:
    """Returns the vectors of a message, [R,rows,columns]."""
    data = np.frombuffer(features.data, "<f2")
    return data.reshape(features.channels, features.rows, features.columns).astype(np.float32)


def depth_of(message: Image) -> NDArray[np.float32]:
    """Returns a depth image in meters, [H,W]; 0 or NaN where there is no depth."""
    kind, unit = _DEPTHS[message.encoding]
    numbers = np.frombuffer(message.data, np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<"))
    return (numbers.reshape(message.height, -1)[:, : message.width] * np.float32(unit)).astype(np.float32)


def pixels_of_cells(count: int, scale: float, offset: float, image: int, depth: int) -> NDArray[np.int64]:
    """Finds the rows of the depth image at the centers of a grid's rows; or its columns at those of the columns.

    Args:
        count: Rows of the grid.
        scale: Of the features' message.
        offset: Of the features' message.
        image: Height of the image that the node saw.
        depth: Height of the depth image.

    Returns:
        [count].
    """
    pixels = (np.arange(count) - offset) / scale
    return np.clip(np.round((pixels + 0.5) * depth / image - 0.5), 0, depth - 1).astype(np.int64)


def points_of(
    depth: NDArray[np.float32], matrix: NDArray[np.float64], v: NDArray[np.int64], u: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Back-projects pixels of a depth image.

    Args:
        depth: [H,W], in meters; 0 or NaN where there is none.
        matrix: [3,3], K of the depth image's camera.
        v: [rows] of the pixels.
        u: [columns] of the pixels.

    Returns:
        [N,3] points in the camera's frame, and [rows,columns], which of the pixels have one.
    """
    z = depth[np.ix_(v, u)].astype(np.float64)
    seen = (z > 0) & (z < FARTHEST)  # false for NaN
    x = (u[None, :] - matrix[0, 2]) / matrix[0, 0] * z
    y = (v[:, None] - matrix[1, 2]) / matrix[1, 1] * z
    return np.stack([x[seen], y[seen], z[seen]], axis=1), seen


def moved(points: NDArray[np.float64], transform: Any) -> NDArray[np.float64]:
    """Moves [N,3] points by a geometry_msgs/Transform."""
    q, t = transform.rotation, transform.translation
    w, x, y, z = q.w, q.x, q.y, q.z
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return points @ rotation.T + [t.x, t.y, t.z]


class FeatureMapNode(Node):
    """Fuses features into voxels, and answers words with a cloud."""

    def __init__(self, **options: Any) -> None:
        """Creates the node with the options of rclpy's `Node`."""
        super().__init__("feature_map", **options)
        self.frame = self.declare_parameter("fixed_frame", "map").value
        self.map, self.version = VoxelMap(), 0
        self.depths: OrderedDict[int, Image] = OrderedDict()
        self.info: CameraInfo | None = None
        self.buffer = Buffer()
        self.listener = TransformListener(self.buffer, self)
        any_qos = QoSOverridingOptions.with_default_policies()
        self.create_subscription(Features, "features", self.on_features, 5)
        self.create_subscription(Image, "depth", self.on_depth, 5, qos_overriding_options=any_qos)
        self.create_subscription(CameraInfo, "camera_info", self.on_info, 5, qos_overriding_options=any_qos)
        self.create_subscription(String, "~/ask", self.on_ask, 5)
        self.text = self.create_client(EncodeText, "encode_text")
        self.found = self.create_publisher(PointCloud2, "~/found", 1)

    def on_info(self, info: CameraInfo) -> None:
        """Keeps the calibration."""
        self.info = info

    def on_depth(self, depth: Image) -> None:
        """Keeps a depth image until its features come."""
        self.depths[depth.header.stamp.sec * 10**9 + depth.header.stamp.nanosec] = depth
        while len(self.depths) > _KEPT:
            self.depths.popitem(last=False)

    def on_features(self, features: Features) -> None:
        """Adds the vectors of an image to the map."""
        stamp = features.header.stamp
        message = self.depths.get(stamp.sec * 10**9 + stamp.nanosec)
        if message is None or self.info is None:
            missing = "calibration" if self.info is None else "depth image of their stamp"
            self.get_logger().warning(f"features were left out: no {missing}", throttle_duration_sec=5.0)
            return
        if message.encoding not in _DEPTHS:
            self.get_logger().error(f"depth of encoding {message.encoding}; it must be one of {', '.join(_DEPTHS)}")
            return
        try:
            transform = self.buffer.lookup_transform(self.frame, features.header.frame_id, stamp).transform
        except TransformException as error:
            self.get_logger().warning(f"features were left out: no transform: {error}", throttle_duration_sec=5.0)
            return
        if self.version not in (0, features.basis_version):
            self.get_logger().warning("the model has changed; the map begins anew")
            self.map = VoxelMap()
        self.version = features.basis_version
        depth = depth_of(message)
        v, u = (
            pixels_of_cells(*side)
            for side in zip(
                (features.rows, features.columns),
                features.scale,
                features.offset,
                (features.image_height, features.image_width),
                depth.shape,
                strict=True,
            )
        )
        points, seen = points_of(depth, np.array(self.info.k).reshape(3, 3), v, u)
        self.map.add(moved(points, transform), grid_of(features)[:, seen].T)

    def on_ask(self, question: String) -> None:
        """Asks the node for the vector of the words."""
        if not self.version or not self.text.service_is_ready():
            self.get_logger().error("nothing was seen yet" if not self.version else "encode_text is not there")
            return
        asked = self.text.call_async(EncodeText.Request(phrases=[question.data]))
        asked.add_done_callback(lambda done: self.answer(question.data, done.result()))

    def answer(self, words: str, text: EncodeText.Response) -> None:
        """Publishes how well each voxel fits the words."""
        if not text.success or text.basis_version != self.version:
            self.get_logger().error(text.message if not text.success else "the map is of another model")
            return
        found = self.map.ask(np.array(text.coordinates, np.float32))
        cloud = PointCloud2(height=1, width=len(found), point_step=16, row_step=16 * len(found), is_dense=True)
        cloud.header.frame_id, cloud.header.stamp = self.frame, self.get_clock().now().to_msg()
        names = ("x", "y", "z", "cosine")
        cloud.fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)]
        cloud.data = found.astype("<f4").tobytes()
        self.found.publish(cloud)
        if len(found):
            best = found[found[:, 3].argmax()]
            self.get_logger().info(f"{words}: best at {best[:3].round(2)}, cosine {best[3]:.2f}")


def main() -> None:
    """Runs the node."""
    rclpy.init()
    try:
        rclpy.spin(FeatureMapNode())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
