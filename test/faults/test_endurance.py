"""Thousands of images while labels change: nothing grows, and no mask has an id of another label set."""

import random
import signal
import time
from pathlib import Path
from typing import Any

from faults.onlooker import Onlooker, Report, count_of, resident_mb
from graph import Graph
from lseg_ros.srv import SetLabels
from processes import Start, stop

ADJECTIVES = ["red", "old", "wet", "tall", "wooden", "metal", "broken", "clean", "round", "dark"]
NOUNS = ["sky", "tree", "wall", "floor", "road", "grass", "person", "cat", "car", "table", "door", "water"]
PHRASES = [f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]


def test_memory_is_steady_while_labels_change(
    graph: Graph,
    start_node: Start,
    onlooker: Onlooker,
    report: Report,
    tmp_path: Path,
    *,
    full: bool,
) -> None:
    # Until `settled` the text encoder's cache fills and libraries take their working memory.
    frames, settled, change_after = (10_000, 2_000, 180) if full else (240, 120, 30)
    node = start_node()
    set_labels = graph.client_of(SetLabels, "set_labels")
    onlooker.wait_for_node()
    choose = random.Random(0)
    changes: list[Any] = []
    memory: list[float] = []
    next_change, sent, resent = change_after, 0, 0
    began = time.monotonic()
    while (done := onlooker.masks - onlooker.rescored) < frames:
        if len(memory) * settled <= done:
            memory.append(resident_mb(node.pid))
            threads, files = count_of(node.pid, "task"), count_of(node.pid, "fd")
            report(f"{done} frames, {memory[-1]:.0f} MB, {threads} threads, {files} files, {dict(onlooker.wrong)}")
            if len(memory) == 2:
                threads_settled, files_settled = threads, files
        if sent <= done:  # one at a time, so that the node is never idle for long and nothing is dropped
            onlooker.send(sent // 20)
            sent, sent_at = sent + 1, time.monotonic()
        elif time.monotonic() - sent_at > 5:  # lost on its way, or slow; another one does no harm
            onlooker.send(sent // 20)
            sent_at, resent = time.monotonic(), resent + 1
        if done >= next_change and all(change.done() for change in changes):
            names = choose.sample(PHRASES, choose.randint(2, 12))
            changes.append(set_labels.call_async(SetLabels.Request(labels=names)))
            next_change = done + change_after
        graph.spin_once()
        assert node.poll() is None, (tmp_path / "lseg_node.log").read_text()
    graph.until(lambda: all(change.done() for change in changes), "the last label change")
    seconds = time.monotonic() - began
    memory.append(resident_mb(node.pid))
    threads, files = count_of(node.pid, "task"), count_of(node.pid, "fd")
    report(f"{frames} frames in {seconds:.0f} s, {frames / seconds:.0f} Hz, {len(changes)} label changes")
    report(f"{resent} images were sent again after 5 s without a mask")
    report(f"memory by {settled} frames and at the end, MB: {' '.join(f'{mb:.0f}' for mb in memory)}")
    assert onlooker.wrong == {}
    assert all(change.result().success for change in changes) and len(changes) >= frames // change_after - 1
    assert onlooker.rescored > 0
    assert memory[-1] < memory[1] + 80, "a leak of a photograph a frame would be several hundred MB in a full run"
    assert threads <= threads_settled + 4 and files <= files_settled + 4
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
