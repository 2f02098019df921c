"""The ROS side of the client with a real node over DDS: it finds, calls and watches the node."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import COLORS, FakeSegmenter
from graph import Graph, image, pixels, stripes
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from lseg_ros.inference.labels import LabelError, LabelSpec
from lseg_ros.ros.client import (
    ClientError,
    Newest,
    NoAnswer,
    NotFound,
    Refused,
    RemoteNode,
    Session,
    StatusWatch,
    choose_node,
    find_nodes,
)
from lseg_ros.ros.label_msgs import label_msg

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]
SCENE = stripes(RED, GREEN, BLUE)
WAIT = 60.0  # seconds; a test that passes never waits this long


@pytest.fixture
def session(domain: int) -> Iterator[Session]:
    with Session() as made:
        yield made


@pytest.fixture
def remote(lseg: Callable[..., None], session: Session) -> RemoteNode:
    lseg()
    return RemoteNode(session, choose_node(session, timeout=WAIT))


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return found


def test_a_node_is_found_by_what_it_offers(graph: Graph, session: Session) -> None:
    assert find_nodes(session) == []
    graph.start(lambda params: FakeSegmenter(), namespace="/robot1")
    info = choose_node(session, timeout=WAIT)
    assert info.name == "/robot1/lseg" and info.count == 1 and info.cameras == ("",)
    assert info.service("lseg_ros/srv/SetLabels") == "/robot1/set_labels"
    assert info.service("lseg_ros/srv/Query", "") == "/robot1/lseg/query"
    until(lambda: "/robot1/lseg/overlay" in choose_node(session, "robot1/lseg").topics)
    assert choose_node(session, "/robot1/lseg").topic("overlay") == "/robot1/lseg/overlay"


def test_cameras_of_a_node(graph: Graph, session: Session) -> None:
    graph.start(lambda params: FakeSegmenter(), cameras=["front", "rear"])
    info = until(lambda: next((i for i in find_nodes(session) if "/lseg/rear/mask" in i.topics), None))
    assert info.cameras == ("front", "rear")
    assert info.service("lseg_ros/srv/Query", "rear") == "/lseg/rear/query"
    assert info.topic("mask", "rear") == "/lseg/rear/mask"
    with pytest.raises(NotFound, match="several cameras, choose one with --camera; there are: front, rear"):
        info.service("lseg_ros/srv/Query", "")
    with pytest.raises(NotFound, match="no camera 'left'; there are: front, rear"):
        info.service("lseg_ros/srv/Query", "left")
    with pytest.raises(NotFound, match="does not publish 'rear/msk'; there are: color, confidence, mask"):
        info.topic("msk", "rear")


def test_errors_of_finding_say_what_to_do(graph: Graph, session: Session) -> None:
    with pytest.raises(NotFound, match=r"no node of lseg_ros was found within 0\.1 s; start one with `lseg_node`"):
        choose_node(session, timeout=0.1)
    graph.start(lambda params: FakeSegmenter(), namespace="/a")
    until(lambda: find_nodes(session))
    with pytest.raises(NotFound, match=r"no node /lseg of lseg_ros was found within 0\.1 s; there are: /a/lseg"):
        choose_node(session, "/lseg", timeout=0.1)


def test_of_several_nodes_one_has_to_be_chosen(graph: Graph, session: Session) -> None:
    graph.start(lambda params: FakeSegmenter(), namespace="/a")
    with Graph(session.domain_id) as other:
        other.start(lambda params: FakeSegmenter(), namespace="/b")
        until(lambda: len(find_nodes(session)) == 2)
        with pytest.raises(NotFound, match="several nodes: /a/lseg, /b/lseg; choose one with --node"):
            choose_node(session)
        assert choose_node(session, "/b/lseg").name == "/b/lseg"


def test_two_nodes_of_one_name_are_counted(graph: Graph, session: Session) -> None:
    graph.start(lambda params: FakeSegmenter())
    with Graph(session.domain_id) as other:
        other.start(lambda params: FakeSegmenter())
        assert until(lambda: [info.count for info in find_nodes(session)] == [2])


def test_labels_are_shown_and_set(remote: RemoteNode) -> None:
    assert [label.name for label in remote.labels().labels] == ["red", "green", "blue"]
    after = remote.set_labels(["green", "dog, or cat"]).label_set
    assert [(label.name, label.class_id) for label in after.labels] == [("green", 2), ("dog, or cat", 4)]
    assert remote.labels() == after


def test_rich_labels_arrive_as_they_are(remote: RemoteNode) -> None:
    specs = [
        LabelSpec("plant", 7, ("bush", "tree"), 0.25, color=(0, 0, 0)),
        LabelSpec("other", background=True),
        LabelSpec("red"),
    ]
    plant, other, red = remote.set_labels(specs).label_set.labels
    assert (plant.class_id, list(plant.prompts), plant.threshold) == (7, ["bush", "tree"], 0.25)
    assert (plant.color.r, plant.color.g, plant.color.b) == (0, 0, 0)  # black, and not the palette's
    assert other.background and red.class_id == 1


def test_an_id_that_a_request_cannot_carry_is_refused() -> None:
    with pytest.raises(LabelError, match="'sky' asks for class id 0, which cannot be sent"):
        label_msg(LabelSpec("sky", 0))


def test_a_refusal_is_the_nodes_own_sentence(remote: RemoteNode) -> None:
    with pytest.raises(Refused, match="blank|empty"):
        remote.set_labels(["red", " "])
    with pytest.raises(Refused, match="list of phrases is empty"):
        remote.query([])


def test_enable(remote: RemoteNode) -> None:
    assert remote.enable(False) == "disabled"
    assert remote.enable(True) == "enabled"


@pytest.mark.parametrize("scores", [True, False])
def test_a_query_with_and_without_score_images(graph: Graph, remote: RemoteNode, scores: bool) -> None:
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(SCENE))
    graph.next(masks)
    answer = remote.query(["green"], scores=scores)
    assert list(answer.best_score) == [1] and answer.best_u[0] == 5
    assert [pixels(score).shape for score in answer.scores] == ([SCENE.shape[:2]] if scores else [])


def test_a_service_that_does_not_answer(graph: Graph, session: Session, segmenter: FakeSegmenter) -> None:
    release = threading.Event()
    with Graph(session.domain_id) as other:
        server = other.start(lambda params: segmenter)

        def stuck(request: Any, response: Any) -> Any:
            release.wait(WAIT)
            return response

        server.create_service(SetBool, "~/stuck", stuck)
        start = time.monotonic()
        with pytest.raises(NoAnswer, match=r"/lseg/stuck did not answer within 1\.5 s; the node may be loading"):
            session.call(SetBool, "/lseg/stuck", SetBool.Request(), timeout=1.5)
        assert time.monotonic() - start >= 1.5
        release.set()
    with pytest.raises(NotFound, match="nobody offers the service /lseg/nothing"):
        session.call(SetBool, "/lseg/nothing", SetBool.Request(), timeout=0.1)


def test_a_node_that_goes_away_is_not_awaited(graph: Graph, session: Session) -> None:
    graph.client.create_service(SetBool, "/never", lambda request, response: response)  # its thread does not spin
    with ThreadPoolExecutor() as pool:
        call = pool.submit(session.call, SetBool, "/never", SetBool.Request(), WAIT)
        until(lambda: session.node.count_clients("/never"))
        time_asked = time.monotonic()
        while not call.done() and time.monotonic() - time_asked < 1.0:
            time.sleep(0.02)
        assert not call.done()
        for service in list(graph.client.services):
            if service.service_name == "/never":
                graph.client.destroy_service(service)
        with pytest.raises(NoAnswer, match="the node went away before /never answered"):
            call.result(WAIT)


def test_only_the_newest_image_is_kept(graph: Graph, remote: RemoteNode) -> None:
    arrived = threading.Semaphore(0)
    with remote.images("mask", on_new=arrived.release) as masks:
        assert masks.take(0.05) is None
        for stamp in (1, 2, 3):
            graph.send(image(SCENE, stamp))
            assert arrived.acquire(timeout=WAIT)
        newest = masks.take(WAIT)
        assert newest is not None and newest.header.stamp.sec == 3 and masks.received == 3
        assert masks.take(0) is None and masks.peek() is newest
        np.testing.assert_array_equal(np.unique(pixels(newest)), [1, 2, 3])
    until(lambda: not graph.client.count_subscribers("/lseg/mask"))
    assert masks.take(WAIT) is None  # at once: it is closed


def test_a_best_effort_publisher_is_heard_too(graph: Graph, session: Session) -> None:
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = graph.client.create_publisher(Image, "/seen", profile)
    until(lambda: session.node.count_publishers("/seen"))
    with Newest(session, Image, "/seen") as newest:
        until(publisher.get_subscription_count)
        publisher.publish(Image(height=7))
        message = newest.take(WAIT)
        assert message is not None and message.height == 7


def test_label_changes_begin_with_the_last_one(remote: RemoteNode) -> None:
    until(lambda: "/lseg/labels" in remote.info().topics)
    with remote.label_changes() as changes:
        first = changes.take(WAIT)
        assert first is not None and [label.name for label in first.labels] == ["red", "green", "blue"]
        remote.set_labels(["blue"])
        second = changes.take(WAIT)
        assert second is not None and [label.name for label in second.labels] == ["blue"]


def test_status_of_one_node_among_others(graph: Graph, session: Session) -> None:
    graph.start(lambda params: FakeSegmenter(), namespace="/a")
    with Graph(session.domain_id) as other:
        other.start(lambda params: FakeSegmenter(), namespace="/b", cameras=["front"])
        watch = StatusWatch(session, "/b/lseg")
        statuses = until(lambda: watch.take(1.0))
        assert [status.name for status in statuses] == ["lseg: front"]
        assert {pair.key: pair.value for pair in statuses[0].values}["node"] == "/b/lseg"
        watch.close()


def test_many_threads_may_ask_at_once(remote: RemoteNode) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: remote.labels().version, range(24)))
    assert answers == [1] * 24


def test_what_is_asked_of_a_closed_session_is_an_error(domain: int) -> None:
    session = Session()
    session.close()
    session.close()
    with pytest.raises(ClientError, match="the connection to ROS is closed"):
        session.run(lambda: None)


@pytest.mark.parametrize("number", ["233", "-1", "abc"])
def test_a_domain_that_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", number)
    with pytest.raises(ClientError, match=f"ROS_DOMAIN_ID is '{number}'; it must be a whole number from 0 to 232"):
        Session()


def test_ros_that_does_not_start_is_one_sentence(domain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(
        ClientError, match=r"ROS does not start: the folder for logs, .*file, cannot be made; set"
    ) as caught:
        Session()
    assert "\n" not in str(caught.value) and "/src/" not in str(caught.value)
