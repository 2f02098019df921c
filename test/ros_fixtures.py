"""Fixtures of tests that use DDS, each in its own domain."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from graph import Graph


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that no other test on this machine uses at the same time. Child processes inherit it."""
    folder = Path(tempfile.gettempdir())
    for number in range(1, 101):
        with (folder / f"lseg_ros_test_domain_{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
            monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            yield number
            return
    pytest.fail("all ROS domains are taken by other tests")


@pytest.fixture
def graph(domain: int) -> Iterator[Graph]:
    """A client node, and a node under test if one is started."""
    with Graph(domain) as made:
        yield made


@pytest.fixture
def logged(graph: Graph, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Waits until the node under test has logged a text, and returns all that it has logged so far.

    A node logs and publishes from several threads, so a message may arrive before the line that explains it.
    """
    log: list[str] = []

    def wait_for(text: str) -> str:
        def seen() -> bool:
            log.append(capfd.readouterr().err)
            return text in "".join(log)

        graph.until(seen, f"the log line {text!r}")
        return "".join(log)

    return wait_for
