"""One table of parameters; everything that repeats it is held to it."""

from pathlib import Path

import yaml
from fakes import FakeSegmenter
from graph import Graph
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from lseg_ros.ros.parameters import TABLE

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
