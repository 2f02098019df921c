"""docs/examples/feature_map.py with the node: from images, depth and TF to an answer."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tf2_stand_in
from fakes import COLORS
from geometry_msgs.msg import TransformStamped
from graph import Graph, image, stripes
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

import lseg_ros

RED, BLUE = COLORS["red"], COLORS["blue"]
PATH = Path(lseg_ros.__file__).parent.parent / "docs" / "examples" / "feature_map.py"
_ASK_AGAIN = 5 * 10**9  # nanoseconds


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, with tf2_ros or its replacement."""
    if importlib.util.find_spec("tf2_ros") is None:
        monkeypatch.setitem(sys.modules, "tf2_ros", tf2_stand_in)
    spec = importlib.util.spec_from_file_location("feature_map", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Camera:
    """A camera for color and depth that looks along the map's x axis."""

    def __init__(self, graph: Graph, example: ModuleType) -> None:
        self.graph, self.transforms = graph, sys.modules["tf2_ros"].TransformBroadcaster(graph.client)
        self.depth = graph.client.create_publisher(Image, "depth", 10)
        self.info = graph.client.create_publisher(CameraInfo, "camera_info", 10)

    def place(self, x: float, stamp: int) -> None:
        """Sets the camera's place in the map, one meter above its ground."""
        where = TransformStamped(child_frame_id="camera_optical")
        where.header.frame_id, where.header.stamp = "map", image(stripes(RED), stamp).header.stamp
        where.transform.translation.x, where.transform.translation.z = x, 1.0
        rotation = where.transform.rotation  # forward is x, right is -y, down is -z
        rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
        self.transforms.sendTransform(where)

    def measure(self, meters: float, stamp: int) -> None:
        """Sends a wall at a distance, at half the size of the image; its rightmost column has no depth."""
        millimeters = np.full((8, 20), round(1000 * meters), "<u2")
        millimeters[:, -1] = 0
        message = Image(height=8, width=20, encoding="16UC1", step=40, data=millimeters.tobytes())
        message.header = image(stripes(RED), stamp).header
        self.depth.publish(message)
        info = CameraInfo(header=message.header, height=8, width=20)
        info.k = np.array([20.0, 0, 9.5, 0, 20.0, 3.5, 0, 0, 1])
        self.info.publish(info)


@pytest.fixture
def fusing(graph: Graph, lseg: Callable[..., None], example: ModuleType) -> Iterator[Any]:
    """The example's node, in one graph with the node under test."""
    lseg(feature_rate=0.0)
    names = ["--ros-args", "-r", "features:=/lseg/features", "-r", "encode_text:=/lseg/encode_text"]
    node = example.FeatureMapNode(context=graph.context, cli_args=names)
    graph.spin_too(node)
    yield node
    node.destroy_node()


def found_in(cloud: PointCloud2) -> NDArray[np.float32]:
    """The points of an answer, [N,4]."""
    assert [(field.name, field.offset) for field in cloud.fields] == [("x", 0), ("y", 4), ("z", 8), ("cosine", 12)]
    assert cloud.header.frame_id == "map" and (cloud.height, cloud.row_step) == (1, 16 * cloud.width)
    return np.frombuffer(cloud.data, "<f4").reshape(cloud.width, 4)


def ask(graph: Graph, fusing: Any, words: str) -> NDArray[np.float32]:
    """Asks until an answer comes. The node may not see the client yet, and then its first answer is lost."""
    clouds: list[PointCloud2] = graph.collect(PointCloud2, "feature_map/found")
    questions = graph.client.create_publisher(String, "feature_map/ask", 10)
    graph.until(lambda: fusing.found.get_subscription_count() and questions.get_subscription_count(), "the example")
    graph.until(fusing.text.service_is_ready, "the service of the node")
    asked = 0

    def answered() -> bool:
        nonlocal asked
        now = graph.client.get_clock().now().nanoseconds
        if now - asked > _ASK_AGAIN:
            questions.publish(String(data=words))
            asked = now
        return bool(clouds)

    graph.until(answered, "a cloud")
    return found_in(clouds[0])


def test_what_was_seen_from_two_places_is_found_where_it_is(
    graph: Graph, fusing: Any, example: ModuleType, logged: Callable[[str], str]
) -> None:
    camera = Camera(graph, example)
    for publisher in (camera.depth, camera.info):
        graph.until(publisher.get_subscription_count, "the example's subscriptions")
    graph.until(lambda: graph.node is not None and graph.node.count_subscribers("lseg/features"), "its other ones")
    pictures = stripes(RED, BLUE, height=16, width=20)

    def voxels() -> int:
        return len(fusing.map.ask(np.array([1, 0], np.float32)))

    def more_than(before: int) -> bool:
        return voxels() > before

    def known(stamp: int) -> bool:
        """Whether the example has all that it needs beside the features."""
        camera.place(3.0 - stamp, stamp)  # /tf is sent all the time, so that nobody misses it
        where = image(stripes(RED), stamp).header.stamp
        try:
            fusing.buffer.lookup_transform("map", "camera_optical", where)
        except example.TransformException:
            return False
        return fusing.info is not None and where.sec * 10**9 + where.nanosec in fusing.depths

    for stamp, meters in ((1, 1.05), (2, 2.05)):  # a meter farther back, the wall is a meter farther off
        grown = partial(more_than, voxels())
        camera.measure(meters, stamp)
        graph.until(partial(known, stamp), "depth, calibration and transform")
        graph.send(image(pictures, stamp))
        graph.until(grown, "the features")
    graph.send(image(stripes(BLUE, BLUE, height=16, width=20), stamp=9))
    logged("features were left out: no depth image of their stamp")
    found = ask(graph, fusing, "red")
    assert len(found) == voxels()
    np.testing.assert_allclose(found[:, 0], 3.05, atol=1e-3)  # the wall, whichever place it was seen from
    left = found[:, 1] > 0
    assert (found[left, 3] > 0.999).all() and (found[~left, 3] < 0.001).all()
    assert found[left, 1].max() > 0.9 and -0.95 < found[~left, 1].min() < -0.8  # the last column has no depth
    assert found[:, 2].min() < 0.75 and found[:, 2].max() > 1.25  # around the camera's height


def test_before_anything_was_seen_it_says_so(graph: Graph, fusing: Any, logged: Callable[[str], str]) -> None:
    questions = graph.client.create_publisher(String, "feature_map/ask", 10)
    graph.until(questions.get_subscription_count, "the example")
    questions.publish(String(data="red"))
    assert "nothing was seen yet" in logged("nothing was seen yet")


def test_cells_meet_pixels_of_a_depth_image_of_another_size(example: ModuleType) -> None:
    """A cell's center, between the image's pixels, is at the same place in both pictures."""
    v = example.pixels_of_cells(4, 0.25, 0.0, 16, 16)
    assert v.tolist() == [0, 4, 8, 12]
    assert example.pixels_of_cells(4, 0.25, -0.375, 16, 16).tolist() == [2, 6, 10, 14]  # 1.5 and so on, to even ones
    assert example.pixels_of_cells(4, 0.25, -0.375, 16, 8).tolist() == [0, 2, 4, 6]  # 0.5, 2.5, ...
    assert example.pixels_of_cells(6, 0.25, 0.0, 16, 16).tolist() == [0, 4, 8, 12, 15, 15]


def test_depth_is_read_as_the_message_says(example: ModuleType) -> None:
    millimeters = np.array([[1000, 0], [2500, 9]], ">u2")
    message = Image(height=2, width=1, encoding="16UC1", step=4, is_bigendian=1, data=millimeters.tobytes())
    np.testing.assert_allclose(example.depth_of(message), [[1.0], [2.5]])
    meters = np.array([[1.5, np.nan]], "<f4")
    message = Image(height=1, width=2, encoding="32FC1", step=8, data=meters.tobytes())
    points, seen = example.points_of(
        example.depth_of(message), np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([0]), np.array([0, 1])
    )
    np.testing.assert_allclose(points, [[0, 0, 1.5]])
    assert seen.tolist() == [[True, False]]
