"""A node that waits for a lifecycle manager logs that."""

from collections.abc import Callable
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from graph import Graph
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from lseg_ros.ros import managed

START_UP = 'ros2 service call /lifecycle_manager_lseg/manage_nodes nav2_msgs/srv/ManageLifecycleNodes "{command: 0}"'


def status(graph: Graph, messages: list[Any]) -> DiagnosticStatus:
    """Returns the next status."""
    messages.clear()
    return graph.next(messages).status[0]


def test_it_says_that_nobody_configures_it(
    graph: Graph, lseg: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lseg(autostart=False)
    messages = graph.collect(DiagnosticArray, "/diagnostics")
    assert status(graph, messages).level == DiagnosticStatus.OK  # a manager needs some time
    monkeypatch.setattr(managed, "_PATIENCE", 0.1)
    graph.until(lambda: status(graph, messages).level == DiagnosticStatus.WARN, "a warning")
    expected = "autostart is false, so a lifecycle manager has to configure this node, and there is none; start one"
    assert status(graph, messages).message.startswith(expected)
    assert "or: ros2 lifecycle set /lseg configure" in status(graph, messages).message
    assert graph.node is not None
    # nav2_msgs is not installed, so no such service can be offered.
    services = [("/lifecycle_manager_lseg/manage_nodes", ["nav2_msgs/srv/ManageLifecycleNodes"])]
    monkeypatch.setattr(graph.node, "get_service_names_and_types", lambda: services)
    graph.until(lambda: START_UP in status(graph, messages).message, "the manager's name")

    configure = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert graph.call(ChangeState, "lseg/change_state", configure).success
    graph.until(lambda: status(graph, messages).level == DiagnosticStatus.OK, "no more warnings")
    log = capfd.readouterr().err
    assert "not configured for" in log and expected in log


def test_a_node_that_starts_by_itself_waits_for_nobody(
    graph: Graph, lseg: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed, "_PATIENCE", 0.0)
    lseg()
    messages = graph.collect(DiagnosticArray, "/diagnostics")
    assert [status(graph, messages).level for _ in range(2)] == [DiagnosticStatus.OK] * 2
