"""The node over real DDS, with a segmenter that labels colors."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, pixels, stripes
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lseg_ros.msg import ChannelInfo, FrameInfo, Label, LabelSet
from lseg_ros.srv import GetLabels, SetLabels
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import LabelInfo

from lseg_ros.inference.labels import IdRules

RED, GREEN, BLUE, WHITE = COLORS["red"], COLORS["green"], COLORS["blue"], COLORS["white"]


def test_mask_and_confidence(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks, confidences = graph.collect(Image, "lseg/mask"), graph.collect(Image, "lseg/confidence")
    sent = image(stripes(BLUE, RED, GREEN))
    graph.send(sent)
    mask, confidence = graph.next(masks), graph.next(confidences)
    assert mask.header == sent.header and confidence.header == sent.header
    assert mask.encoding == "mono8" and mask.step == mask.width == 15
    np.testing.assert_array_equal(pixels(mask), np.repeat([[3, 1, 2]], 5, axis=1).repeat(8, axis=0))
    assert confidence.encoding == "mono8"
    assert pixels(confidence).shape == pixels(mask).shape
    assert pixels(confidence).min() > 200


def test_confidence_of_a_labelled_pixel_is_never_zero(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(labels=[f"nothing {i}" for i in range(250)] + ["red"])
    confidences = graph.collect(Image, "lseg/confidence")
    far_from_all = stripes((128, 128, 128))
    graph.send(image(far_from_all))
    assert pixels(graph.next(confidences)).min() >= 1


def test_scores_have_a_topic_for_each_label(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(labels=["red", "green", "Traffic light", "2 Café", "道路"])
    sets = graph.collect(LabelSet, "lseg/labels", LATCHED)
    topics = [label.score_topic for label in graph.next(sets).labels]
    assert topics == [f"/lseg/score/{slug}" for slug in ("red", "green", "traffic_light", "id4", "id5")]
    scores = graph.collect(Image, "lseg/score/red")
    graph.send(image(stripes(RED, GREEN)))
    score = graph.next(scores)
    assert score.encoding == "32FC1"
    values = pixels(score)
    assert values[0, 0] > 0.9 and values[0, -1] < 0.1
    assert values.min() >= 0 and values.max() <= 1


def test_score_topics_come_and_go_and_survivors_keep_theirs(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    red = graph.collect(Image, "lseg/score/red")
    graph.send(image(stripes(RED)))
    graph.next(red)
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"]))
    assert response.success
    assert graph.next(red).header.stamp.sec == 1  # the last image again, on the topic that survived
    graph.until(lambda: not graph.client.count_publishers("lseg/score/blue"), "the old topic to go")
    # Subscribed only after the topic appeared: the image it came with is still there.
    white = graph.collect(Image, "lseg/score/white", LATCHED)
    assert graph.next(white).header.stamp.sec == 1


def test_the_executor_waits_on_nothing_of_a_score_topic(graph: Graph) -> None:
    """Otherwise a removed label could end the node: `InvalidHandle` in the executor, which was about to wait."""
    node = graph.start(lambda params: FakeSegmenter(), labels=["red", "blue"])
    scores = [publisher for publisher in node.publishers if "/score/" in publisher.topic_name]
    assert len(scores) == 2 and not any(publisher.event_handlers for publisher in scores)


def test_overlay_and_color(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    overlays, colors = graph.collect(Image, "lseg/overlay"), graph.collect(Image, "lseg/color")
    graph.send(image(stripes(RED, GREEN, height=64, width=60)))
    color = pixels(graph.next(colors))
    np.testing.assert_array_equal(color[0, 0], (128, 0, 0))
    np.testing.assert_array_equal(color[0, -1], (0, 128, 0))
    overlay = pixels(graph.next(overlays))
    assert overlay.shape == (64, 120, 3)
    np.testing.assert_array_equal(overlay[-1, -1], (0, 191, 0))  # half the image, half the label's color


def test_nothing_is_computed_that_nobody_wants(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    camera = graph.client.create_publisher(Image, "image", 1)
    graph.client.create_timer(0.02, lambda: camera.publish(image(stripes(RED))))
    # What is latched and what only comes with images is no reason to take images.
    infos, channels = graph.collect(FrameInfo, "lseg/frame_info"), graph.collect(ChannelInfo, "lseg/channel_info")
    graph.collect(LabelSet, "lseg/labels", LATCHED)
    graph.collect(LabelInfo, "lseg/label_info", LATCHED)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: len(reports) > 1, "reports")
    assert camera.get_subscription_count() == 0
    assert segmenter.embedded == 0 and not infos and not channels
    assert reports[-1].status[0].message == "nobody listens"
    reader = graph.client.create_subscription(Image, "lseg/mask", lambda m: None, 1)
    graph.until(camera.get_subscription_count, "a subscription")
    graph.until(lambda: infos, "a frame")
    graph.client.destroy_subscription(reader)
    graph.until(lambda: not camera.get_subscription_count(), "the end of the subscription")


def received(reports: list[DiagnosticArray], count: str) -> bool:
    """Returns whether the newest report has this count of images."""
    return bool(reports) and value_of(reports[-1], "received") == count


def value_of(report: DiagnosticArray, key: str) -> str:
    """Returns a value of the node's only status."""
    return next(v.value for v in report.status[0].values if v.key == key)


def test_labels_change_and_the_last_image_is_scored_again(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    masks, infos = graph.collect(Image, "lseg/mask"), graph.collect(FrameInfo, "lseg/frame_info")
    graph.send(image(stripes(RED, WHITE)))
    first = graph.next(infos)
    assert (first.label_version, first.rescored) == (1, False)
    assert {"wait", "decode", "encode", "score"} <= set(first.stages) and len(first.stages) == len(first.stage_ms)
    graph.next(masks)
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"]))
    assert response.success and response.label_set.version == 2
    info, mask = graph.next(infos), graph.next(masks)
    assert (info.label_version, info.rescored) == (2, True)
    assert info.header == mask.header == first.header
    ids = {label.name: label.class_id for label in response.label_set.labels}
    assert ids == {"white": 4, "red": 1}  # red survived; 2 and 3 are retired and keep their meaning
    assert sorted(np.unique(pixels(mask))) == [1, 4]
    assert segmenter.embedded == 1  # nothing was encoded again


def test_label_info_is_latched_and_keeps_retired_ids(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    infos = graph.collect(LabelInfo, "lseg/label_info", LATCHED)
    assert pairs(graph.next(infos)) == {1: "red", 2: "green", 3: "blue"}
    request = SetLabels.Request(full=[Label(name="red"), Label(name="white"), Label(name="other", background=True)])
    assert graph.call(SetLabels, "set_labels", request).success
    assert pairs(graph.next(infos)) == {1: "red", 4: "white", 2: "green", 3: "blue"}


def pairs(info: LabelInfo) -> dict[int, str]:
    """Returns ids and names."""
    return {c.class_id: c.class_name for c in info.class_map}


def test_label_info_arrives_before_the_first_mask(graph: Graph, segmenter: FakeSegmenter) -> None:
    order: list[str] = []
    graph.client.create_subscription(LabelInfo, "lseg/label_info", lambda m: order.append("info"), LATCHED)
    graph.client.create_subscription(Image, "lseg/mask", lambda m: order.append("mask"), 10)
    camera = graph.client.create_publisher(Image, "image", 1)
    graph.client.create_timer(0.02, lambda: camera.publish(image(stripes(RED))))
    graph.start(lambda params: segmenter, labels=["red"])
    graph.until(lambda: "mask" in order, "a mask")
    assert order[0] == "info"


def test_background_labels_and_thresholds_make_pixels_unknown(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks, confidences = graph.collect(Image, "lseg/mask"), graph.collect(Image, "lseg/confidence")
    between = (128, 128, 0)
    graph.send(image(stripes(RED, GREEN, between)))
    graph.next(masks), graph.next(confidences)
    request = SetLabels.Request(full=[Label(name="red", threshold=0.9), Label(name="green", background=True)])
    assert graph.call(SetLabels, "set_labels", request).success
    mask, confidence = pixels(graph.next(masks)), pixels(graph.next(confidences))
    assert [mask[0, x] for x in (0, 5, 10)] == [1, 255, 255]
    assert confidence[0, 10] == pytest.approx(128, abs=1)  # the winner's, though it is below its threshold


@pytest.mark.parametrize(
    ("encoding", "unknown"), [("mono8", 255), ("16UC1", 65535), ("16SC1", 32767), ("32SC1", 65535)]
)
def test_mask_encodings(graph: Graph, encoding: str, unknown: int) -> None:
    segmenters = []

    def make(params: object) -> FakeSegmenter:
        segmenters.append(FakeSegmenter(IdRules(params.max_id, params.unknown_id), params.threshold))  # type: ignore[attr-defined]
        return segmenters[0]

    graph.start(make, labels=["red", "green"], mask_encoding=encoding, threshold=0.9)
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(GREEN, (128, 128, 0))))
    mask = graph.next(masks)
    assert mask.encoding == encoding
    assert [pixels(mask)[0, x] for x in (0, 5)] == [2, unknown]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (SetLabels.Request(), "all three are empty"),
        (SetLabels.Request(labels=["a"], label_file="b.yaml"), "labels and label_file"),
        (SetLabels.Request(labels=["a", "  "]), "label 2 of 2 is empty or blank"),
        (SetLabels.Request(labels=["a", " a "]), "'a' is there more than once"),
        (SetLabels.Request(labels=["a\nb"]), "control character"),
        (SetLabels.Request(labels=["x" * 300]), "too long"),
        (SetLabels.Request(labels=["a", "b"], class_ids=[1]), "2 labels and 1 class ids"),
        (SetLabels.Request(labels=["a", "b"], class_ids=[7, 7]), "both ask for id 7"),
        (SetLabels.Request(labels=["a"], class_ids=[255]), "means unknown"),
        (SetLabels.Request(labels=["a"], class_ids=[256]), "holds 0 to 255"),
        (SetLabels.Request(labels=["red"], class_ids=[9]), "has id 1 and the request moves it to 9"),
        (SetLabels.Request(labels=["a"] + [f"b{i}" for i in range(254)]), "more labels than ids"),
        (SetLabels.Request(full=[Label(name="a", background=True)]), "all labels are background"),
        (SetLabels.Request(full=[Label(name="a", threshold=1.5)]), "threshold of 'a' is 1.5"),
        (SetLabels.Request(label_file="/nowhere/labels.yaml"), "/nowhere/labels.yaml cannot be read"),
    ],
)
def test_bad_requests_change_nothing(
    graph: Graph, lseg: Callable[..., None], request_: SetLabels.Request, reason: str
) -> None:
    lseg()
    response = graph.call(SetLabels, "set_labels", request_)
    assert not response.success
    assert reason in response.message and "\n" not in response.message
    assert [x.name for x in response.label_set.labels] == ["red", "green", "blue"]
    assert graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set == response.label_set
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED)))
    assert set(np.unique(pixels(graph.next(masks)))) == {1}


def test_a_label_too_long_for_a_topic_still_has_one(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    names = ["b" * 250, "b" * 251, "red"]
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=names))
    assert response.success, response.message
    topics = [label.score_topic for label in response.label_set.labels]
    assert len(set(topics)) == 3 and all(len(topic) < 200 for topic in topics)
    assert graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set == response.label_set


def test_labels_that_fail_late_are_not_half_applied(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lseg()
    masks, infos = graph.collect(Image, "lseg/mask"), graph.collect(FrameInfo, "lseg/frame_info")

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(segmenter, "commit", fail)
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white"]))
    assert not response.success and "out of memory" in response.message
    assert graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set == response.label_set
    assert [x.name for x in response.label_set.labels] == ["red", "green", "blue"]
    assert graph.node is not None and graph.node.get_parameter("labels").value == ["red", "green", "blue"]
    graph.until(lambda: not graph.client.count_publishers("lseg/score/white"), "no topic to stay behind")
    graph.send(image(stripes(RED)))
    assert graph.next(infos).label_version == 1 and set(np.unique(pixels(graph.next(masks)))) == {1}


def test_each_caller_gets_the_label_set_that_it_made(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    set_labels = graph.client_of(SetLabels, "set_labels")
    set_parameters = graph.client_of(SetParameters, "lseg/set_parameters")
    asked, answers = [], []
    for i in range(8):  # a service keeps ten requests
        asked.append([f"label {i}", f"other {i % 3}"])
        answers.append(set_labels.call_async(SetLabels.Request(labels=asked[-1])))
        parameter = Parameter("labels", value=[f"parameter {i}"]).to_parameter_msg()
        set_parameters.call_async(SetParameters.Request(parameters=[parameter]))
    graph.until(lambda: all(answer.done() for answer in answers), "all answers")
    told = [answer.result().label_set for answer in answers]
    assert [[x.name for x in labels.labels] for labels in told] == asked
    assert len({labels.version for labels in told}) == len(told)
    in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert graph.node is not None
    assert graph.node.get_parameter("labels").value == [x.name for x in in_force.labels]


def test_new_labels_fetch_an_image_for_their_topics(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"])).success
    graph.send(image(stripes(WHITE), stamp=7))  # waits for a subscription, though nobody listens
    assert graph.next(graph.collect(Image, "lseg/score/white", LATCHED)).header.stamp.sec == 7


def test_a_bad_image_does_not_take_the_place_of_the_last(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(masks)
    bad = image(stripes(RED), stamp=2)
    bad.encoding = "jpeg"
    graph.send(bad)
    graph.until(lambda: any(value_of(r, "refused") == "1" for r in reports), "the refusal to be reported")
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"])).success
    assert graph.next(masks).header.stamp.sec == 1
    reports.clear()
    graph.until(lambda: bool(reports), "a report")
    assert value_of(reports[-1], "refused") == "1"


@pytest.mark.parametrize("sec", [0, -1, -(2**31), 2**31 - 1])
def test_any_stamp_is_accepted(graph: Graph, lseg: Callable[..., None], sec: int) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    sent = image(stripes(RED), stamp=sec)
    graph.send(sent)
    assert graph.next(masks).header == sent.header
    graph.until(lambda: any(value_of(r, "segmented") == "1" for r in reports), "the frame to be counted")
    assert value_of(reports[-1], "failed") == "0"
    assert all(v.key != "age_p50_ms" for v in reports[-1].status[0].values)  # no latency: another clock's stamp


def test_the_parameter_asks_for_plain_labels(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    rich = SetLabels.Request(full=[Label(name="red"), Label(name="green", background=True)])
    assert graph.call(SetLabels, "set_labels", rich).success
    parameter = Parameter("labels", value=["red", "green"]).to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    assert graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful
    labels = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [x.background for x in labels.labels] == [False, False]
    assert graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful
    again = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert again.version == labels.version  # the same once more changes nothing


def test_labels_may_contain_commas(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["person, dog, or cat", "red"]))
    assert [x.name for x in response.label_set.labels] == ["person, dog, or cat", "red"]


def test_a_label_file_by_service(graph: Graph, lseg: Callable[..., None], tmp_path_factory: object) -> None:
    lseg()
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"  # type: ignore[attr-defined]
    path.write_text("labels:\n  - red\n  - {name: plant, prompts: [green, bush], class_id: 9}\n")
    response = graph.call(SetLabels, "set_labels", SetLabels.Request(label_file=str(path)))
    assert response.success, response.message
    assert [(x.name, x.class_id, list(x.prompts)) for x in response.label_set.labels] == [
        ("red", 1, ["red"]),
        ("plant", 9, ["green", "bush"]),
    ]


def test_labels_as_a_parameter(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    sets = graph.collect(LabelSet, "lseg/labels", LATCHED)
    graph.next(sets)

    def set_parameter(value: object) -> tuple[bool, str]:
        message = Parameter("labels", value=cast(Any, value)).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        result = graph.call(SetParameters, "lseg/set_parameters", request).results[0]
        return result.successful, result.reason

    assert set_parameter(["white", "red "]) == (True, "")
    in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [(x.name, x.class_id) for x in in_force.labels] == [("white", 4), ("red", 1)]
    assert graph.next(sets) == in_force
    assert graph.node is not None
    assert graph.node.get_parameter("labels").value == ["white", "red"]
    for value, reason in [
        ([], "empty"),
        ([""], "empty or blank"),
        (5, "must be a list of strings"),
        (["a", "a"], "onc"),
    ]:
        successful, found = set_parameter(value)
        assert not successful and reason in found
    assert graph.node.get_parameter("labels").value == ["white", "red"]
    graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["blue"]))
    assert graph.node.get_parameter("labels").value == ["blue"]


def test_threshold_is_live(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    masks, infos = graph.collect(Image, "lseg/mask"), graph.collect(LabelInfo, "lseg/label_info", LATCHED)
    graph.send(image(stripes((128, 128, 0))))
    assert pixels(graph.next(masks))[0, 0] in (1, 2)
    assert graph.next(infos).threshold == 0
    request = SetParameters.Request(parameters=[Parameter("threshold", value=0.75).to_parameter_msg()])
    assert graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful
    assert pixels(graph.next(masks))[0, 0] == 255
    # The first one may come twice: it is sent again to a reader that was new when the first mask went out.
    graph.until(lambda: infos and infos[-1].threshold == 0.75, "the new threshold")
    assert {info.threshold for info in infos} <= {0, 0.75}
    request.parameters[0].value.double_value = 1.5
    assert not graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful


def test_only_the_newest_image_waits(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    segmenter.gate.clear()
    graph.send(image(stripes(RED), stamp=1))
    graph.until(segmenter.entered.is_set, "the first frame to be in flight")
    for stamp in (2, 3, 4):
        graph.send(image(stripes(RED), stamp=stamp))
        # Each must have been taken in before the next is sent, or the middleware is who drops.
        graph.until(partial(received, reports, str(stamp)))
    segmenter.gate.set()
    assert [graph.next(masks).header.stamp.sec for _ in range(2)] == [1, 4]
    graph.until(lambda: value_of(reports[-1], "dropped") == "2", "the report of two dropped images")


def test_a_label_change_waits_for_the_frame_in_flight_and_no_longer(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    masks, infos = graph.collect(Image, "lseg/mask"), graph.collect(FrameInfo, "lseg/frame_info")
    segmenter.gate.clear()
    graph.send(image(stripes(RED, WHITE)))
    graph.until(segmenter.entered.is_set, "a frame to be in flight")
    client = graph.client_of(SetLabels, "set_labels")
    future = client.call_async(SetLabels.Request(labels=["white"]))
    # While the change waits, the node still answers others.
    old = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [x.name for x in old.labels] == ["red", "green", "blue"] and not future.done()
    segmenter.gate.set()
    graph.until(future.done)
    for version, allowed in ((1, {1, 2, 3}), (2, {4, 255})):
        assert graph.next(infos).label_version == version
        assert set(np.unique(pixels(graph.next(masks)))) <= allowed


def test_a_failing_frame_does_not_stop_the_node(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    segmenter.fail_next = RuntimeError("out of memory")
    graph.send(image(stripes(RED), stamp=1))
    graph.until(lambda: any(value_of(r, "failed") == "1" for r in reports), "the failure to be reported")
    assert "out of memory" in value_of(reports[-1], "last_error")
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "jpeg"}, "jpeg"),
        ({"step": 3}, "step"),
        ({"height": 80}, "short"),
        ({"width": 0, "height": 0}, "0"),
    ],
)
def test_a_bad_image_is_refused_and_the_next_is_taken(
    graph: Graph, lseg: Callable[..., None], change: dict[str, object], reason: str
) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    bad = image(stripes(RED), stamp=1)
    for name, value in change.items():
        setattr(bad, name, value)
    graph.send(bad)
    graph.until(lambda: any(value_of(r, "refused") == "1" for r in reports), "the refusal to be reported")
    assert reason in value_of(reports[-1], "last_error")
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(masks).header.stamp.sec == 2


def test_the_model_is_used_from_one_thread(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    segmenter.threads.clear()  # the constructor puts the first labels in force before there is a worker
    for stamp in range(3):
        graph.send(image(stripes(RED), stamp=stamp))
        graph.next(masks)
        assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["red", f"label {stamp}"])).success
        graph.next(masks)
    assert len(segmenter.threads) == 1
    assert threading.get_ident() not in segmenter.threads


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"labels": []}, "parameter 'labels' is empty"),
        ({"labels": 3}, "must be a list of strings"),
        ({"contrast": 3}, "must be a list of strings"),
        ({"labels": ["a", ""]}, "label 2 of 2 is empty"),
        ({"mask_encoding": "rgb8"}, "must be one of mono8, 16UC1"),
        ({"unknown_id": 300}, "mono8 holds 0 to 255"),
        ({"threshold": 2.0}, "parameter 'threshold'"),
        ({"label_file": "/nowhere.yaml"}, "/nowhere.yaml cannot be read"),
    ],
)
def test_parameters_that_the_node_does_not_start_with(
    graph: Graph, segmenter: FakeSegmenter, parameters: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        graph.start(lambda params: segmenter, **parameters)


def test_a_node_that_does_not_start_is_gone(graph: Graph, segmenter: FakeSegmenter) -> None:
    with pytest.raises(ValueError, match="must be a list") as error:
        graph.start(lambda params: segmenter, labels=3)
    graph.until(lambda: not graph.client.count_services("lseg/change_state"), f"its end after: {error.value}")


@pytest.mark.parametrize("namespace", ["", "/robot"])
def test_names_follow_the_namespace(graph: Graph, segmenter: FakeSegmenter, namespace: str) -> None:
    graph.start(lambda params: segmenter, namespace=namespace, labels=["red"])
    graph.client.create_subscription(Image, f"{namespace}/lseg/mask", lambda m: None, 1)
    graph.client.create_subscription(CameraInfo, f"{namespace}/lseg/camera_info", lambda m: None, 1)
    outputs = (
        "mask",
        "confidence",
        "overlay",
        "color",
        "scores",
        "score/red",
        "frame_info",
        "channel_info",
        "camera_info",
    )
    relative = {f"lseg/{name}" for name in (*outputs, "labels", "label_info")} | {"image", "camera_info"}
    expected = {f"{namespace}/{name}" for name in relative} | {"/diagnostics"}
    graph.until(lambda: expected <= {name for name, _ in graph.client.get_topic_names_and_types()}, str(expected))
    services = {f"{namespace}/{name}" for name in ("set_labels", "get_labels", "lseg/enable", "lseg/query")}
    graph.until(lambda: services <= {name for name, _ in graph.client.get_service_names_and_types()}, str(services))


def test_an_empty_contrast_is_one(graph: Graph) -> None:
    contrasts = []

    def make(params: Any) -> FakeSegmenter:
        contrasts.append(params.contrast)
        return FakeSegmenter()

    graph.start(make, contrast=[], labels=["red"])
    assert contrasts == [[]]


def test_first_images_of_many_labels_are_left_out(
    graph: Graph, lseg: Callable[..., None], logged: Callable[[str], str]
) -> None:
    labels = ["red"] + [f"label {i}" for i in range(59)]
    lseg(labels=labels, output_size=[1000, 500])  # 120 MB for 60 labels
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(masks)
    unread = graph.collect(Image, "lseg/score/red", LATCHED)
    logged("the latched images of 60 labels would take 114 MB")
    # Whoever reads such a topic gets the next image.
    graph.send(image(stripes(RED), stamp=2))
    assert graph.next(unread).header.stamp.sec == 2
    # Few labels get theirs, as ever.
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"])).success
    assert graph.next(graph.collect(Image, "lseg/score/white", LATCHED)).header.stamp.sec == 2


def test_a_frame_that_outlives_the_topics_is_no_error(
    graph: Graph,
    lseg: Callable[..., None],
    segmenter: FakeSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lseg_ros.ros.pipeline._STOP_TIMEOUT", 0.1)
    lseg()
    graph.collect(Image, "lseg/mask")
    segmenter.gate.clear()
    graph.send(image(stripes(RED)))
    graph.until(segmenter.entered.is_set, "a frame in flight")
    assert graph.node is not None and graph.node.pipeline is not None
    worker = graph.node.pipeline._worker
    graph.call(ChangeState, "lseg/change_state", ChangeState.Request(transition=Transition(label="shutdown")))
    segmenter.gate.set()
    assert worker.stop(30)
    log = capfd.readouterr().err
    assert "the frame in flight takes longer than 0.1 s; leaving it" in log and "ERROR" not in log
