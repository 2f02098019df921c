"""What `make env` takes for a ROS 2 distribution."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def prefix_with_rclpy(path: Path) -> Path:
    resource = path / "share" / "ament_index" / "resource_index" / "packages" / "rclpy"
    resource.parent.mkdir(parents=True)
    resource.touch()
    return path


def test_a_distribution_is_what_was_sourced_and_not_another_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_distribution = runpy.run_path(str(ROOT / "tools" / "make_env.py"))["find_distribution"]
    distribution = prefix_with_rclpy(tmp_path / "opt" / "ros" / "jazzy")
    clone = prefix_with_rclpy(tmp_path / "clone" / ".venv")
    (clone / "pyvenv.cfg").touch()
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    for prefixes, expected in (
        ([], None),
        ([ROOT / ".venv"], None),
        ([clone], None),
        ([tmp_path / "clone" / "install" / "lseg_ros", clone], None),
        ([distribution], "jazzy"),
        ([clone, distribution], "jazzy"),
    ):
        monkeypatch.setenv("AMENT_PREFIX_PATH", ":".join(map(str, prefixes)))
        assert find_distribution() == expected, prefixes
