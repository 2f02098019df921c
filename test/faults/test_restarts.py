"""A node and a camera that are killed and started again, and a node that is stopped for a while."""

import signal
import time
from pathlib import Path

import cv2
from faults.onlooker import HEIGHT, WIDTH, Onlooker, Report, photos
from graph import Graph
from lseg_ros.srv import GetLabels, SetLabels
from processes import PATIENCE, Start, stop
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter


def test_a_node_that_is_killed_and_started_again(
    graph: Graph, start_node: Start, onlooker: Onlooker, report: Report, *, full: bool
) -> None:
    for turn in range(3 if full else 1):
        node = start_node(labels=["sky", "tree"])
        graph.client_of(SetLabels, "set_labels")
        onlooker.wait_for_node()
        onlooker.more_masks(3, "of a new node")
        asked = SetLabels.Request(labels=["sky", "zebra"])
        assert graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.version == 1
        assert graph.call(SetLabels, "set_labels", asked).success
        onlooker.more_masks(3, "under other labels")
        node.send_signal(signal.SIGKILL)
        node.wait(PATIENCE)
        graph.until(lambda: not onlooker.camera.get_subscription_count(), "the killed node to be forgotten")
        assert onlooker.wrong == {}
        onlooker.forget()
        began = time.monotonic()
        node = start_node(labels=["sky", "tree"])
        onlooker.wait_for_node()
        onlooker.more_masks(3, "after the restart")
        report(f"turn {turn}: three masks {time.monotonic() - began:.1f} s after the restart")
        assert onlooker.label_set is not None and [x.name for x in onlooker.label_set.labels] == ["sky", "tree"]
        assert onlooker.label_set.version == 1 and onlooker.label_infos
        assert onlooker.wrong == {}
        assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
        graph.until(lambda: not onlooker.camera.get_subscription_count(), "the node to go")
        onlooker.forget()


def test_a_camera_that_is_killed_and_started_again(
    graph: Graph, start: Start, start_node: Start, onlooker: Onlooker, report: Report, tmp_path: Path
) -> None:
    for number, photo in enumerate(photos(WIDTH, HEIGHT)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo[..., ::-1])
    graph.client.destroy_publisher(onlooker.camera)
    node = start_node(no_image_warning=1.0)
    for turn in range(2):
        camera = start("image_player", sources=[str(tmp_path / f"{i}.png") for i in range(3)], rate=10.0)
        began, wanted = time.monotonic(), onlooker.masks + 5
        graph.until(lambda wanted=wanted: onlooker.masks >= wanted, "masks of the camera")  # type: ignore[misc]
        graph.until(lambda: onlooker.message() == "segmenting", "diagnostics that say so")
        report(f"turn {turn}: five masks {time.monotonic() - began:.1f} s after the camera was started")
        camera.send_signal(signal.SIGKILL)
        camera.wait(PATIENCE)
        # The middleware may still list the killed camera for a while. In both cases nothing arrives.
        graph.until(lambda: "arrives" in onlooker.message() or "nobody publishes" in onlooker.message(), "a warning")
    assert onlooker.wrong == {}
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0


def test_a_node_that_is_stopped_for_a_while(
    stop_seconds: float, graph: Graph, start_node: Start, onlooker: Onlooker, report: Report, tmp_path: Path
) -> None:
    node = start_node()
    log = tmp_path / "lseg_node.log"
    set_labels = graph.client_of(SetLabels, "set_labels")
    rate = Parameter("max_rate", value=50.0).to_parameter_msg()
    graph.call(SetParameters, "lseg/set_parameters", SetParameters.Request(parameters=[rate]))
    onlooker.wait_for_node()
    onlooker.more_masks(3, "before")
    node.send_signal(signal.SIGSTOP)
    stopped, before = time.time_ns(), onlooker.masks
    answer = set_labels.call_async(SetLabels.Request(labels=["sky", "road"]))
    until = time.monotonic() + stop_seconds
    onlooker.play_until(lambda: time.monotonic() > until, "the end of the stop")
    # Masks that were on their way may still come, but none of an image that was sent while the node was stopped.
    assert onlooker.last is not None and stamp_ns(onlooker) <= stopped and onlooker.masks - before <= 2
    continued = time.time_ns()
    node.send_signal(signal.SIGCONT)
    onlooker.play_until(lambda: "joining the network again" in log.read_text(), "the node to join the network again")
    joined = time.time_ns()
    onlooker.play_until(lambda: stamp_ns(onlooker) > joined, "a mask of an image that was sent afterwards")
    report(
        f"first mask of the new participant {(time.time_ns() - continued) / 1e9:.1f} s after a stop of "
        f"{stop_seconds:g} s"
    )
    if not answer.done():  # the request or its answer is lost with the connection
        assert graph.ask(SetLabels, "set_labels", SetLabels.Request(labels=["sky", "road"])).success
    names = [label.name for label in graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels]
    assert names == ["sky", "road"]
    asked = graph.ask(GetParameters, "lseg/get_parameters", GetParameters.Request(names=["max_rate"]))
    assert asked.values[0].double_value == 50.0
    onlooker.more_masks(3, "with these labels")
    onlooker.play_until(lambda: onlooker.message() == "segmenting", "diagnostics that say so")
    assert onlooker.wrong == {}
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0


def stamp_ns(onlooker: Onlooker) -> int:
    """Returns the stamp of the newest mask."""
    assert onlooker.last is not None
    return int(onlooker.last.header.stamp.sec) * 10**9 + int(onlooker.last.header.stamp.nanosec)
