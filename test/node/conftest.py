"""The node under test in this process, with a segmenter that labels colors."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from fakes import FakeSegmenter  # noqa: E402
from graph import Graph  # noqa: E402
from ros_fixtures import domain, graph, logged  # noqa: E402, F401

if find_spec("aiohttp"):  # the extra "console"
    from console_browser import serve  # noqa: F401


@pytest.fixture
def segmenter() -> FakeSegmenter:
    """The segmenter of the node under test."""
    return FakeSegmenter()


@pytest.fixture
def lseg(graph: Graph, segmenter: FakeSegmenter) -> Callable[..., None]:  # noqa: F811
    """Starts the node under test with the fake segmenter and parameters."""

    def start(**parameters: Any) -> None:
        graph.start(lambda params: segmenter, **{"labels": ["red", "green", "blue"], **parameters})

    return start
