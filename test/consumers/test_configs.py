"""The configurations for other programs that come with the package match the node.

ROS's own parameter parser reads the Nav2 files here. Nav2, RViz and Foxglove do not run.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from consumers.readers import Nav2Layer
from fakes import FakeSegmenter
from graph import Graph
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.ros.parameter_table import ENTRIES

CONFIG = Path(__file__).parents[2] / "config"
OUTDOOR = CONFIG / "labels" / "outdoor.yaml"
# From the layer's source: the parameters that it declares for itself, for each source and for each class type.
LAYER = {"enabled": bool, "combination_method": int, "observation_sources": str, "use_approximate_time_sync": bool}
SOURCE = {
    "segmentation_topic": str,
    "confidence_topic": str,
    "labels_topic": str,
    "pointcloud_topic": str,
    "min_obstacle_distance": float,
    "max_obstacle_distance": float,
    "tile_map_decay_time": float,
    "use_cost_selection": bool,
    "visualize_tile_map": bool,
    "class_types": list,
}
CLASS_TYPE = {
    "classes": list,
    "base_cost": int,
    "max_cost": int,
    "mark_confidence": int,
    "samples_to_max_cost": int,
    "dominant_priority": bool,
}
RCLPY = {"use_sim_time", "start_type_description_service"}  # parameters that rclpy declares in each node
LIFECYCLE_MANAGER = {"autostart": bool, "node_names": list, "bond_timeout": float}


def parameters(path: Path, name: str, namespace: str = "") -> dict[str, Any]:
    """Returns a node's parameters from a parameter file, as ROS reads them: 5 is no double, and 5.0 no integer."""
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    node = Node(
        name,
        namespace=namespace,
        context=context,
        start_parameter_services=False,
        automatically_declare_parameters_from_overrides=True,
    )
    found = {key: p.value for key, p in node.get_parameters_by_prefix("").items() if key not in RCLPY}
    node.destroy_node()
    rclpy.shutdown(context=context)
    context.destroy()
    return found


@pytest.fixture
def costmap(domain: int) -> Iterator[dict[str, Any]]:
    """Parameters of the costmap."""
    yield parameters(CONFIG / "nav2" / "lseg_costmap.yaml", "local_costmap", "local_costmap")


def source(costmap: dict[str, Any]) -> dict[str, Any]:
    prefix = "semantic_layer.camera."
    return {key.removeprefix(prefix): value for key, value in costmap.items() if key.startswith(prefix)}


def test_the_layer_declares_every_parameter_of_the_costmap_file(costmap: dict[str, Any]) -> None:
    types: dict[str, type] = {"plugin": str} | LAYER | {f"camera.{key}": kind for key, kind in SOURCE.items()}
    for class_type in source(costmap)["class_types"]:
        types |= {f"camera.{class_type}.{key}": kind for key, kind in CLASS_TYPE.items()}
    given = {k.removeprefix("semantic_layer."): v for k, v in costmap.items() if k.startswith("semantic_layer.")}
    assert {key: type(value) for key, value in given.items()} == types
    assert given["observation_sources"] == "camera"
    assert given["plugin"] == "semantic_segmentation_layer::SemanticSegmentationLayer"


def test_every_label_has_one_cost_and_every_class_is_a_label(costmap: dict[str, Any]) -> None:
    given = source(costmap)
    classes = [name for class_type in given["class_types"] for name in given[f"{class_type}.classes"]]
    labels = {spec.name: spec.class_id for spec in read_label_file(OUTDOOR) if not spec.background}
    assert sorted(classes) == sorted(labels)
    assert all(0 < (class_id or 0) < 255 for class_id in labels.values())
    for class_type in given["class_types"]:
        costs = [given[f"{class_type}.{key}"] for key in ("base_cost", "max_cost", "mark_confidence")]
        assert all(0 <= cost <= 254 for cost in costs)  # 255 is "no information"


def test_obstacles_keep_their_cost_after_the_decay_time(costmap: dict[str, Any]) -> None:
    """The layer falls back to base_cost when an observation is older than tile_map_decay_time."""
    given = source(costmap)
    for class_type in ("blocked", "moving"):
        assert given[f"{class_type}.base_cost"] == given[f"{class_type}.max_cost"] == 254
    assert {"car", "truck", "bicycle", "animal", "person"} == set(given["moving.classes"])
    assert given["moving.dominant_priority"] and given["moving.samples_to_max_cost"] == 1


def test_two_cameras_have_the_costs_of_one(domain: int, costmap: dict[str, Any]) -> None:
    two = parameters(CONFIG / "nav2" / "lseg_costmap_two_cameras.yaml", "local_costmap", "local_costmap")
    assert two.pop("semantic_layer.observation_sources") == "front rear"
    expected = {}
    for key, value in costmap.items():
        if not key.startswith("semantic_layer.camera."):
            expected[key] = value
            continue
        for name in ("front", "rear"):
            own = key.replace(".camera.", f".{name}.")
            expected[own] = value
            if key.endswith((".segmentation_topic", ".confidence_topic")):
                expected[own] = value.replace("/lseg/", f"/lseg/{name}/")
            if key.endswith(".pointcloud_topic"):
                expected[own] = value.replace("/camera/", f"/{name}/")
    del expected["semantic_layer.observation_sources"]
    assert two == expected


def test_the_layer_would_match_what_the_node_publishes(graph: Graph, costmap: dict[str, Any]) -> None:
    given = parameters(CONFIG / "nav2" / "lseg_node.yaml", "lseg")
    del given["autostart"]  # there is no lifecycle manager here
    assert given.keys() <= ENTRIES.keys()
    node = graph.start(lambda params: FakeSegmenter(), label_file=str(OUTDOOR), **given)
    publishers = {publisher.topic_name: publisher for publisher in node.publishers}

    def check(topic: str, kind: type, wanted: QoSProfile) -> None:
        publisher = publishers[source(costmap)[topic]]
        assert publisher.msg_type is kind
        compatibility, reason = qos_check_compatible(publisher.qos_profile, wanted)
        assert compatibility != QoSCompatibility.ERROR, reason

    check("segmentation_topic", Image, Nav2Layer.IMAGE_QOS)
    check("confidence_topic", Image, Nav2Layer.IMAGE_QOS)
    check("labels_topic", LabelInfo, Nav2Layer([]).label_qos)


@pytest.mark.parametrize("namespace", ["", "robot"])
def test_the_node_is_started_by_a_lifecycle_manager_that_expects_no_bond(domain: int, namespace: str) -> None:
    path = CONFIG / "nav2" / "lseg_node.yaml"
    manager = parameters(path, "lifecycle_manager_lseg", namespace)
    assert {key: type(value) for key, value in manager.items()} == LIFECYCLE_MANAGER
    assert manager["bond_timeout"] == 0.0 and manager["node_names"] == ["lseg"]
    node = parameters(path, "lseg", namespace)
    assert node["autostart"] is False
    assert node["mask_encoding"] == node["confidence_encoding"] == "mono8" and node["unknown_id"] == 255


def test_the_quarantine_of_ids_is_longer_than_the_decay_time_of_tiles(costmap: dict[str, Any]) -> None:
    quarantine = parameters(CONFIG / "nav2" / "lseg_node.yaml", "lseg")["id_quarantine"]
    assert quarantine > source(costmap)["tile_map_decay_time"]


def published(graph: Graph) -> set[str]:
    """Returns all topics of a node with the default labels."""
    node = graph.start(lambda params: FakeSegmenter())
    return {publisher.topic_name for publisher in node.publishers}


def test_rviz_shows_topics_that_exist(graph: Graph) -> None:
    config = yaml.safe_load((CONFIG / "rviz" / "lseg.rviz").read_text())
    displays = [d for d in config["Visualization Manager"]["Displays"] if "Topic" in d]
    images = {d["Topic"]["Value"]: d for d in displays if d["Class"] == "rviz_default_plugins/Image"}
    topics = published(graph)
    assert set(images) <= topics
    assert {"/lseg/overlay", "/lseg/color", "/lseg/confidence"} <= set(images)
    for topic, display in images.items():
        assert not display["Normalize Range"] and display["Min Value"] == 0
        assert display["Max Value"] == (1 if "/score/" in topic else 255)
        assert display["Topic"]["Reliability Policy"] in ("Reliable", "Best Effort")
    others = {d["Topic"]["Value"] for d in displays} - set(images)
    assert others == {"/local_costmap/costmap"}


def test_foxglove_shows_topics_that_exist(graph: Graph) -> None:
    config = json.loads((CONFIG / "foxglove" / "lseg.json").read_text())
    panels = config["configById"]
    images = {p["imageMode"]["imageTopic"]: p["imageMode"] for name, p in panels.items() if name.startswith("Image!")}
    messages = {p["topicPath"] for name, p in panels.items() if name.startswith("RawMessages!")}
    topics = published(graph)
    assert set(images) | messages <= topics
    assert {"/lseg/overlay", "/lseg/color", "/lseg/confidence"} <= set(images)
    for topic, largest in (("/lseg/confidence", 255), ("/lseg/score/person", 1)):
        assert (images[topic]["minValue"], images[topic]["maxValue"]) == (0, largest)
    assert sorted(placed(config["layout"])) == sorted(panels)


def placed(layout: Any) -> list[str]:
    """Returns all panels in a layout, which is a panel or two halves."""
    return [layout] if isinstance(layout, str) else placed(layout["first"]) + placed(layout["second"])
