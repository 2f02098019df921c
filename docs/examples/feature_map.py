"""An example: a voxel map of vectors from ~/features, depth and TF, asked later with any words.

    python3 feature_map.py --ros-args -r features:=/lseg/features -r encode_text:=/lseg/encode_text \
        -r depth:=/camera/depth/image_rect -r camera_info:=/camera/depth/camera_info -p fixed_frame:=map
    ros2 topic pub --once /feature_map/ask std_msgs/msg/String "{data: fire extinguisher}"

The depth image must be registered to the color image that the node sees. The answer is a point cloud, ~/found: the
center of each voxel, and the cosine of its vector and the words.
"""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

VOXEL = 0.1  # meters
FARTHEST = 5.0  # meters; depth beyond is left out
_KEPT = 30  # most depth images that wait for the features of the same stamp


class VoxelMap:
    """The mean vector of each voxel that was seen."""

    def __init__(self, size: float = VOXEL) -> None:
        """Starts empty.

        Args:
            size: Side of a voxel in meters.
        """
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
        """Compares the [R] coordinates of words with all voxels: [N,4], the center of each voxel and its cosine."""
        if not self._sums:
            return np.zeros((0, 4), np.float32)
        centers = (np.array(list(self._sums)) + 0.5) * self._size
        vectors = np.stack(list(self._sums.values()))
        cosines = vectors @ text / np.linalg.norm(vectors, axis=1).clip(1e-9) / np.linalg.norm(text)
        return np.column_stack([centers, cosines]).astype(np.float32)


def cells(features: object) -> NDArray[np.float32]:
    """Converts an lseg_ros/Features message to [R,rows,columns]."""
    shape = features.channels, features.rows, features.columns  # type: ignore[attr-defined]
    data = np.frombuffer(features.data, "<f2")  # type: ignore[attr-defined]
    return data.reshape(shape).astype(np.float32)


def points_of(
    depth: NDArray[np.float32], matrix: NDArray[np.float64], scale: NDArray[np.float32], offset: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Back-projects the pixels at the centers of the grid's cells.

    Args:
        depth: [H,W] in meters; 0 or NaN where it is unknown.
        matrix: The 3x3 camera matrix of the depth image.
        scale: `scale` of the features' message, if the depth image has the size of the node's image.
        offset: `offset` of the same message.

    Returns:
        [N,3] points in the camera's frame, and [N,2] the row and column of the cell of each.
    """
    height, width = depth.shape
    v, u = (np.arange(round(n * s)) for n, s in zip((height, width), scale, strict=True))  # cells
    rows, columns = np.meshgrid(v, u, indexing="ij")
    v = np.clip(np.round((rows - offset[0]) / scale[0]), 0, height - 1).astype(np.int64)
    u = np.clip(np.round((columns - offset[1]) / scale[1]), 0, width - 1).astype(np.int64)
    z = depth[v, u]
    seen = (z > 0) & (z < FARTHEST)  # also false for NaN
    z, u, v = z[seen].astype(np.float64), u[seen], v[seen]
    x = (u - matrix[0, 2]) / matrix[0, 0] * z
    y = (v - matrix[1, 2]) / matrix[1, 1] * z
    return np.stack([x, y, z], axis=1), np.stack([rows[seen], columns[seen]], axis=1)


def main() -> None:
    """Runs the node."""
    import rclpy
    from lseg_ros.msg import Features
    from lseg_ros.srv import EncodeText
    from rclpy.node import Node
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
    from std_msgs.msg import String
    from tf2_ros import Buffer, TransformException, TransformListener

    class FeatureMapNode(Node):
        def __init__(self) -> None:
            super().__init__("feature_map")
            self.frame = self.declare_parameter("fixed_frame", "map").value
            self.map, self.version = VoxelMap(), 0
            self.depths: OrderedDict[int, Image] = OrderedDict()
            self.info: CameraInfo | None = None
            self.buffer = Buffer()
            self.listener = TransformListener(self.buffer, self)
            self.create_subscription(Features, "features", self.on_features, 5)
            self.create_subscription(Image, "depth", self.on_depth, 5)
            self.create_subscription(CameraInfo, "camera_info", self.on_info, 5)
            self.create_subscription(String, "~/ask", self.on_ask, 5)
            self.text = self.create_client(EncodeText, "encode_text")
            self.found = self.create_publisher(PointCloud2, "~/found", 1)

        def on_info(self, info: CameraInfo) -> None:
            self.info = info

        def on_depth(self, depth: Image) -> None:
            self.depths[depth.header.stamp.sec * 10**9 + depth.header.stamp.nanosec] = depth
            while len(self.depths) > _KEPT:
                self.depths.popitem(last=False)

        def on_features(self, features: Features) -> None:
            stamp = features.header.stamp
            message = self.depths.get(stamp.sec * 10**9 + stamp.nanosec)
            if message is None or self.info is None:
                return
            if self.version not in (0, features.basis_version):
                self.get_logger().warning("the model has changed; the map begins anew")
                self.map = VoxelMap()
            self.version = features.basis_version
            try:
                tf = self.buffer.lookup_transform(self.frame, features.header.frame_id, stamp).transform
            except TransformException as error:
                self.get_logger().warning(f"no transform: {error}", throttle_duration_sec=5.0)
                return
            kind, unit = (np.uint16, 0.001) if message.encoding == "16UC1" else (np.float32, 1.0)
            depth = np.frombuffer(message.data, kind).reshape(message.height, -1)[:, : message.width] * np.float32(unit)
            ratio = np.array([features.image_height / message.height, features.image_width / message.width])
            matrix = np.array(self.info.k).reshape(3, 3)
            points, places = points_of(depth, matrix, features.scale * ratio, features.offset)
            w, x, y, z = tf.rotation.w, tf.rotation.x, tf.rotation.y, tf.rotation.z
            rotation = np.array(
                [
                    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
                ]
            )
            moved = points @ rotation.T + [tf.translation.x, tf.translation.y, tf.translation.z]
            grid = cells(features)
            rows, columns = np.minimum(places, np.array(grid.shape[1:]) - 1).T
            self.map.add(moved, grid[:, rows, columns].T)

        def on_ask(self, question: String) -> None:
            asked = self.text.call_async(EncodeText.Request(phrases=[question.data]))
            asked.add_done_callback(lambda done: self.answer(question.data, done.result()))

        def answer(self, words: str, text: EncodeText.Response) -> None:
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

    rclpy.init()
    rclpy.spin(FeatureMapNode())


if __name__ == "__main__":
    main()
