"""Each reader takes good messages, and says what would go wrong with faulty ones."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from consumers.readers import ConsumerError, ElevationMapping, Hydra, Nav2Layer
from lseg_ros.msg import ChannelInfo
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import LabelInfo, VisionClass

IDS = np.array([[1, 1, 2, 2], [1, 255, 2, 3]], np.uint8)
CLASSES = ["grass", "person, standing", "wall", "stairs"]
LABELS = {1: "grass", 2: "person, standing", 3: "wall"}


def image(pixels: np.ndarray, encoding: str = "mono8", stamp: int = 1, padding: int = 0) -> Image:
    """Returns an image message with `padding` bytes after each row."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    message = stamped(Image(height=height, width=width, encoding=encoding), stamp)
    message.step = rows.shape[1] + padding
    message.data = array("B", np.pad(rows, ((0, 0), (0, padding)), constant_values=9).tobytes())
    return message


def stamped(message: Any, stamp: int = 1) -> Any:
    message.header.stamp.sec, message.header.stamp.nanosec = stamp, 123_456_789
    message.header.frame_id = "camera_optical"
    return message


def label_info(labels: dict[int, str]) -> LabelInfo:
    return LabelInfo(class_map=[VisionClass(class_id=i, class_name=name) for i, name in labels.items()])


def cloud(stamp: int = 1, width: int = 4, height: int = 2) -> PointCloud2:
    return stamped(PointCloud2(width=width, height=height), stamp)


def confident(value: int = 200) -> np.ndarray:
    return np.full(IDS.shape, value, np.uint8)


def feed_nav2(
    mask: Image | None = None,
    confidence: Image | None = None,
    points: PointCloud2 | None = None,
    labels: dict[int, str] | None = None,
) -> Nav2Layer:
    layer = Nav2Layer(CLASSES)
    layer.on_label_info(label_info(LABELS if labels is None else labels))
    layer.on_mask(image(IDS) if mask is None else mask)
    layer.on_confidence(image(confident()) if confidence is None else confidence)
    layer.on_cloud(cloud() if points is None else points)
    layer.check_pairs()
    return layer


def test_nav2_reads_a_good_frame() -> None:
    (frame,) = feed_nav2().frames
    g, p, w = "grass", "person, standing", "wall"
    np.testing.assert_array_equal(frame.names, [[g, g, p, p], [g, "", p, w]])
    np.testing.assert_array_equal(frame.values, confident())


NAV2_FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "padded mask": (lambda: feed_nav2(mask=image(IDS, padding=4)), "the mask has 4 bytes behind each row"),
    "16UC1 mask": (lambda: feed_nav2(mask=image(IDS.astype(np.uint16), "16UC1")), "the mask is 16UC1"),
    "mask of another size than the cloud": (
        lambda: feed_nav2(points=cloud(width=8)),
        "8x2 points: the frame is dropped",
    ),
    "too little data": (lambda: feed_nav2(mask=short(image(IDS))), "7 bytes for 8 pixels"),
    "confidence of half the size": (
        lambda: feed_nav2(confidence=image(confident()[::2, ::2])),
        "memory behind it is read",
    ),
    "confidence of another shape": (
        lambda: feed_nav2(confidence=image(confident().reshape(4, 2))),
        "belongs to another pixel",
    ),
    "float confidence": (
        lambda: feed_nav2(confidence=image(np.ones(IDS.shape, np.float32), "32FC1")),
        "the confidence image is 32FC1",
    ),
    "padded confidence": (
        lambda: feed_nav2(confidence=image(confident(), padding=1)),
        "the confidence image has 1 bytes behind each row",
    ),
    "no confidence at labelled pixels": (lambda: feed_nav2(confidence=image(confident(0))), "never reach max_cost"),
    "a stamp of its own": (lambda: feed_nav2(points=cloud(stamp=2)), "no cloud has the stamp of the mask"),
    "empty LabelInfo": (lambda: feed_nav2(labels={}), "LabelInfo was empty"),
    "a class the costmap lacks": (lambda: feed_nav2(labels={1: "Grass"}), "'Grass' is not among the costmap's classes"),
    "an id above 255": (lambda: feed_nav2(labels={257: "grass"}), "id 257 of 'grass' is cut"),
    "the unknown id as a class": (lambda: feed_nav2(labels={255: "grass"}), "unknown pixels take the cost of 'grass'"),
    "an id without a class": (lambda: feed_nav2(labels={1: "grass", 2: "wall"}), "gives id 3 no cost"),
    # By name, the last one counts: a label's current id must not stand before an old one of its own.
    "two ids for a label": (lambda: feed_nav2(labels={**LABELS, 7: "grass"}), "gives id 1 no cost"),
}


def short(message: Image) -> Image:
    message.data = message.data[:-1]
    return message


@pytest.mark.parametrize("fault", NAV2_FAULTS)
def test_nav2_fails(fault: str) -> None:
    feed, reason = NAV2_FAULTS[fault]
    with pytest.raises(ConsumerError, match=reason):
        feed()


def test_nav2_fails_with_a_mask_before_label_info() -> None:
    layer = Nav2Layer(CLASSES)
    layer.on_mask(image(IDS))
    layer.on_confidence(image(confident()))
    with pytest.raises(ConsumerError, match="before any LabelInfo"):
        layer.on_cloud(cloud())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({1: "grass", 2: "person, standing", 3: "stairs"}, "seen as 'wall' .id 3. take the cost of 'stairs'"),
        ({1: "grass", 2: "person, standing"}, "seen as 'wall' .id 3. take cost 0"),
    ],
)
def test_nav2_fails_with_an_id_used_again_or_gone_while_tiles_hold_it(changed: dict[int, str], reason: str) -> None:
    layer = feed_nav2()
    layer.on_cloud(cloud(stamp=6))  # five seconds later
    with pytest.raises(ConsumerError, match=reason):
        layer.on_label_info(label_info(changed))
    layer.on_cloud(cloud(stamp=7))
    layer.on_label_info(label_info(changed))  # forgotten by now


def test_nav2_takes_new_labels_while_old_ids_keep_their_meaning() -> None:
    layer = feed_nav2()
    layer.on_label_info(label_info({**LABELS, 4: "stairs"}))
    layer.on_mask(image(np.full_like(IDS, 4), stamp=2))
    layer.on_confidence(image(confident(), stamp=2))
    layer.on_cloud(cloud(stamp=2))
    assert layer.frames[-1].names[0, 0] == "stairs"


SCORES = np.linspace(0, 1, 16, dtype=np.float32).reshape(2, 4, 2)


def feed_elevation(scores: Image | None = None, size: tuple[int, int] = (4, 2), stamp: int = 1, **info: Any) -> Any:
    reader = ElevationMapping()
    reader.on_image(image(SCORES, "32FC2") if scores is None else scores)
    reader.on_camera_info(stamped(CameraInfo(width=size[0], height=size[1])))
    reader.on_channel_info(stamped(ChannelInfo(channels=info.get("channels", ["grass", "wall"])), stamp))
    reader.check_pairs()
    return reader


def test_elevation_mapping_reads_a_good_frame() -> None:
    ((_, layers),) = feed_elevation().frames
    np.testing.assert_array_equal(layers["grass"], SCORES[..., 0])
    np.testing.assert_array_equal(layers["wall"], SCORES[..., 1])


ELEVATION_FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a name too few": (lambda: feed_elevation(channels=["grass"]), "2 channels and names for 1"),
    "rgb counts three": (lambda: feed_elevation(channels=["grass", "rgb"]), "2 channels and names for 4"),
    "a name twice": (lambda: feed_elevation(channels=["grass", "grass"]), "overwrites"),
    "CameraInfo of another size": (lambda: feed_elevation(size=(8, 4)), "CameraInfo is of 8x4"),
    "padded rows": (lambda: feed_elevation(image(SCORES, "32FC2", padding=8)), "8 bytes behind each row"),
    "ids": (lambda: feed_elevation(image(IDS.astype(np.uint16), "16UC1")), "the image is 16UC1"),
    "bytes": (lambda: feed_elevation(image(IDS)), "the image is mono8"),
    "percent": (lambda: feed_elevation(image(100 * SCORES, "32FC2")), "outside 0..1"),
    "not a number": (lambda: feed_elevation(image(np.nan * SCORES, "32FC2")), "outside 0..1"),
    "names of another stamp": (lambda: feed_elevation(stamp=2), "no ChannelInfo of its stamp"),
}


@pytest.mark.parametrize("fault", ELEVATION_FAULTS)
def test_elevation_mapping_fails(fault: str) -> None:
    feed, reason = ELEVATION_FAULTS[fault]
    with pytest.raises(ConsumerError, match=reason):
        feed()


def feed_hydra(labels: Image, depth: tuple[int, int] = (2, 4)) -> Hydra:
    reader = Hydra(LABELS, unknown_id=255)
    reader.on_labels(labels)
    reader.on_depth(image(np.zeros(depth, np.float32), "32FC1"))
    return reader


@pytest.mark.parametrize(("kind", "encoding"), [("u1", "mono8"), ("u2", "16UC1"), ("i2", "16SC1"), ("i4", "32SC1")])
@pytest.mark.parametrize("padding", [0, 4])
def test_hydra_reads_a_good_frame(kind: str, encoding: str, padding: int) -> None:
    (frame,) = feed_hydra(image(IDS.astype(kind), encoding, padding=padding)).frames
    assert frame.names.tolist() == [[LABELS.get(i, "") for i in row] for row in IDS.tolist()]


HYDRA_FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "half the size": (lambda: feed_hydra(image(IDS), depth=(4, 8)), "labels of 4x2 with depth of 8x4"),
    "colors": (lambda: feed_hydra(image(np.zeros((2, 4, 3), np.uint8), "rgb8")), "colors are looked up"),
    "shares": (lambda: feed_hydra(image(np.ones((2, 4), np.float32), "32FC1")), "values are rounded"),
    "an id it does not know": (lambda: feed_hydra(image(np.full_like(IDS, 4))), "id 4 is not in the label space"),
    "too little data": (lambda: feed_hydra(short(image(IDS))), "cv_bridge throws"),
}


@pytest.mark.parametrize("fault", HYDRA_FAULTS)
def test_hydra_fails(fault: str) -> None:
    feed, reason = HYDRA_FAULTS[fault]
    with pytest.raises(ConsumerError, match=reason):
        feed()


def test_hydra_fails_with_an_id_used_again() -> None:
    reader = Hydra(LABELS, unknown_id=255)
    reader.check_label_info(label_info(LABELS))
    with pytest.raises(ConsumerError, match="'stairs' has id 3, which is 'wall'"):
        reader.check_label_info(label_info({1: "grass", 3: "stairs"}))
