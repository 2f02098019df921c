"""How `make env` recognizes a ROS 2 distribution, and which wheels it installs without one."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_env() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_env", ROOT / "tools" / "make_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prefix_with_rclpy(path: Path) -> Path:
    resource = path / "share" / "ament_index" / "resource_index" / "packages" / "rclpy"
    resource.parent.mkdir(parents=True)
    resource.touch()
    return path


def test_a_distribution_is_what_was_sourced_and_not_another_clone(
    make_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert make_env.find_distribution() == expected, prefixes


def test_which_wheels_are_installed(make_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_env, "WHEELS_NAME", tmp_path / "ros-distribution.txt")
    monkeypatch.delenv("ROS", raising=False)
    assert make_env.choose_wheels(None) == "kilted" and make_env.choose_wheels("humble") is None
    make_env.WHEELS_NAME.write_text("jazzy\n")
    assert make_env.choose_wheels(None) == "jazzy", "a later `make test` keeps what `make env ROS=jazzy` installed"
    monkeypatch.setenv("ROS", "kilted")
    assert make_env.choose_wheels(None) == "kilted"
    with pytest.raises(make_env.SetupError, match="ROS=kilted asks for wheels, and ROS 2 humble is sourced"):
        make_env.choose_wheels("humble")
    monkeypatch.setenv("ROS", "hydro")
    with pytest.raises(make_env.SetupError, match="no wheels of ROS=hydro: use ROS=kilted or ROS=jazzy"):
        make_env.choose_wheels(None)


def test_requirements_of_each_distribution(make_env: ModuleType) -> None:
    beside_a_distribution = make_env.requirements(None)
    assert not [r for r in beside_a_distribution if r.startswith("ros-")]
    rclpy = {name: [r for r in make_env.requirements(name) if "rclpy" in r] for name in make_env.WHEELS}
    assert rclpy == {"kilted": ["ros-rclpy[fastrtps]>=9.1,<10"], "jazzy": ["ros-rclpy[fastrtps]>=7.1,<8"]}
    bounds = make_env.read_pyproject()["tool"]["lseg_ros"]["ros-wheels"].values()
    assert {name for found in bounds for name in found} == set(make_env.WHEELS)


def test_the_shell_knows_the_distribution_that_was_installed() -> None:
    installed = ROOT / ".venv" / "ros-distribution.txt"
    if not installed.is_file() or os.environ.get("VIRTUAL_ENV") != str(ROOT / ".venv"):
        pytest.skip("not in a shell that env.sh set up with ROS 2 from PyPI")
    assert os.environ["ROS_DISTRO"] == installed.read_text().strip()
