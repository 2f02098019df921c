"""Every test of a node has a ROS domain of its own and talks over real DDS."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from fakes import FakeSegmenter  # noqa: E402
from graph import Graph  # noqa: E402


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain that no other test on this machine uses at the same time."""
    folder = Path(tempfile.gettempdir())
    for number in range(1, 101):
        with (folder / f"lseg_ros_test_domain_{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield number
            return
    pytest.fail("all ROS domains are taken by other tests")


@pytest.fixture
def graph(domain: int) -> Iterator[Graph]:
    """A client node, and a node under test where one is started."""
    with Graph(domain) as made:
        yield made


@pytest.fixture
def segmenter() -> FakeSegmenter:
    """What the node under test is given."""
    return FakeSegmenter()


@pytest.fixture
def lseg(graph: Graph, segmenter: FakeSegmenter) -> Callable[..., None]:
    """Starts the node under test with the fake segmenter and these parameters."""

    def start(**parameters: object) -> None:
        graph.start(lambda params: segmenter, **{"labels": ["red", "green", "blue"], **parameters})

    return start
