"""A node that continues another one, as after a standstill of the process."""

from collections.abc import Callable

import pytest
from fakes import FakeSegmenter
from graph import Graph
from lseg_ros.srv import SetLabels
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from lseg_ros.ros.node import LsegNode


def resumed(graph: Graph) -> LsegNode:
    """Closes the node under test, and returns one that continues it."""
    assert graph.node is not None
    kept = graph.node.keep()
    graph.stop()
    node = LsegNode(lambda params: FakeSegmenter(), context=graph.context, parameter_overrides=kept.parameters)
    assert node.resume(kept), node.failure
    return node


def test_labels_parameters_and_switch_stay(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(max_rate=5.0)
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["white", "red"])).success
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=False)).success
    assert graph.node is not None
    assert graph.node.set_parameters_atomically([Parameter("max_rate", value=7.0)]).successful
    ids = {label.name: label.class_id for label in graph.node.pipeline.label_set.labels}  # type: ignore[union-attr]
    node = resumed(graph)
    try:
        assert node.state == "active" and node.pipeline is not None
        assert {label.name: label.class_id for label in node.pipeline.label_set.labels} == ids
        assert node.pipeline.label_set.version == 3
        assert node.get_parameter("max_rate").value == 7.0
        assert node.keep().enabled is False
    finally:
        node.close()


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "shut down"])
def test_the_state_stays(graph: Graph, lseg: Callable[..., None], state: str) -> None:
    lseg(autostart=False)
    assert graph.node is not None
    if state == "inactive":
        graph.node.trigger_configure()
    elif state == "shut down":
        graph.node.trigger_shutdown()
    node = resumed(graph)
    try:
        assert node.state == state
    finally:
        node.close()
