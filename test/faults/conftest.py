"""Faults and endurance of the installed executables over real DDS: killed, stopped, with invalid input, and for long.

`make faults` runs the tests in full, in some ten minutes. `make test` runs a short form of each.
"""

import shutil
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
if shutil.which("lseg_node") is None:
    pytest.skip("the package is not installed; run: make env, then: . ./env.sh", allow_module_level=True)
pytest.importorskip("skimage", reason="needs scikit-image's photographs")

from faults.onlooker import Onlooker, Report  # noqa: E402
from graph import Graph  # noqa: E402
from processes import Start, start  # noqa: E402, F401
from ros_fixtures import domain, graph  # noqa: E402, F401


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run in full, as for `make faults`."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def start_node(start: Start, full: bool) -> Start:  # noqa: F811
    """Starts `lseg_node` with a small input. In the short form it has a backend that needs no measurement."""
    quick: dict[str, object] = {"input_size": 160} | ({} if full else {"backend": "torch"})
    return lambda **parameters: start("lseg_node", **quick, **parameters)


@pytest.fixture
def onlooker(graph: Graph) -> Onlooker:  # noqa: F811
    """A camera, and a reader of the outputs of the node `lseg`."""
    return Onlooker(graph)


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Report]:
    """Prints a figure at once in a full run, and nothing otherwise."""

    def show(text: str) -> None:
        if request.config.getoption("--full"):
            with capsys.disabled():
                print(f"\n  {text}", end="", flush=True)

    yield show
