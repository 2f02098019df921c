"""The node's states: what each transition does, and what each service answers in each state."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, stripes
from lifecycle_msgs.srv import ChangeState, GetState
from lseg_ros.msg import Label, LabelSet
from lseg_ros.srv import GetLabels, Query, SetLabels
from processes import PATIENCE
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from lseg_ros.inference.labels import LabelSet as InForce

RED, WHITE = COLORS["red"], COLORS["white"]
PATHS = {
    "unconfigured": [],
    "inactive": ["configure"],
    "active": ["configure", "activate"],
    "cleaned up": ["configure", "activate", "deactivate", "cleanup"],
    "finalized": ["configure", "activate", "shutdown"],
}
UNCONFIGURED, INACTIVE = "the node is unconfigured; configure it first", "the node is inactive; activate it first"
SHUT_DOWN = "the node is shut down; start it again"


def change(graph: Graph, *labels: str) -> bool:
    """Requests transitions, as a lifecycle manager does. Returns whether all succeeded."""
    found = []
    for label in labels:
        request = ChangeState.Request()
        request.transition.label = label
        found.append(graph.call(ChangeState, "lseg/change_state", request).success)
    return all(found)


def state(graph: Graph) -> str:
    return graph.ask(GetState, "lseg/get_state", GetState.Request()).current_state.label


def set_parameter(graph: Graph, name: str, value: Any) -> tuple[bool, str]:
    message = Parameter(name, value=value).to_parameter_msg()
    result = graph.call(SetParameters, "lseg/set_parameters", SetParameters.Request(parameters=[message])).results[0]
    return result.successful, result.reason


@pytest.mark.parametrize("path", PATHS)
def test_what_services_answer_in_each_state(graph: Graph, lseg: Callable[..., None], path: str) -> None:
    lseg(autostart=False)
    assert change(graph, *PATHS[path])
    assert state(graph) == {"cleaned up": "unconfigured"}.get(path, path)
    if path == "active":
        graph.collect(Image, "lseg/mask")
        graph.send(image(stripes(RED)))
    set_labels = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["red", "white"]))
    get_labels = graph.ask(GetLabels, "get_labels", GetLabels.Request())
    query = graph.call(Query, "lseg/query", Query.Request(phrases=["red"]))
    enable = graph.call(SetBool, "lseg/enable", SetBool.Request(data=False))
    has_labels = path in ("inactive", "active")
    refusal = SHUT_DOWN if path == "finalized" else UNCONFIGURED
    assert (set_labels.success, set_labels.message) == (has_labels, "2 labels in force" if has_labels else refusal)
    assert [x.name for x in get_labels.label_set.labels] == (["red", "white"] if has_labels else [])
    refusal = INACTIVE if path == "inactive" else refusal
    assert (query.success, query.message) == (path == "active", "1 phrases scored" if path == "active" else refusal)
    assert enable.success == (path != "finalized")
    takes_effect_later = f"disabled; that takes effect once the node is active, and it is {state(graph)}"
    assert enable.message == {"active": "disabled", "finalized": SHUT_DOWN}.get(path, takes_effect_later)


def test_transitions(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg(autostart=False)
    camera = graph.client.create_publisher(Image, "image", 1)
    assert state(graph) == "unconfigured" and not graph.client.count_publishers("lseg/mask")
    assert change(graph, "configure")
    masks, sets = graph.collect(Image, "lseg/mask"), graph.collect(LabelSet, "lseg/labels", LATCHED)
    # Latched topics are up before the node is active.
    assert [x.name for x in graph.next(sets).labels] == ["red", "green", "blue"]
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: reports and reports[-1].status[0].message == "inactive", "a report")
    assert not camera.get_subscription_count()
    assert change(graph, "activate")
    graph.send(image(stripes(RED), stamp=1))
    assert graph.next(masks).header.stamp.sec == 1
    assert change(graph, "deactivate")
    graph.until(lambda: not camera.get_subscription_count(), "the end of the subscription")
    assert segmenter.releases == 0
    assert change(graph, "activate")
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2
    assert change(graph, "deactivate", "cleanup")
    graph.until(lambda: not graph.client.count_publishers("lseg/mask"), "the topics to go")
    assert not graph.client.count_publishers("lseg/labels") and not graph.client.count_publishers("lseg/score/red")
    assert segmenter.releases == 1


def test_deactivate_waits_for_the_frame_in_flight(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    segmenter.gate.clear()
    graph.send(image(stripes(RED)))
    graph.until(segmenter.entered.is_set, "a frame in flight")
    client = graph.client_of(ChangeState, "lseg/change_state")
    request = ChangeState.Request()
    request.transition.label = "deactivate"
    answer = client.call_async(request)
    for _ in range(10):
        graph.spin_once()
    assert not answer.done()
    segmenter.gate.set()
    graph.until(answer.done, "the answer")
    assert answer.result().success and state(graph) == "inactive" and not masks


def test_configuring_again_reads_parameters_and_keeps_labels_and_ids(graph: Graph) -> None:
    encodings = []

    def make(params: Any) -> FakeSegmenter:
        encodings.append(params.confidence_encoding)
        return FakeSegmenter()

    graph.start(make, labels=["red", "green", "blue"])
    rich = SetLabels.Request(full=[Label(name="white", prompts=["snow"], threshold=0.2), Label(name="blue")])
    before = graph.call(SetLabels, "set_labels", rich).label_set
    fixed = "parameter 'confidence_encoding' can only change while the node is unconfigured"
    assert set_parameter(graph, "confidence_encoding", "32FC1") == (False, fixed)
    assert change(graph, "deactivate", "cleanup")
    assert set_parameter(graph, "confidence_encoding", "32FC1") == (True, "")
    assert change(graph, "configure", "activate")
    assert encodings == ["mono8", "32FC1"]
    after = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert after.version == before.version + 1
    assert after.labels == before.labels
    # Labels that were set in between have precedence. Ids still keep their meaning.
    assert change(graph, "deactivate", "cleanup")
    assert set_parameter(graph, "labels", ["green", "white"]) == (True, "")
    assert change(graph, "configure")
    labels = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels
    assert [(x.name, x.class_id) for x in labels] == [("green", 2), ("white", 4)]


def test_forced_ids_outlive_a_cleanup(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    forced = SetLabels.Request(labels=["red", "green"], class_ids=[5, 6], force=True)
    assert graph.call(SetLabels, "set_labels", forced).success
    assert change(graph, "deactivate", "cleanup", "configure")
    labels = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels
    assert [(x.name, x.class_id) for x in labels] == [("red", 5), ("green", 6)]


def test_a_change_that_a_cleanup_waits_for_is_remembered(graph: Graph) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(FakeSegmenter):
        def commit(self, planned: InForce) -> None:
            if self.labels.version == 1:
                entered.set()
                assert go_on.wait(PATIENCE)
            super().commit(planned)

    node = graph.start(lambda params: Slow(), autostart=False, labels=["red"])
    assert change(graph, "configure")
    client = graph.client_of(SetLabels, "set_labels")
    answer = client.call_async(SetLabels.Request(labels=["blue"]))
    graph.until(entered.is_set, "a change under way")
    lifecycle = graph.client_of(ChangeState, "lseg/change_state")
    cleanup = ChangeState.Request()
    cleanup.transition.label = "cleanup"
    cleaned = lifecycle.call_async(cleanup)
    graph.until(lambda: node._pipeline is None, "the cleanup to begin")
    go_on.set()
    graph.until(lambda: answer.done() and cleaned.done(), "both answers")
    assert answer.result().success and cleaned.result().success
    assert change(graph, "configure")
    after = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [x.name for x in after.labels] == ["blue"]
    assert after.version > answer.result().label_set.version


def test_a_failed_configure_says_why_and_may_be_tried_again(graph: Graph) -> None:
    failures: list[Exception] = [ValueError("no such\nvariant"), RuntimeError("out of memory")]

    def make(params: Any) -> FakeSegmenter:
        if failures:
            raise failures.pop(0)
        return FakeSegmenter()

    node = graph.start(make, autostart=False, labels=["red"])
    assert not change(graph, "configure") and state(graph) == "unconfigured"
    assert node.failure == "no such variant"
    assert not change(graph, "configure")
    assert node.failure == "RuntimeError: out of memory"
    reports = graph.collect(DiagnosticArray, "diagnostics")
    status = graph.next(reports).status[0]
    assert status.level == DiagnosticStatus.ERROR and status.message == node.failure
    assert change(graph, "configure", "activate") and state(graph) == "active"


def test_the_color_library_is_found_while_the_model_loads(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, loaded = threading.Event(), threading.Event()
    found: list[bool] = []

    def look() -> None:
        looking.set()
        found.append(loaded.wait(PATIENCE))

    def load(params: Any) -> FakeSegmenter:
        assert looking.wait(PATIENCE)
        loaded.set()
        return FakeSegmenter()

    monkeypatch.setattr("lseg_ros.ros.node.color_backend", look)
    graph.start(load, labels=["red"])
    assert found == [True]


def test_a_late_failure_of_configure_leaves_nothing_behind(graph: Graph, segmenter: FakeSegmenter) -> None:
    with pytest.raises(ValueError, match="label 2 of 2 is empty"):
        graph.start(lambda params: segmenter, labels=["red", " "])
    assert segmenter.releases == 1 and graph.node is not None
    topics = {publisher.topic_name for publisher in graph.node.publishers}
    assert not [topic for topic in topics if topic.startswith("/lseg/") and "transition" not in topic]


def test_a_closed_node_is_gone_at_once(domain: int, segmenter: FakeSegmenter) -> None:
    gc.disable()
    try:
        with Graph(domain) as onlooker:
            with Graph(domain) as graph:
                graph.start(lambda params: segmenter, labels=["red"])
                onlooker.until(lambda: onlooker.client.count_services("lseg/change_state"), "the node")
            onlooker.until(lambda: not onlooker.client.count_services("lseg/change_state"), "the end of its services")
    finally:
        gc.enable()


def test_disabled_means_no_images(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(masks)
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=False)).success
    graph.until(lambda: not graph.client.count_subscribers("image"), "the end of the subscription")
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["red"])).success
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: reports and reports[-1].status[0].message == "disabled", "a report")
    assert not masks and segmenter.embedded == 1
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=True)).success
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2
