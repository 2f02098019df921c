"""Simulated time that stands still, runs backwards and jumps, while images and label changes go on."""

import signal
from collections.abc import Sequence

from faults.onlooker import Onlooker, Report
from graph import Graph
from lseg_ros.srv import SetLabels
from processes import Start, stop
from rosgraph_msgs.msg import Clock

TIMES: dict[str, Sequence[float]] = {
    "standing at zero": [0.0] * 10,
    "running": [1000 + i / 10 for i in range(20)],
    "standing": [1002.0] * 20,
    "back by 900 s": [100 + i / 10 for i in range(20)],
    "on by a day": [90_000 + i / 10 for i in range(20)],
    "to and fro": [100.0, 5000.0] * 10,
    "back to the beginning": [0.5 + i / 10 for i in range(10)],
}


def test_simulated_time_may_stop_run_backwards_and_jump(
    graph: Graph, start_node: Start, onlooker: Onlooker, report: Report, *, full: bool
) -> None:
    clock = graph.client.create_publisher(Clock, "/clock", 10)
    reliable = {"qos_overrides./image.subscription.reliability": "reliable"}
    node = start_node(use_sim_time=True, **reliable)
    set_labels = graph.client_of(SetLabels, "set_labels")
    onlooker.wait_for_node()
    for turn, (name, times) in enumerate(TIMES.items()):
        chosen = times if full else times[:2]
        for seconds in chosen:
            now = Clock()
            now.clock.sec, now.clock.nanosec = int(seconds), round(seconds % 1 * 1e9)
            clock.publish(now)
            masks = onlooker.masks + 1
            onlooker.send(turn, stamp_ns=now.clock.sec * 10**9 + now.clock.nanosec)
            graph.until(lambda n=masks: onlooker.masks >= n, f"a mask with time {name}")  # type: ignore[misc]
            assert onlooker.last is not None and onlooker.last.header.stamp == now.clock, name
        answer = set_labels.call_async(SetLabels.Request(labels=["sky", f"thing {turn}"]))
        graph.until(answer.done, f"an answer with time {name}")
        assert answer.result().success, name
        rescored = onlooker.rescored
        graph.until(lambda n=turn: onlooker.rescored > n, f"the last image under new labels, {rescored}")  # type: ignore[misc]
        report(f"time {name}: {len(chosen)} images, labels stamped {answer.result().label_set.header.stamp.sec} s")
        assert onlooker.wrong == {}, name
    graph.until(onlooker.values, "diagnostics, which wait for no clock")
    assert onlooker.values()["failed"] == "0"
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
