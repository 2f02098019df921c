"""Many clients at once, with good and bad requests: each gets its answer, and all that names the labels agrees."""

import random
import signal
from pathlib import Path
from typing import Any

from faults.onlooker import Onlooker, Report
from graph import Graph
from lseg_ros.msg import Label
from lseg_ros.srv import GetLabels, SetLabels
from processes import Start, stop
from rcl_interfaces.srv import GetParameters
from rclpy.qos import QoSProfile

WORDS = ["sky", "tree", "wall", "floor", "road", "grass", "person", "cat", "car", "cup", "table", "door", "window"]
BAD = [
    SetLabels.Request(),
    SetLabels.Request(labels=["a", "a"]),
    SetLabels.Request(labels=["a"], label_file="/nowhere.yaml"),
    SetLabels.Request(label_file="/nowhere.yaml"),
    SetLabels.Request(labels=["", "b"]),
]


def test_every_client_of_a_crowd_is_answered(
    graph: Graph,
    start_node: Start,
    onlooker: Onlooker,
    report: Report,
    tmp_path: Path,
    *,
    full: bool,
) -> None:
    count, turns = (200, 3) if full else (40, 1)
    node = start_node()
    # With Fast DDS a client's queue gets the answers to all clients, and drops those that it cannot hold. All clients
    # are in one slow process here.
    queue = QoSProfile(depth=1000)
    clients: list[Any] = [graph.client.create_client(SetLabels, "set_labels", qos_profile=queue) for _ in range(count)]
    graph.until(lambda: all(client.service_is_ready() for client in clients), "the service")
    graph.ask(GetLabels, "get_labels", GetLabels.Request())  # by a later client, so the node sees all of them now
    onlooker.wait_for_node()
    onlooker.more_masks(1, "before the crowd")
    choose = random.Random(0)
    for turn in range(turns):
        asked: list[list[str]] = []  # empty for a bad request
        requests: list[SetLabels.Request] = []
        for i in range(count):
            bad = i % 8 < len(BAD)
            names = [] if bad else choose.sample(WORDS, choose.randint(1, 8))
            rich = SetLabels.Request(full=[Label(name=name) for name in names])
            asked.append(names)
            requests.append(BAD[i % 8] if bad else rich if i % 3 else SetLabels.Request(labels=names))
        answers = [client.call_async(request) for client, request in zip(clients, requests, strict=True)]
        onlooker.play_until(lambda answers=answers: all(a.done() for a in answers), "all answers")
        accepted = 0
        for names, answer in zip(asked, answers, strict=True):
            response: Any = answer.result()
            # A node that has too much to do may refuse in words, and does not leave anybody waiting.
            assert response.message
            assert not response.success or [x.name for x in response.label_set.labels] == names
            accepted += response.success
        report(f"turn {turn}: {count} answered, {accepted} of {sum(map(bool, asked))} good ones accepted")
        assert accepted > 0
        in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
        graph.until(lambda found=in_force: onlooker.label_set == found, "the latched labels")  # type: ignore[misc]
        parameter = graph.ask(GetParameters, "lseg/get_parameters", GetParameters.Request(names=["labels"])).values[0]
        assert list(parameter.string_array_value) == [x.name for x in in_force.labels]
        ids = {c.class_name: c.class_id for c in onlooker.label_infos[-1].class_map}
        assert {x.name: x.class_id for x in in_force.labels}.items() <= ids.items()
        assert onlooker.wrong == {}
    onlooker.more_masks(3, "after the crowd")
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()
