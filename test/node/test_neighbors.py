"""Other nodes with the same name or the same services, and many clients at once."""

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeSegmenter
from graph import Graph
from lseg_ros.srv import GetLabels, SetLabels
from rclpy.qos import QoSProfile, ReliabilityPolicy

CLIENTS = 200


def said(reports: list[DiagnosticArray], what: str) -> bool:
    """Returns whether the newest report of some node warns of something."""
    return any(
        what in status.message and status.level == DiagnosticStatus.WARN
        for report in reports[-2:]
        for status in report.status
    )


def test_two_nodes_of_one_name(graph: Graph, lseg: Callable[..., None], logged: Callable[[str], str]) -> None:
    lseg()
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: reports, "a report")
    assert reports[-1].status[0].message == "nobody listens"
    with Graph(graph.context.get_domain_id()) as other:
        other.start(lambda params: FakeSegmenter(), labels=["red"])
        graph.until(lambda: said(reports, "2 nodes have the name /lseg"), "the warning")
        logged("-r __node:=lseg_2")
    graph.until(lambda: reports[-1].status[0].message == "nobody listens", "its end")


def test_two_nodes_with_one_set_labels(graph: Graph, lseg: Callable[..., None], logged: Callable[[str], str]) -> None:
    lseg()
    reports = graph.collect(DiagnosticArray, "diagnostics")
    with Graph(graph.context.get_domain_id()) as other:
        other.start(lambda params: FakeSegmenter(), "", ["-r", "__node:=lseg_2"], labels=["red"])
        graph.until(lambda: said(reports, "the node /lseg_2 has /get_labels and /set_labels too"), "the warning")
        logged("-r set_labels:=~/set_labels -r get_labels:=~/get_labels")


def test_nodes_with_services_of_their_own(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    remaps = ["-r", "__node:=lseg_2", "-r", "set_labels:=~/set_labels", "-r", "get_labels:=~/get_labels"]
    reports = graph.collect(DiagnosticArray, "diagnostics")
    with Graph(graph.context.get_domain_id()) as other:
        other.start(lambda params: FakeSegmenter(), "", remaps, labels=["green"])
        found = graph.ask(GetLabels, "lseg_2/get_labels", GetLabels.Request()).label_set
        assert [label.name for label in found.labels] == ["green"]
        found = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
        assert [label.name for label in found.labels] == ["red", "green", "blue"]
        reports.clear()
        graph.until(lambda: len(reports) > 3, "reports of both")
        assert all(status.level == DiagnosticStatus.OK for report in reports for status in report.status)


def test_a_crowd_of_clients_is_answered(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    # DDS sends each answer to all clients of a service, which drop those of others. So many clients in one process are
    # too slow for the usual queue of ten, and would lose their own answers.
    profile = QoSProfile(depth=CLIENTS, reliability=ReliabilityPolicy.RELIABLE)
    clients: list[Any] = [
        graph.client.create_client(SetLabels, "set_labels", qos_profile=profile) for _ in range(CLIENTS)
    ]
    graph.until(lambda: all(client.service_is_ready() for client in clients), "the service")
    asked = [["red", f"label {i}"] for i in range(CLIENTS)]
    # All requests are sent before the node's answers are looked at.
    answers = [client.call_async(SetLabels.Request(labels=names)) for client, names in zip(clients, asked, strict=True)]
    graph.until(lambda: all(answer.done() for answer in answers), "all answers")
    told = [answer.result() for answer in answers]
    assert all(answer.success for answer in told)
    assert [[label.name for label in answer.label_set.labels] for answer in told] == asked
    assert len({answer.label_set.version for answer in told}) == CLIENTS
