"""Streams of images: transports, sizes, calibration, rates, several cameras, and reasons why nothing comes."""

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, RELIABLE, Graph, image, pixels, stripes
from lseg_ros.msg import ChannelInfo, FrameInfo, LabelSet
from lseg_ros.srv import Query, SetLabels
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lseg_ros.ros.image_msgs import image_msg

RED, GREEN, BLUE, WHITE = COLORS["red"], COLORS["green"], COLORS["blue"], COLORS["white"]
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def compressed(rgb: NDArray[np.uint8], kind: str = "png", stamp: int = 1) -> CompressedImage:
    """Returns a picture as a camera's driver compresses it."""
    data = cv2.imencode(f".{kind}", rgb[..., ::-1])[1].tobytes()
    message = CompressedImage(format=f"rgb8; {kind} compressed bgr8", data=array("B", data))
    message.header.stamp.sec = stamp
    return message


def set_parameter(graph: Graph, name: str, value: Any) -> tuple[bool, str]:
    message = Parameter(name, value=value).to_parameter_msg()
    result = graph.call(SetParameters, "lseg/set_parameters", SetParameters.Request(parameters=[message])).results[0]
    return result.successful, result.reason


def last_message(reports: list[DiagnosticArray]) -> str:
    return reports[-1].status[0].message if reports else ""


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_compressed_images(graph: Graph, lseg: Callable[..., None], kind: str) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    camera = graph.client.create_publisher(CompressedImage, "image/compressed", 1)
    graph.until(camera.get_subscription_count, "a subscription")
    sent = compressed(stripes(BLUE, RED, width=16, height=16), kind)
    camera.publish(sent)
    mask = graph.next(masks)
    assert mask.header == sent.header
    np.testing.assert_array_equal(pixels(mask), np.repeat([[3, 1]], 16, axis=1).repeat(16, axis=0))


def test_auto_follows_what_is_published_and_prefers_raw(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    jpegs = graph.client.create_publisher(CompressedImage, "image/compressed", 1)
    graph.until(jpegs.get_subscription_count, "a subscription to compressed images")
    raw = graph.client.create_publisher(Image, "image", 1)
    graph.until(lambda: raw.get_subscription_count() and not jpegs.get_subscription_count(), "a change to raw")
    raw.publish(image(stripes(RED), stamp=1))
    assert graph.next(masks).header.stamp.sec == 1
    graph.client.destroy_publisher(raw)
    graph.until(jpegs.get_subscription_count, "a change to compressed")
    jpegs.publish(compressed(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_transport_that_was_asked_for_is_kept(graph: Graph, lseg: Callable[..., None], transport: str) -> None:
    lseg(image_transport=transport)
    graph.collect(Image, "lseg/mask")
    topics = {"raw": (Image, "image"), "compressed": (CompressedImage, "image/compressed")}
    publishers = {name: graph.client.create_publisher(*topic, 1) for name, topic in topics.items()}
    graph.until(publishers.pop(transport).get_subscription_count, "a subscription")
    (other,) = publishers.values()
    assert not other.get_subscription_count()


def test_bad_compressed_data_is_refused(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    camera = graph.client.create_publisher(CompressedImage, "image/compressed", 1)
    graph.until(camera.get_subscription_count, "a subscription")
    good = compressed(stripes(RED, width=64, height=64), "jpeg")
    cut = CompressedImage(format=good.format, data=good.data[: len(good.data) // 2])
    for bad, reason in (
        (CompressedImage(format="compressedDepth", data=array("B", b"abc")), "holds numbers such as depth"),
        (CompressedImage(format="webp", data=array("B", b"abc")), "neither JPEG nor PNG"),
        (CompressedImage(), "has no data"),
        (cut, "cut short"),
    ):
        camera.publish(bad)
        graph.until(partial(refused_for, reports, reason), reason)
    camera.publish(good)
    assert graph.next(masks).header == good.header


def refused_for(reports: list[DiagnosticArray], reason: str) -> bool:
    return reason in last_message(reports)


def test_messages_are_filled_again_while_they_are_read(
    graph: Graph, lseg: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers: list[Any] = []

    def recording(*arguments: Any, **named: Any) -> Image:
        message = image_msg(*arguments, **named)
        buffers.append(message.data)
        return message

    monkeypatch.setattr("lseg_ros.ros.outputs.image_msg", recording)
    lseg(labels=["red", "blue"])
    masks = graph.collect(Image, "lseg/mask")
    for stamp, scene in enumerate([stripes(RED, BLUE), stripes(BLUE, RED)]):
        graph.send(image(scene, stamp))
        assert pixels(graph.next(masks))[0, 0] == (1, 2)[stamp]
    # Behind the first mask went the first image of each score topic, which nobody reads.
    assert [buffer is buffers[0] for buffer in buffers] == [True, False, False, True]
    graph.send(image(stripes(RED, BLUE, height=9), 2))
    assert pixels(graph.next(masks)).shape == (9, 10)
    assert buffers[4] is not buffers[0]


def test_every_output_has_the_size_asked_for_and_no_id_is_interpolated(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(output_size=[33, 21])
    names = ("mask", "confidence", "color", "overlay", "score/red", "scores")
    found = {name: graph.collect(Image, f"lseg/{name}") for name in names}
    graph.send(image(stripes(RED, BLUE, width=40, height=60)))
    for messages in found.values():
        message = graph.next(messages)
        assert (message.width, message.height) == (33, 21)
        if message.encoding == "mono8" and messages is found["mask"]:
            assert set(np.unique(pixels(message))) == {1, 3}
    assert set_parameter(graph, "output_size", [1, 2, 3])[0] is False
    assert set_parameter(graph, "output_size", []) == (True, "")
    graph.send(image(stripes(RED, BLUE, width=40, height=60), stamp=2))
    graph.until(lambda: any(m.header.stamp.sec == 2 and m.width == 80 for m in found["mask"]), "the image's own size")


def test_camera_info_describes_the_mask(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(output_size=[5, 4])
    infos, masks = graph.collect(CameraInfo, "lseg/camera_info"), graph.collect(Image, "lseg/mask")
    camera = graph.client.create_publisher(CameraInfo, "camera_info", 1)
    graph.until(camera.get_subscription_count, "a subscription")
    calibration = CameraInfo(width=10, height=8, k=[100.0, 0.0, 4.0, 0.0, 100.0, 3.0, 0.0, 0.0, 1.0])

    def shoot() -> bool:
        camera.publish(calibration)
        graph.send(image(stripes(RED, BLUE)))
        graph.spin_once()
        return bool(infos)

    graph.until(shoot, "camera_info")
    assert infos[0].header == graph.next(masks).header
    assert (infos[0].width, infos[0].height) == (5, 4)
    assert list(infos[0].k) == [50.0, 0.0, 2.0, 0.0, 50.0, 1.5, 0.0, 0.0, 1.0]


def test_camera_info_lies_beside_the_image_or_where_the_parameter_says(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(camera_info_topic="calibration", cameras=["front", "rear"])
    for name in ("front", "rear"):
        graph.collect(CameraInfo, f"lseg/{name}/camera_info")
        graph.until(partial(graph.client.count_subscribers, f"{name}/calibration"), "a subscription")


def test_a_camera_info_topic_of_another_type_ends_nothing(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(camera_info_topic="image")
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(masks)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(CameraInfo, "lseg/camera_info")
    graph.until(lambda: len(reports) > 1, "a second of the node's life")
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2


def test_scores_in_one_image_with_the_names_of_its_channels(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(score_labels=["blue", "red", "no such label"], score_size=[4, 2])
    images, channels = graph.collect(Image, "lseg/scores"), graph.collect(ChannelInfo, "lseg/channel_info")
    sent = image(stripes(RED, BLUE))
    graph.send(sent)
    scores, info = graph.next(images), graph.next(channels)
    assert info.channels == ["red", "blue"] and info.header == scores.header == sent.header
    assert (scores.encoding, scores.width, scores.height, scores.step) == ("32FC2", 4, 2, 32)
    values = np.frombuffer(scores.data, np.float32).reshape(2, 4, 2)
    assert values[0, 0, 0] > 0.9 > 0.1 > values[0, 0, 1] and values[0, 3, 1] > 0.9
    assert set_parameter(graph, "score_labels", []) == (True, "")
    graph.send(sent)
    assert graph.next(channels).channels == ["red", "green", "blue"] and graph.next(images).encoding == "32FC3"


def test_large_scores_are_warned_about(
    graph: Graph, lseg: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    lseg(score_size=[2000, 1000])
    images = graph.collect(Image, "lseg/scores")
    graph.send(image(stripes(RED)))
    graph.next(images)
    assert "23 MB, 3 labels at 2000x1000" in capfd.readouterr().err


def test_max_rate(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg(max_rate=0.01)
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    for stamp in range(3):
        graph.send(image(stripes(RED), stamp=stamp))
        graph.until(partial(has_value, reports, "received", str(stamp + 1)), "the image to arrive")
    assert segmenter.embedded == 1 and has_value(reports, "skipped", "2")
    assert set_parameter(graph, "max_rate", 0.0) == (True, "")
    graph.send(image(stripes(RED), stamp=9))
    graph.until(lambda: masks and masks[-1].header.stamp.sec == 9, "an image at any rate")


def has_value(reports: list[DiagnosticArray], key: str, value: str, status: int = 0) -> bool:
    return bool(reports) and {v.key: v.value for v in reports[-1].status[status].values}.get(key) == value


def test_cameras_share_labels_and_nothing_else(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(cameras=["front", "rear"])
    reports = graph.collect(DiagnosticArray, "diagnostics")
    front, rear = graph.collect(Image, "lseg/front/mask"), graph.collect(Image, "lseg/rear/mask")
    cameras = {name: graph.client.create_publisher(Image, f"{name}/image", 1) for name in ("front", "rear")}
    graph.until(lambda: all(camera.get_subscription_count() for camera in cameras.values()), "subscriptions")
    cameras["front"].publish(image(stripes(RED), stamp=1))
    cameras["rear"].publish(image(stripes(BLUE), stamp=2))
    mask = graph.next(front)
    assert mask.header.stamp.sec == 1 and set(np.unique(pixels(mask))) == {1}
    mask = graph.next(rear)
    assert mask.header.stamp.sec == 2 and set(np.unique(pixels(mask))) == {3}
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["blue", "red"])).success
    assert (graph.next(front).header.stamp.sec, graph.next(rear).header.stamp.sec) == (1, 2)
    answer = graph.call(Query, "lseg/rear/query", Query.Request(phrases=["blue"]))
    assert answer.success and answer.header.stamp.sec == 2 and answer.best_score[0] == 1
    topics = graph.next(graph.collect(LabelSet, "lseg/labels", LATCHED)).labels
    assert topics[0].score_topic == "/lseg/front/score/blue"
    graph.until(lambda: has_value(reports, "segmented", "1", 1), "a report of the second camera")
    assert [status.name for status in reports[-1].status] == ["lseg: front", "lseg: rear"]


def test_a_fast_camera_leaves_a_slow_one_its_turn(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(cameras=["fast", "slow"])
    graph.collect(Image, "lseg/fast/mask")
    fast, slow = graph.collect(FrameInfo, "lseg/fast/frame_info"), graph.collect(Image, "lseg/slow/mask")
    cameras = {name: graph.client.create_publisher(Image, f"{name}/image", 1) for name in ("fast", "slow")}
    graph.until(lambda: all(camera.get_subscription_count() for camera in cameras.values()), "subscriptions")
    graph.client.create_timer(0.005, lambda: cameras["fast"].publish(image(stripes(RED, width=100, height=400))))
    graph.until(lambda: len(fast) > 5, "the fast camera")
    cameras["slow"].publish(image(stripes(RED)))
    before = len(fast)
    graph.next(slow)
    assert len(fast) - before < 30


@pytest.mark.parametrize(
    ("cameras", "reason"),
    [
        (["front", "front"], "name each camera once"),
        (["front camera"], "'front camera'"),
        (["1"], "'1'"),
        (["a/b"], "'a/b'"),
        ("front", "must be a list of strings"),
    ],
)
def test_names_that_no_camera_can_have(graph: Graph, cameras: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        graph.start(lambda params: FakeSegmenter(), cameras=cameras)


def test_it_says_that_nobody_publishes(
    graph: Graph, lseg: Callable[..., None], capfd: pytest.CaptureFixture[str], logged: Callable[[str], str]
) -> None:
    lseg(no_image_warning=0.2)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: len(reports) > 1, "reports")
    assert "nothing to segment" not in capfd.readouterr().err  # nobody listens, so that is fine
    graph.collect(Image, "lseg/mask")
    graph.until(lambda: "nobody publishes /image and /image/compressed" in last_message(reports), "a report")
    assert reports[-1].status[0].level == DiagnosticStatus.WARN
    err = logged("nothing to segment for 0 s: nobody publishes")
    assert err.count("nothing to segment") < 5  # ever more rarely
    camera = graph.client.create_publisher(Image, "image", 1)
    graph.client.create_timer(0.05, lambda: camera.publish(image(stripes(RED))))
    graph.until(lambda: last_message(reports) == "segmenting", "a report that all is well")


def test_it_names_the_quality_of_service_that_does_not_fit(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(no_image_warning=0.2, **{"qos_overrides./image.subscription.reliability": "reliable"})
    graph.client.create_publisher(Image, "image", BEST_EFFORT)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(Image, "lseg/mask")
    graph.until(lambda: "client publishes /image with a quality" in last_message(reports), "the reason")
    assert "reliability" in last_message(reports)
    assert "set the parameter qos_overrides./image.subscription.reliability to best_effort" in last_message(reports)


def test_it_names_a_topic_that_is_no_image(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(no_image_warning=0.2)
    graph.client.create_publisher(CompressedImage, "image", 1)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(Image, "lseg/mask")
    reason = "client publishes /image as sensor_msgs/msg/CompressedImage, and sensor_msgs/msg/Image is needed"
    graph.until(lambda: reason in last_message(reports), reason)


@pytest.mark.parametrize(
    ("offered", "override", "reason"),
    [
        ("reliable", None, "does it send at all?"),
        ("best_effort", None, "too large for best effort: make client reliable, or publish compressed images"),
        ("reliable", "best_effort", "leave out the parameter qos_overrides./image.subscription.reliability"),
    ],
)
def test_advice_fits_the_quality_of_service(
    graph: Graph, lseg: Callable[..., None], offered: str, override: str | None, reason: str
) -> None:
    overrides = {} if override is None else {"qos_overrides./image.subscription.reliability": override}
    lseg(no_image_warning=0.2, **overrides)
    graph.client.create_publisher(Image, "image", {"reliable": RELIABLE, "best_effort": BEST_EFFORT}[offered])
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(Image, "lseg/mask")
    graph.until(lambda: reason in last_message(reports), reason)


def test_it_says_that_all_images_are_refused(
    graph: Graph, lseg: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    lseg(no_image_warning=0.2)
    graph.collect(Image, "lseg/mask")
    bad = image(stripes(RED))
    bad.encoding = "32FC1"
    graph.client.create_timer(0.02, lambda: graph.send(bad))
    graph.until(lambda: "images arrive, but image encoding '32FC1' is not" in capfd.readouterr().err, "the reason")


def test_an_override_holds_for_its_topic_alone(graph: Graph) -> None:
    overrides: Any = {"qos_overrides./lseg/mask.publisher.reliability": "best_effort"}
    node = graph.start(lambda params: FakeSegmenter(), labels=["red"], **overrides)
    found = {p.topic_name: p.qos_profile.reliability for p in node.publishers if p.topic_name.startswith("/lseg/")}
    assert [t for t, r in found.items() if r == ReliabilityPolicy.BEST_EFFORT] == ["/lseg/mask"]


@pytest.mark.parametrize(
    ("policy", "value", "reason"),
    [
        ("image.subscription.reliability", "sometimes", "is 'sometimes'; it must be reliable or best_effort"),
        ("image.subscription.history", "keep_all", "must be keep_last"),
        ("lseg/mask.publisher.depth", 0, "is 0; it must be from 1"),
        ("lseg/mask.publisher.depth", "deep", "is 'deep'; it must be a whole number from 1 to 1000"),
    ],
)
def test_overrides_that_the_node_does_not_start_with(graph: Graph, policy: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        overrides: Any = {f"qos_overrides./{policy}": value}
        graph.start(lambda params: FakeSegmenter(), labels=["red"], **overrides)
    assert f"qos_overrides./{policy}" in str(raised.value)
