"""Label changes by parameter and services, also at once: all agree with the latched topics when a call returns."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, pixels, stripes
from lseg_ros.msg import FrameInfo, LabelSet
from lseg_ros.srv import GetLabels, SetLabels
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo

from lseg_ros.inference.label_file import read_label_file

SCENE = stripes(*COLORS.values(), width=4)


@pytest.fixture
def label_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.yaml"
    path.write_text("labels:\n  - {name: red, prompts: [crimson, red]}\n  - white\n")
    return path


def parameters(graph: Graph) -> tuple[list[str], str]:
    """Returns the parameters labels and label_file."""
    request = GetParameters.Request(names=["labels", "label_file"])
    labels, label_file = graph.call(GetParameters, "lseg/get_parameters", request).values
    return list(labels.string_array_value), label_file.string_value


def set_atomically(graph: Graph, **values: Any) -> tuple[bool, str]:
    messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    request = SetParametersAtomically.Request(parameters=messages)
    result = graph.call(SetParametersAtomically, "lseg/set_parameters_atomically", request).result
    return result.successful, result.reason


def names_in_force(graph: Graph) -> list[str]:
    return [x.name for x in graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels]


def test_a_label_file_by_parameter(graph: Graph, lseg: Callable[..., None], label_file: Path) -> None:
    lseg()
    assert set_atomically(graph, label_file=str(label_file)) == (True, "")
    labels = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels
    assert [(x.name, list(x.prompts)) for x in labels] == [("red", ["crimson", "red"]), ("white", ["white"])]
    assert parameters(graph) == (["red", "white"], str(label_file))
    label_file.write_text("labels: [blue]")
    assert set_atomically(graph, label_file=str(label_file)) == (True, "")  # the same again reads it again
    assert names_in_force(graph) == ["blue"]
    for values, reason in (
        ({"label_file": "/nowhere.yaml"}, "/nowhere.yaml cannot be read"),
        ({"label_file": str(label_file), "labels": ["red"]}, "set one of them"),
    ):
        done, found = set_atomically(graph, **values)
        assert not done and reason in found
    assert parameters(graph) == (["blue"], str(label_file))
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["green"])).success
    assert parameters(graph) == (["green"], "")  # it no longer says what is in force


def test_a_label_file_that_yaml_chokes_on_is_refused(graph: Graph, lseg: Callable[..., None], label_file: Path) -> None:
    lseg()
    label_file.write_text("labels: [sky, 2024-02-30]\n")
    done, reason = set_atomically(graph, label_file=str(label_file))
    assert not done and "day is out of range" in reason
    assert names_in_force(graph) == ["red", "green", "blue"]


def test_the_file_of_a_service_call_shows_in_the_parameter(
    graph: Graph, lseg: Callable[..., None], label_file: Path
) -> None:
    lseg()
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(label_file=str(label_file))).success
    assert parameters(graph) == (["red", "white"], str(label_file))


def test_parameters_that_are_set_together_are_refused_together(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    done, reason = set_atomically(graph, labels=["a", "a"], output_size=[1], mask_encoding="16UC1")
    assert not done
    assert "mask_encoding' can only change while" in reason and "must be [width, height]" in reason
    done, reason = set_atomically(graph, labels=["a", "a"], threshold=0.5)
    assert not done and "'a' is there more than once" in reason
    assert names_in_force(graph) == ["red", "green", "blue"] and graph.node is not None
    assert graph.node.get_parameter("threshold").value == 0.0
    assert set_atomically(graph, labels=["white"], threshold=0.5) == (True, "")
    info = graph.next(graph.collect(LabelInfo, "lseg/label_info", LATCHED))
    assert info.threshold == 0.5 and "white" in {c.class_name for c in info.class_map}
    assert names_in_force(graph) == ["white"]


@pytest.mark.parametrize("way", ["labels", "label_file"])
def test_labels_and_threshold_that_are_set_together_are_announced_together(
    graph: Graph, lseg: Callable[..., None], label_file: Path, way: str
) -> None:
    lseg()
    infos = graph.collect(LabelInfo, "lseg/label_info", LATCHED)
    assert graph.next(infos).threshold == 0.0
    labels = {"labels": ["white", "red"], "label_file": str(label_file)}[way]
    assert set_atomically(graph, threshold=0.5, **{way: labels}) == (True, "")
    assert set_atomically(graph, threshold=0.75) == (True, "")
    for threshold in (0.5, 0.75):
        info = graph.next(infos)
        assert info.threshold == threshold and "white" in {c.class_name for c in info.class_map}


def test_labels_and_threshold_that_fail_together_change_nothing(
    graph: Graph,
    lseg: Callable[..., None],
    segmenter: FakeSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    label_file: Path,
) -> None:
    lseg()

    def fail(planned: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(segmenter, "commit", fail)
    done, reason = set_atomically(graph, threshold=0.5, label_file=str(label_file))
    assert not done and "out of memory" in reason
    assert names_in_force(graph) == ["red", "green", "blue"] and segmenter.threshold == 0.0
    assert parameters(graph) == (["red", "green", "blue"], "") and graph.node is not None
    assert graph.node.get_parameter("threshold").value == 0.0


def test_a_label_file_is_read_once_for_a_change(
    graph: Graph, lseg: Callable[..., None], monkeypatch: pytest.MonkeyPatch, label_file: Path
) -> None:
    lseg()
    read: list[str] = []

    def recording(path: str) -> object:
        read.append(path)
        return read_label_file(path)

    monkeypatch.setattr("lseg_ros.ros.label_parameters.read_label_file", recording)
    assert set_atomically(graph, threshold=0.5, label_file=str(label_file)) == (True, "")
    assert read == [str(label_file)] and names_in_force(graph) == ["red", "white"]


@pytest.mark.parametrize("seed", [0, 1])
def test_all_agree_under_concurrent_changes(
    graph: Graph, lseg: Callable[..., None], label_file: Path, seed: int
) -> None:
    lseg(labels=list(COLORS))
    choose = random.Random(seed)
    camera = graph.client.create_publisher(Image, "image", 1)
    graph.client.create_timer(0.01, lambda: camera.publish(image(SCENE)))
    sets, infos = graph.collect(LabelSet, "lseg/labels", LATCHED), graph.collect(FrameInfo, "lseg/frame_info")
    topics, masks = graph.collect(LabelInfo, "lseg/label_info", LATCHED), graph.collect(Image, "lseg/mask")
    set_labels = graph.client_of(SetLabels, "set_labels")
    set_parameters = graph.client_of(SetParameters, "lseg/set_parameters")
    told: list[LabelSet] = []
    for _ in range(6):
        calls, answers = [], []
        for _ in range(8):
            names = choose.sample(list(COLORS), choose.randint(1, len(COLORS)))
            value: Any = choose.choice([("labels", names), ("label_file", str(label_file)), ("threshold", 0.5)])
            if choose.random() < 0.5:
                calls.append(set_labels.call_async(SetLabels.Request(labels=names)))
                answers.append(calls[-1])
            else:
                message = Parameter(value[0], value=value[1]).to_parameter_msg()
                calls.append(set_parameters.call_async(SetParameters.Request(parameters=[message])))
        graph.until(lambda calls=calls: all(call.done() for call in calls), "all answers")  # type: ignore[misc]
        told += [answer.result().label_set for answer in answers]
        in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
        graph.until(lambda found=in_force: sets[-1] == found, "the latched labels")  # type: ignore[misc]
        names = [x.name for x in in_force.labels]
        assert parameters(graph)[0] == names
        assert {c.class_name for c in topics[-1].class_map} >= set(names)
    versions = {labels.version: labels for labels in sets}
    assert all(versions[x.version].labels == x.labels for x in told if x.version in versions)
    assert len({labels.version for labels in told}) == len(told)
    graph.until(lambda: infos and infos[-1].label_version == in_force.version, "a frame under the last labels")
    graph.until(lambda: bool(masks), "a mask")  # which comes behind its FrameInfo
    assert {info.label_version for info in infos} <= set(versions)
    assert set(pixels(masks[-1]).ravel()) <= set(range(1, len(COLORS) + 1)) | {255}


@pytest.mark.parametrize(
    ("names", "success", "end"),
    [
        (
            list("path"),
            True,
            "in force; each of them is one letter: did you mean {labels: [path]}, with brackets?",
        ),
        (list("street"), False, "did you mean {labels: [street]}, with brackets?"),
        (list("fire door"), False, "did you mean {labels: [fire door]}, with brackets?"),
        (["道", "路"], True, "2 labels in force"),
        (["a"], True, "1 labels in force"),
        (["path", "x"], True, "2 labels in force"),
    ],
)
def test_a_phrase_given_as_single_letters_is_refused(
    graph: Graph, lseg: Callable[..., None], names: list[str], success: bool, end: str
) -> None:
    lseg()
    answer = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=names))
    assert answer.success == success and answer.message.endswith(end), answer.message


def test_the_log_tells_labels_with_commas_apart(
    graph: Graph, lseg: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    lseg(labels=["person, dog, or cat", "red"])
    assert "segmenting into 'person, dog, or cat', 'red' (label set 1)" in capfd.readouterr().err
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["a, b", "c"])).success
    assert "segmenting into 'a, b', 'c' (label set 2)" in capfd.readouterr().err
