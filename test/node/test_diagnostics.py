"""The diagnostics of a running node."""

from collections.abc import Callable

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, stripes
from lseg_ros.msg import LabelSet
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

RED = COLORS["red"]


def values(report: DiagnosticArray) -> dict[str, str]:
    return {v.key: v.value for v in report.status[0].values}


def test_all_values_are_there(graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter) -> None:
    lseg()
    masks, reports = graph.collect(Image, "lseg/mask"), graph.collect(DiagnosticArray, "diagnostics")
    now = graph.client.get_clock().now().to_msg()
    sent = image(stripes(RED))
    sent.header.stamp = now
    graph.send(sent)
    graph.next(masks)
    graph.until(lambda: reports and values(reports[-1])["segmented"] == "1", "a report")
    found = values(reports[-1])
    assert found["state"] == "active" and found["enabled"] == "True" and found["device"] == "none"
    assert (found["model"], found["label_version"], found["last_error"]) == ("lseg_mini", "1", "")
    assert (found["received"], found["dropped"], found["refused"], found["failed"]) == ("1", "0", "0", "0")
    for stage in ("age", "wait", "decode", "preprocess", "encode", "score", "publish"):
        assert 0 <= float(found[f"{stage}_p50_ms"]) <= float(found[f"{stage}_p95_ms"]) < 60_000
    assert float(found["received_hz"]) == float(found["segmented_hz"]) == 0.2  # one in five seconds
    status = reports[-1].status[0]
    assert (status.level, status.message) == (DiagnosticStatus.OK, "segmenting")
    for failures in range(1, 4):
        segmenter.fail_next = RuntimeError("out of memory")
        graph.send(sent)
        expected = str(failures)
        graph.until(lambda expected=expected: values(reports[-1])["failed"] == expected, "a report")  # type: ignore[misc]
    status = reports[-1].status[0]
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == "the last 3 frames failed: RuntimeError: out of memory"


@pytest.mark.parametrize("seconds", [100])
def test_simulated_time(graph: Graph, lseg: Callable[..., None], seconds: int) -> None:
    lseg(use_sim_time=True)
    reports = graph.collect(DiagnosticArray, "diagnostics")
    graph.until(lambda: reports, "a report, though the clock stands")
    assert reports[-1].header.stamp.sec == 0
    clock = graph.client.create_publisher(Clock, "/clock", 10)
    time = Clock()
    time.clock.sec = seconds
    graph.client.create_timer(0.02, lambda: clock.publish(time))
    graph.until(lambda: reports[-1].header.stamp.sec == seconds, "the simulated time")
    masks = graph.collect(Image, "lseg/mask")
    sent = image(stripes(RED), stamp=seconds - 1)
    sent.header.stamp.nanosec = 500_000_000
    graph.send(sent)
    graph.next(masks)
    graph.until(lambda: "age_p50_ms" in values(reports[-1]), "an age")
    assert values(reports[-1])["age_p50_ms"] == "500.0"
    assert graph.next(graph.collect(LabelSet, "lseg/labels", LATCHED)).header.stamp.sec == 0  # before the clock ran
