"""Faults and endurance of the installed executables over real DDS: killed, stopped, with invalid input, and for long.

`make faults` runs the tests in full, in ten to fifteen minutes. `make test` runs a short form of each.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
if shutil.which("lseg_node") is None:
    pytest.skip("the package is not installed; run: make env, then: . ./env.sh", allow_module_level=True)
pytest.importorskip("skimage", reason="needs scikit-image's photographs")

from faults.onlooker import Onlooker, Report  # noqa: E402
from graph import Graph  # noqa: E402
from processes import Start, start  # noqa: E402, F401
from ros_fixtures import domain, graph  # noqa: E402, F401

_SHORT_LEASE = """<?xml version="1.0" encoding="UTF-8"?>
<dds>
  <profiles xmlns="http://www.eprosima.com">
    <participant profile_name="short_lease" is_default_profile="true">
      <rtps>
        <builtin>
          <discovery_config>
            <leaseDuration><sec>4</sec></leaseDuration>
            <leaseAnnouncement><sec>1</sec></leaseAnnouncement>
          </discovery_config>
        </builtin>
      </rtps>
    </participant>
  </profiles>
</dds>
"""


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run in full, as for `make faults`."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def start_node(start: Start, full: bool) -> Start:  # noqa: F811
    """Starts `lseg_node` with a small input. In the short form it has a backend that needs no measurement."""
    quick: dict[str, object] = {"input_size": 160} | ({} if full else {"backend": "torch"})
    return lambda **parameters: start("lseg_node", **quick, **parameters)


@pytest.fixture(params=["not_given_up", "given_up"])
def stop_seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: bool) -> float:
    """How long to stop a node: long enough to break its shared memory, or until other participants give it up.

    Fast DDS gives a participant up after 20 s. In the short form, a profile makes it 4 s. Use this fixture before
    `graph`, because Fast DDS reads the profile once.
    """
    if request.param == "not_given_up":
        return 4.0
    if full:
        return 25.0
    profile = tmp_path / "short_lease.xml"
    profile.write_text(_SHORT_LEASE)
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    if os.environ.get("ROS_DISTRO") in ("humble", "jazzy"):  # there it has its old name
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    return 7.0


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
