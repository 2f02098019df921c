"""There is one table of parameters. Everything that repeats it is compared with it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import FakeSegmenter
from graph import Graph
from lseg_ros.srv import SetLabels
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from lseg_ros.ros.parameter_table import TABLE

CONFIG = Path(__file__).parents[2] / "config" / "lseg.yaml"


def test_the_configuration_file_repeats_the_table() -> None:
    values = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert values == {entry.name: entry.default for entry in TABLE}


def test_every_entry_of_the_file_has_a_comment() -> None:
    lines = CONFIG.read_text().splitlines()
    for entry in TABLE:
        place = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{entry.name}:"))
        comment = []
        while lines[place - 1].strip().startswith("#"):
            place -= 1
            comment.append(lines[place])
        assert comment, f"{entry.name} has no comment"
        marks = {"live": "(live)", "never": "(at start)"}
        assert [m for m in marks.values() if m in "".join(comment)] == [
            m for c, m in marks.items() if c == entry.changes
        ]


def test_parameters_say_what_they_are(graph: Graph) -> None:
    graph.start(lambda params: FakeSegmenter(), labels=["red"])
    names = [entry.name for entry in TABLE]
    request = DescribeParameters.Request(names=names)
    for entry, found in zip(
        TABLE, graph.call(DescribeParameters, "lseg/describe_parameters", request).descriptors, strict=True
    ):
        assert found.description == entry.description
        assert found.read_only == (entry.changes == "never")
        assert ("unconfigured" in found.additional_constraints) == (entry.changes == "unconfigured")
        assert bool(found.integer_range or found.floating_point_range) == (entry.limits is not None)


def test_a_parameter_that_is_deleted_stays(graph: Graph) -> None:
    node = graph.start(lambda params: FakeSegmenter(), labels=["red"])
    for entry in TABLE:
        message = Parameter(entry.name, Parameter.Type.NOT_SET).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        assert not graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful
        assert node.has_parameter(entry.name)
    message = Parameter("threshold", value=0.5).to_parameter_msg()
    request = SetParameters.Request(parameters=[message])
    assert graph.call(SetParameters, "lseg/set_parameters", request).results[0].successful


def set_parameter(graph: Graph, name: str, value: Any) -> tuple[bool, str]:
    message = Parameter(name, value=value).to_parameter_msg()
    result = graph.call(SetParameters, "lseg/set_parameters", SetParameters.Request(parameters=[message])).results[0]
    return result.successful, result.reason


DECIMALS = [entry.name for entry in TABLE if isinstance(entry.default, float)]


@pytest.mark.parametrize("name", DECIMALS)
def test_a_whole_number_is_taken_for_a_decimal_at_the_start(graph: Graph, name: str) -> None:
    given: Any = {"labels": ["red"], name: 1}
    node = graph.start(lambda params: FakeSegmenter(), **given)
    assert node.get_parameter(name).type_ == Parameter.Type.DOUBLE and node.get_parameter(name).value == 1.0


def test_a_whole_number_is_taken_for_a_decimal_while_it_runs(graph: Graph) -> None:
    node = graph.start(lambda params: FakeSegmenter(), labels=["red"])
    for name in DECIMALS:
        if next(entry for entry in TABLE if entry.name == name).changes == "live":
            assert set_parameter(graph, name, 1) == (True, "")
            assert node.get_parameter(name).type_ == Parameter.Type.DOUBLE and node.get_parameter(name).value == 1.0
    assert node.pipeline is not None and node.pipeline.segmenter.threshold == 1.0


WRONG = [
    ("max_rate", "fast", "parameter 'max_rate' is 'fast'; it must be a number from 0 to 1000"),
    ("max_rate", True, "parameter 'max_rate' is true; it must be a number"),
    ("threshold", 2, "parameter 'threshold' is 2; it must be from 0 to 1"),
    ("threshold", float("nan"), "parameter 'threshold' is nan; it must be from 0 to 1"),
    ("unknown_id", 1.5, "parameter 'unknown_id' is 1.5; it must be a whole number from -1 to 65535"),
    ("autostart", 1, "parameter 'autostart' is 1; it must be true or false"),
    ("model", 5, "parameter 'model' is 5; it must be a string in quotes"),
    ("labels", "path", "parameter 'labels' is 'path'; it must be a list of strings, such as \\[path\\]"),
    ("labels", [1, 2], r"parameter 'labels' is \[1, 2\]; it must be a list of strings, each in quotes"),
    ("labels", [True], r"parameter 'labels' is \[true\]; it must be a list of strings"),
    ("output_size", [64.0, 48.0], r"parameter 'output_size' is \[64.0, 48.0\]; it must be a list of whole numbers"),
    ("cameras", "front", "parameter 'cameras' is 'front'; it must be a list of strings"),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG)
def test_a_wrong_type_is_refused_in_words_at_the_start(graph: Graph, name: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        graph.start(lambda params: FakeSegmenter(), **{"labels": ["red"], name: value})


def test_a_wrong_type_is_refused_in_words_while_it_runs(graph: Graph) -> None:
    node = graph.start(lambda params: FakeSegmenter(), labels=["red"])
    for name, value, reason in WRONG:
        done, found = set_parameter(graph, name, value)
        changes = next(entry for entry in TABLE if entry.name == name).changes
        expected = {"live": reason, "unconfigured": "can only change while", "never": "is fixed at the start"}[changes]
        assert not done and re.search(expected, found), (name, value, found)
    assert node.get_parameter("labels").value == ["red"]


def test_a_parameter_that_is_not_there(graph: Graph) -> None:
    graph.start(lambda params: FakeSegmenter(), labels=["red"])
    assert set_parameter(graph, "treshold", 0.5) == (
        False,
        "there is no parameter 'treshold'; did you mean 'threshold'?",
    )


def test_parameters_that_nobody_reads_are_named(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    given: Any = {
        "treshold": 0.5,
        "lables": ["path"],
        "nothing_like_it": 1,
        "use_sim_time": False,
        "qos_overrides./clock.subscription.depth": 1,
        "qos_overrides./imgae.subscription.depth": 2,
        "qos_overrides./image.subscription.reliablity": "reliable",
        "qos_overrides./image.subscription.depth": 2,
    }
    graph.start(lambda params: FakeSegmenter(), labels=["red"], **given)
    log = capfd.readouterr().err
    for name, end in [
        ("treshold", "; did you mean 'threshold'?"),
        ("lables", "; did you mean 'labels'?"),
        ("nothing_like_it", "; `ros2 param list /lseg` shows those that are"),
        ("qos_overrides./imgae.subscription.depth", "; did you mean 'qos_overrides./image.subscription.depth'?"),
        (
            "qos_overrides./image.subscription.reliablity",
            "; did you mean 'qos_overrides./image.subscription.reliability'?",
        ),
    ]:
        assert f"the parameter {name!r} was given, and is not known and not used{end}" in log
    assert log.count("was given") == 5


def test_labels_of_scores_that_are_not_in_force_are_named(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    graph.start(lambda params: FakeSegmenter(), labels=["road", "sky"], score_labels=["roda", "sky"])
    log = capfd.readouterr().err
    assert "score_labels has 'roda', and no label in force has this name" in log and "did you mean 'road'?" in log
    assert "has 'sky'" not in log
    assert set_parameter(graph, "score_labels", ["road", "skyy"]) == (True, "")
    assert "score_labels has 'skyy'" in capfd.readouterr().err
    assert set_parameter(graph, "score_labels", ["road"]) == (True, "")
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["sky"])).success
    assert "score_labels has 'road'" in capfd.readouterr().err
