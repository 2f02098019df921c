"""The node feeds the readers over real DDS, from a running camera, while its labels change."""

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from consumers.readers import ConsumerError, ElevationMapping, Hydra, Layers, Nav2Layer
from fakes import COLORS, FakeSegmenter
from graph import Graph, image, stripes
from lseg_ros.msg import ChannelInfo, Label
from lseg_ros.srv import SetLabels
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import LabelInfo

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import IdRules, LabelSet, as_specs, assign
from lseg_ros.ros.label_msgs import label_info_msg

NAMES = list(COLORS)
SCENE = stripes(*COLORS.values(), width=4)
LABEL_FILES = Path(__file__).parents[2] / "config" / "labels"


Reader = Nav2Layer | ElevationMapping | Hydra


class Robot:
    """A camera with a depth sensor, and the readers of the node's outputs, all on the client of a graph."""

    def __init__(self, graph: Graph, readers: Iterable[Reader], cloud_size: tuple[int, int] | None = None) -> None:
        """Creates the topics.

        Args:
            graph: The graph.
            readers: The readers.
            cloud_size: Width and height of the point cloud, if they are not the image's.
        """
        self._graph, self._readers = graph, list(readers)
        self._cloud_size = cloud_size or (SCENE.shape[1], SCENE.shape[0])
        self._camera = graph.client.create_publisher(Image, "image", 1)
        self._calibration = graph.client.create_publisher(CameraInfo, "camera_info", 1)
        self._stamp = 0
        self._timer = graph.client.create_timer(0.02, self.shoot)
        self.infos: list[LabelInfo] = []
        self.order: list[str] = []  # the order in which LabelInfo and masks arrived
        for reader in self._readers:
            if isinstance(reader, Nav2Layer):
                self.subscribe_nav2(reader)
            elif isinstance(reader, Hydra):
                graph.client.create_subscription(Image, "lseg/mask", reader.on_labels, reader.IMAGE_QOS)
            else:
                create, qos = graph.client.create_subscription, reader.IMAGE_QOS
                create(Image, "lseg/scores", reader.on_image, qos)
                create(CameraInfo, "lseg/camera_info", reader.on_camera_info, qos)
                create(ChannelInfo, "lseg/channel_info", reader.on_channel_info, qos)

    def subscribe_nav2(self, layer: Nav2Layer) -> list[Subscription]:
        """Subscribes to the topics that the layer reads."""
        client = self._graph.client

        def on_mask(message: Image) -> None:
            self.order.append("mask")
            layer.on_mask(message)

        def on_label_info(message: LabelInfo) -> None:
            self.order.append("labels")
            self.infos.append(message)
            layer.on_label_info(message)

        # In the order in which the layer subscribes when it is activated.
        return [
            client.create_subscription(Image, "lseg/mask", on_mask, layer.IMAGE_QOS),
            client.create_subscription(Image, "lseg/confidence", layer.on_confidence, layer.IMAGE_QOS),
            client.create_subscription(LabelInfo, "lseg/label_info", on_label_info, layer.label_qos),
        ]

    def shoot(self) -> None:
        """Sends one image, with its cloud and depth image."""
        self._stamp += 1
        message = image(SCENE, stamp=self._stamp)
        height, width = SCENE.shape[:2]
        for reader in self._readers:
            if isinstance(reader, Nav2Layer):
                cloud_width, cloud_height = self._cloud_size
                reader.on_cloud(PointCloud2(header=message.header, width=cloud_width, height=cloud_height))
            elif isinstance(reader, Hydra):
                reader.on_depth(Image(header=message.header, width=width, height=height, encoding="32FC1"))
        self._calibration.publish(CameraInfo(header=message.header, width=width, height=height))
        self._camera.publish(message)

    def pause(self) -> None:
        """Stops sending images."""
        self._timer.cancel()

    def resume(self) -> None:
        """Sends images again."""
        self._timer.reset()

    def next_frame(self, reader: Reader) -> None:
        """Waits until a reader has decoded another frame."""
        count = len(reader.frames)
        self._graph.until(lambda: len(reader.frames) > count, "a frame")

    def set_labels(self, names: list[str]) -> dict[str, int]:
        """Sets labels by the node's service, and returns their ids."""
        return self.change(SetLabels.Request(labels=names))

    def change(self, request: SetLabels.Request) -> dict[str, int]:
        response = self._graph.call(SetLabels, "set_labels", request)
        assert response.success, response.message
        return {label.name: label.class_id for label in response.label_set.labels if not label.background}


def check_names(frames: Iterable[Layers]) -> None:
    """Checks that labels with the name of a color lie on it, so no frame was decoded with another one's labels."""
    truth = np.repeat(NAMES, 4)
    for frame in frames:
        for name in set(frame.names.ravel()) & set(NAMES):
            np.testing.assert_array_equal(frame.names[:, truth == name], name)


@pytest.mark.parametrize("seed", [0, 1])
def test_all_readers_follow_changes_of_labels(graph: Graph, seed: int) -> None:
    layer = Nav2Layer(NAMES)
    hydra = Hydra(dict(enumerate(NAMES, 1)), unknown_id=255)
    elevation = ElevationMapping()
    robot = Robot(graph, [layer, hydra, elevation])
    graph.start(lambda params: FakeSegmenter(), labels=NAMES)
    graph.until(lambda: layer.frames and hydra.frames and elevation.frames, "the first frame")
    choose = random.Random(seed)
    for _ in range(15):
        names = choose.sample(NAMES, choose.randint(1, len(NAMES)))
        ids = robot.set_labels(names)
        assert list(ids) == names
        assert ids == {name: 1 + NAMES.index(name) for name in names}
        robot.next_frame(layer)
    robot.pause()
    layer.check_pairs()
    elevation.check_pairs()
    check_names(layer.frames)
    check_names(hydra.frames)
    truth = np.repeat(NAMES, 4)
    for _, layers in elevation.frames:
        for name, shares in layers.items():
            assert shares[:, truth == name].min() > 0.9
    for info in robot.infos:
        hydra.check_label_info(info)
        # Whatever is in force: who holds an old id learns what it means.
        assert {c.class_id: c.class_name for c in info.class_map} == dict(enumerate(NAMES, 1))


def test_hydra_reads_signed_ids(graph: Graph) -> None:
    hydra = Hydra(dict(enumerate(NAMES, 1)), unknown_id=32767)
    robot = Robot(graph, [hydra])
    graph.start(lambda params: FakeSegmenter(), labels=NAMES, mask_encoding="16SC1")
    robot.next_frame(hydra)
    robot.set_labels(NAMES[2:])
    robot.next_frame(hydra)
    check_names(hydra.frames)


def test_no_id_is_used_again_while_another_is_free(graph: Graph) -> None:
    things = [f"thing {i}" for i in range(280)]
    layer = Nav2Layer(["red", *things])
    robot = Robot(graph, [layer])
    graph.start(lambda params: FakeSegmenter(), labels=["red"])
    robot.next_frame(layer)
    owners: dict[int, str] = {1: "red"}
    for start in range(0, len(things), 20):
        batch = things[start : start + 20]
        for name, class_id in robot.set_labels([*batch, "red"]).items():
            if len(owners) < 254:  # of 256, 0 is never given away and 255 is unknown
                assert owners.setdefault(class_id, name) == name
            else:  # those that left first
                assert name == owners[class_id] or owners[class_id] in things[:27]
    assert len(owners) == 254
    robot.next_frame(layer)


def test_a_removed_label_keeps_its_meaning_until_its_id_is_given_away(graph: Graph) -> None:
    layer = Nav2Layer(NAMES)
    robot = Robot(graph, [layer])
    graph.start(lambda params: FakeSegmenter(), labels=["red", "green"])
    robot.next_frame(layer)
    assert robot.set_labels(["blue", "green"]) == {"blue": 3, "green": 2}
    full = [Label(name="blue"), Label(name="green", background=True)]
    assert robot.change(SetLabels.Request(full=full)) == {"blue": 3}
    # Of each change; each may be said again, for a reader that has come.
    graph.until(lambda: len({str(info) for info in robot.infos}) == 3, "LabelInfo of each change")
    assert {c.class_id: c.class_name for c in robot.infos[-1].class_map} == {1: "red", 2: "green", 3: "blue"}


@pytest.mark.parametrize("volatile", [False, True])
def test_a_reader_that_waits_for_the_node_gets_labels_before_masks(graph: Graph, volatile: bool) -> None:
    layer = Nav2Layer(NAMES, volatile=volatile)
    robot = Robot(graph, [layer])
    graph.start(lambda params: FakeSegmenter(), labels=NAMES)
    graph.until(lambda: len(layer.frames) > 3, "frames")
    assert robot.order[0] == "labels"


def test_a_late_reader_gets_the_labels_in_force_at_once(graph: Graph) -> None:
    graph.start(lambda params: FakeSegmenter(), labels=["red", "green"])
    changed = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["green", "blue"]))
    assert changed.success
    layer = Nav2Layer(NAMES)
    robot = Robot(graph, [layer])
    robot.pause()
    graph.until(lambda: robot.infos, "the latched LabelInfo")
    robot.resume()
    graph.until(lambda: len(layer.frames) > 3, "frames")
    assert len({str(info) for info in robot.infos}) == 1 and robot.order[0] == "labels"
    check_names(layer.frames)


def test_masks_get_the_size_of_a_smaller_cloud(graph: Graph) -> None:
    layer = Nav2Layer(NAMES)
    robot = Robot(graph, [layer], cloud_size=(len(NAMES), 3))
    graph.start(lambda params: FakeSegmenter(), labels=NAMES, output_size=[len(NAMES), 3])
    robot.next_frame(layer)
    frame = layer.frames[-1]
    assert frame.names.shape == frame.values.shape == (3, len(NAMES))
    assert list(frame.names[0]) == NAMES


def test_a_smaller_cloud_is_not_paired_with_masks_of_the_images_size(graph: Graph) -> None:
    layer = Nav2Layer(NAMES)
    robot = Robot(graph, [layer], cloud_size=(len(NAMES), 3))
    graph.start(lambda params: FakeSegmenter(), labels=NAMES)
    with pytest.raises(ConsumerError, match="the mask has 20x8 pixels and the cloud 5x3 points"):
        robot.next_frame(layer)


@pytest.mark.parametrize("volatile", [False, True])
def test_a_reader_that_joins_while_masks_are_published_gets_labels_first(graph: Graph, volatile: bool) -> None:
    node = graph.start(lambda params: FakeSegmenter(), labels=NAMES)
    robot = Robot(graph, [])
    masks = graph.collect(Image, "lseg/mask")
    publisher = next(p for p in node.publishers if p.topic_name == "/lseg/mask")
    for _ in range(25):
        robot.order.clear()
        layer = Nav2Layer(NAMES, volatile=volatile)
        joined = robot.subscribe_nav2(layer)
        graph.until(lambda: {"labels", "mask"} <= set(robot.order), "labels and a mask")
        assert robot.order[0] == "labels"
        for subscription in joined:
            graph.client.destroy_subscription(subscription)
        graph.until(lambda: publisher.get_subscription_count() == 1, "the layer to leave")
        count = len(masks)  # of which the newest may have been on its way out
        graph.until(lambda count=count: len(masks) > count + 2, "masks without it")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["ade20k", "driving", "indoor", "outdoor"])
def test_the_node_takes_the_label_files(graph: Graph, name: str) -> None:
    path = LABEL_FILES / f"{name}.yaml"
    specs = [spec for spec in read_label_file(path) if not spec.background]
    graph.start(lambda params: FakeSegmenter(), labels=["something else"])
    # Its id is asked for by the file too, so the file has to be put in force.
    request = SetLabels.Request(label_file=str(path), force=True)
    response = graph.call(SetLabels, "set_labels", request)
    assert response.success, response.message
    visible = [label for label in response.label_set.labels if not label.background]
    assert [(x.name, x.class_id) for x in visible] == [(spec.name, spec.class_id) for spec in specs]
    assert [list(x.prompts) for x in visible] == [list(spec.prompts or (spec.name,)) for spec in specs]


def test_label_files_follow_one_another_without_force(graph: Graph) -> None:
    def request(name: str) -> SetLabels.Request:
        return SetLabels.Request(label_file=str(LABEL_FILES / f"{name}.yaml"))

    graph.start(lambda params: FakeSegmenter(), label_file=str(LABEL_FILES / "indoor.yaml"))
    for name in ("outdoor", "driving", "indoor"):
        response = graph.call(SetLabels, "set_labels", request(name))
        assert response.success, response.message


def test_a_label_that_comes_back_with_another_id_is_found_under_it() -> None:
    """Nav2's layer keeps one id for a name: the last one in the list."""
    labels = LabelSet()
    for specs in (as_specs(["red", "green"]), as_specs(["green"]), as_specs(["green", "red"], [2, 7])):
        labels = assign(labels, specs, IdRules(), force=True)
    kept = {entry.class_name: entry.class_id for entry in label_info_msg(labels, 0.0, Time()).class_map}
    assert kept == {"green": 2, "red": 7} and 1 in [retired.class_id for retired in labels.retired]
