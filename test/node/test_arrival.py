"""Images arrive from every camera: reliability, transports and names, and a slow node holds nobody up."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fakes import COLORS, FakeSegmenter
from graph import RELIABLE, Graph, image, stripes
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

RED = COLORS["red"]
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def jpeg() -> CompressedImage:
    data = cv2.imencode(".jpg", stripes(RED, width=32, height=32)[..., ::-1])[1].tobytes()
    return CompressedImage(format="jpeg", data=data)


def offered(graph: Graph, topic: str) -> list[ReliabilityPolicy]:
    """Returns the reliability of the subscriptions of a topic."""
    return [found.qos_profile.reliability for found in graph.client.get_subscriptions_info_by_topic(topic)]


@pytest.mark.parametrize(
    ("kind", "topic", "read"),
    [(Image, "image", Image), (CompressedImage, "image/compressed", Image), (CameraInfo, "camera_info", CameraInfo)],
)
def test_reliability_follows_the_publishers(
    graph: Graph, lseg: Callable[..., None], kind: Any, topic: str, read: Any
) -> None:
    lseg()
    graph.collect(read, "lseg/camera_info" if read is CameraInfo else "lseg/mask")
    reliable = graph.client.create_publisher(kind, topic, RELIABLE)
    graph.until(lambda: offered(graph, topic) == [ReliabilityPolicy.RELIABLE], "a reliable subscription")
    other = graph.client.create_publisher(kind, topic, BEST_EFFORT)
    graph.until(lambda: offered(graph, topic) == [ReliabilityPolicy.BEST_EFFORT], "best effort for both")
    graph.client.destroy_publisher(reliable)
    graph.client.destroy_publisher(other)
    reliable = graph.client.create_publisher(kind, topic, RELIABLE)
    graph.until(lambda: offered(graph, topic) == [ReliabilityPolicy.RELIABLE], "a reliable subscription again")
    graph.client.destroy_publisher(reliable)
    graph.client.create_publisher(kind, topic, BEST_EFFORT)
    graph.until(lambda: offered(graph, topic) == [ReliabilityPolicy.BEST_EFFORT], "best effort again")


def test_images_of_both_kinds_of_publishers_arrive(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    cameras = {
        stamp: graph.client.create_publisher(Image, "image", profile)
        for stamp, profile in ((1, RELIABLE), (2, BEST_EFFORT))
    }
    for stamp, camera in cameras.items():
        graph.client.create_timer(0.02, lambda c=camera, s=stamp: c.publish(image(stripes(RED), s)))
    graph.until(lambda: {mask.header.stamp.sec for mask in masks} == {1, 2}, "masks of both")


@pytest.mark.parametrize("override", ["reliable", "best_effort"])
def test_an_override_of_the_reliability_wins(graph: Graph, lseg: Callable[..., None], override: str) -> None:
    lseg(**{"qos_overrides./image.subscription.reliability": override})
    graph.collect(Image, "lseg/mask")
    graph.client.create_publisher(Image, "image", {"reliable": BEST_EFFORT, "best_effort": RELIABLE}[override])
    expected = ReliabilityPolicy.RELIABLE if override == "reliable" else ReliabilityPolicy.BEST_EFFORT
    graph.until(lambda: offered(graph, "image") == [expected], "the subscription that was asked for")
    reports = graph.collect(DiagnosticArray, "diagnostics")
    seen = len(reports)
    graph.until(lambda: len(reports) > seen + 1, "a second of the node's life")
    assert offered(graph, "image") == [expected]


def test_an_override_that_does_not_fit_is_reported_at_once(
    graph: Graph, lseg: Callable[..., None], logged: Callable[[str], str]
) -> None:
    lseg(no_image_warning=0.0, **{"qos_overrides./image.subscription.reliability": "reliable"})
    graph.client.create_publisher(Image, "image", BEST_EFFORT)
    graph.collect(Image, "lseg/mask")
    logged("client publishes /image with a quality of service that does not fit")


@pytest.mark.parametrize(
    "name",
    [
        "/camera/image",  # the resolved name, as ROS has it
        "/robot/image",  # the name before the remap
        "/image",  # the name in the documents
        "image",
    ],
)
def test_overrides_hold_under_each_name_of_a_topic(graph: Graph, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    overrides: Any = {f"qos_overrides.{name}.subscription.reliability": "best_effort"}
    arguments = ["-r", "image:=/camera/image"]
    node = graph.start(lambda params: FakeSegmenter(), "/robot", arguments, labels=["red"], **overrides)
    graph.client.create_publisher(Image, "/camera/image", RELIABLE)
    graph.collect(Image, "/robot/lseg/mask")
    graph.until(lambda: offered(graph, "/camera/image") == [ReliabilityPolicy.BEST_EFFORT], "the override")
    assert node.get_parameter("qos_overrides./camera/image.subscription.reliability").value == "best_effort"
    assert "not known" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["/robot/lseg/mask", "/lseg/mask", "lseg/mask", "~/mask"])
def test_overrides_of_what_goes_out_hold_in_a_namespace(graph: Graph, name: str) -> None:
    overrides: Any = {f"qos_overrides.{name}.publisher.reliability": "best_effort"}
    node = graph.start(lambda params: FakeSegmenter(), "/robot", labels=["red"], **overrides)
    found = {p.topic_name: p.qos_profile.reliability for p in node.publishers}
    assert found["/robot/lseg/mask"] == ReliabilityPolicy.BEST_EFFORT
    assert found["/robot/lseg/color"] == ReliabilityPolicy.RELIABLE


def test_two_overrides_of_one_topic_that_differ_are_refused(graph: Graph) -> None:
    names = ("/camera/image", "image")
    overrides: Any = {f"qos_overrides.{name}.subscription.depth": i + 1 for i, name in enumerate(names)}
    with pytest.raises(ValueError, match="give one of them"):
        graph.start(lambda params: FakeSegmenter(), "", ["-r", "image:=/camera/image"], labels=["red"], **overrides)


@pytest.fixture
def player(tmp_path: Path, domain: int) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the image player, a reliable camera in its own process."""
    running: list[subprocess.Popen[bytes]] = []

    def start(seconds: float, rate: float) -> subprocess.Popen[bytes]:
        cv2.imwrite(str(tmp_path / "red.png"), stripes(RED, width=640, height=480)[..., ::-1])
        values = {"sources": f"[{tmp_path / 'red.png'}]", "hold": seconds, "rate": rate, "loop": False}
        arguments = [a for name, value in values.items() for a in ("-p", f"{name}:={value}")]
        command = [sys.executable, "-m", "lseg_ros.ros.image_player", "--ros-args", *arguments]
        running.append(subprocess.Popen(command))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_a_slow_node_does_not_hold_up_a_reliable_camera(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter, player: Callable[..., subprocess.Popen[bytes]]
) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    shown: list[CameraInfo] = []
    graph.client.create_subscription(CameraInfo, "camera_info", shown.append, RELIABLE)
    segmenter.gate.clear()
    camera = player(3.0, 30.0)

    def in_flight() -> bool:
        nonlocal camera
        if camera.poll() is not None and not segmenter.entered.is_set():
            camera = player(3.0, 30.0)  # it ended before anybody had discovered it, on a busy machine
        return segmenter.entered.is_set()

    graph.until(in_flight, "a frame in flight")
    # The camera goes on to its end, and what it sends is acknowledged, while that one frame is still in work.
    graph.until(lambda: camera.poll() is not None, "the end of the camera")
    assert camera.returncode == 0 and not masks and segmenter.embedded == 1
    segmenter.gate.set()
    newest = shown[-1].header.stamp
    graph.until(lambda: any(mask.header.stamp == newest for mask in masks), "the mask of the newest image")
    assert segmenter.embedded == 2  # nothing was queued in between


def test_a_compressed_topic_may_have_any_name(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(arguments=["-r", "image/compressed:=/cam/jpeg"])
    masks = graph.collect(Image, "lseg/mask")
    camera = graph.client.create_publisher(CompressedImage, "/cam/jpeg", 1)
    graph.until(camera.get_subscription_count, "a subscription")
    camera.publish(jpeg())
    graph.next(masks)


@pytest.mark.parametrize(
    ("arguments", "topic"),
    [
        ([], "/camera_info"),
        (["-r", "image:=/cam/color/image_raw"], "/cam/color/camera_info"),
        (["-r", "image:=/cam/color/image_raw", "-r", "camera_info:=/calib/camera_info"], "/calib/camera_info"),
        (["-r", "camera_info:=/calib/camera_info"], "/calib/camera_info"),
        (
            ["-r", "image:=/cam/color/image_raw", "-r", "/cam/color/camera_info:=/calib/camera_info"],
            "/calib/camera_info",
        ),
    ],
)
def test_a_calibration_may_have_any_name(
    graph: Graph, lseg: Callable[..., None], arguments: list[str], topic: str
) -> None:
    lseg(arguments=arguments)
    graph.collect(CameraInfo, "lseg/camera_info")
    camera = graph.client.create_publisher(CameraInfo, topic, 1)
    graph.until(camera.get_subscription_count, f"a subscription of {topic}")


def test_names_that_follow_from_another_may_be_remapped_too(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(arguments=["-r", "image:=/cam/image", "-r", "/cam/image/compressed:=/cam/jpeg"], no_image_warning=0.2)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(Image, "lseg/mask")
    graph.until(
        lambda: reports and "nobody publishes /cam/image and /cam/jpeg" in reports[-1].status[0].message, "both names"
    )
    camera = graph.client.create_publisher(CompressedImage, "/cam/jpeg", 1)
    graph.until(camera.get_subscription_count, "a subscription")


def test_several_cameras_have_their_own_remaps(graph: Graph, lseg: Callable[..., None]) -> None:
    arguments = ["-r", "front/image/compressed:=/f/jpeg", "-r", "rear/camera_info:=/r/calibration"]
    lseg(cameras=["front", "rear"], arguments=arguments)
    graph.collect(Image, "lseg/front/mask")
    graph.collect(CameraInfo, "lseg/rear/camera_info")
    jpegs = graph.client.create_publisher(CompressedImage, "/f/jpeg", 1)
    infos = graph.client.create_publisher(CameraInfo, "/r/calibration", 1)
    graph.until(lambda: jpegs.get_subscription_count() and infos.get_subscription_count(), "both subscriptions")


def test_it_says_that_no_calibration_comes(
    graph: Graph, lseg: Callable[..., None], logged: Callable[[str], str]
) -> None:
    lseg(no_image_warning=0.2, arguments=["-r", "image:=/cam/image_raw"])
    graph.collect(CameraInfo, "lseg/camera_info")
    logged("/lseg/camera_info has readers, and no calibration came: nobody publishes /cam/camera_info")
    info = graph.client.create_publisher(CameraInfo, "/cam/camera_info", 1)
    graph.until(info.get_subscription_count, "a subscription")


def test_images_arrive_and_the_network_is_slow(
    graph: Graph,
    lseg: Callable[..., None],
    segmenter: FakeSegmenter,
    capfd: pytest.CaptureFixture[str],
    logged: Callable[[str], str],
) -> None:
    lseg(no_image_warning=0.3)
    reports, masks = graph.collect(DiagnosticArray, "diagnostics"), graph.collect(Image, "lseg/mask")
    camera = graph.client.create_publisher(Image, "image", 1)
    segmenter.gate.clear()
    graph.until(camera.get_subscription_count, "a subscription")
    capfd.readouterr()  # what was said before any image came
    graph.client.create_timer(0.05, lambda: camera.publish(image(stripes(RED))))
    slow = "images arrive; the frame in work takes"
    graph.until(lambda: reports and slow in reports[-1].status[0].message, "a report of the slow frame")
    assert "the first image takes longest, because backends are measured" in reports[-1].status[0].message
    log = logged(slow)
    assert "nothing arrives" not in log and "WARN" not in log
    segmenter.gate.set()
    graph.next(masks)
    graph.until(lambda: reports[-1].status[0].message == "segmenting", "a report that all is well")


def test_a_publisher_without_a_name(monkeypatch: pytest.MonkeyPatch, graph: Graph, lseg: Callable[..., None]) -> None:
    """A publisher of another user or container is visible, but not even its node's name arrives."""
    lseg(no_image_warning=0.2)
    graph.client.create_publisher(Image, "image", RELIABLE)
    assert graph.node is not None
    found = graph.node.get_publishers_info_by_topic

    def without_names(topic: str) -> list[Any]:
        infos = found(topic)
        for info in infos:
            info.node_name = "_NODE_NAME_UNKNOWN_"
        return infos

    monkeypatch.setattr(graph.node, "get_publishers_info_by_topic", without_names)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.collect(Image, "lseg/mask")
    said = "not even its node's name; do both run as one user, and in containers with --ipc=host"
    graph.until(lambda: reports and said in reports[-1].status[0].message, "the advice")
    assert "_NODE_NAME_UNKNOWN_" not in reports[-1].status[0].message
