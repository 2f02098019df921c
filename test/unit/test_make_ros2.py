"""`make ros2`: what it clones, from where, and its message if that fails."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("make_ros2")


def repository(path: Path, tag: str) -> None:
    """Makes a repository with a package and a tag, and a newer commit after it."""
    git = ["git", "-C", str(path), "-c", "user.name=somebody", "-c", "user.email=somebody@example.invalid"]
    (path / "package").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    for content in ("released", "newer"):
        (path / "package" / "setup.py").write_text(f"# {content}\n")
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", content], check=True)
        if content == "released":
            subprocess.run([*git, "tag", tag], check=True)


def test_what_is_installed_is_the_pinned_tag_of_another_place(tool: Any, tmp_path: Path) -> None:
    repository(tmp_path / "copies" / "ros2" / "launch", "3.8.8")
    repository(tmp_path / "copies" / "osrf" / "osrf_pycommon", "2.1.6")
    tags = {"ros2/launch": "3.8.8", "osrf/osrf_pycommon": "2.1.6"}
    clones = tool.clone(tags, f"{tmp_path / 'copies'}/", tmp_path / "to")
    assert clones.keys() == tags.keys()
    for clone in clones.values():
        assert (clone / "package" / "setup.py").read_text() == "# released\n"


def test_a_place_without_the_tag_is_named(tool: Any, tmp_path: Path) -> None:
    repository(tmp_path / "ros2" / "launch", "0.1.0")
    with pytest.raises(tool.make_env.SetupError, match="ros2/launch has no tag 3.8.8: fetch its tags there"):
        tool.clone({"ros2/launch": "3.8.8"}, str(tmp_path), tmp_path / "to")
    with pytest.raises(tool.make_env.SetupError, match="ros2/none cannot be cloned from .*does not exist"):
        tool.clone({"ros2/none": "3.8.8"}, str(tmp_path), tmp_path / "to")


def test_without_a_network_one_sentence_says_what_to_do(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(tool.make_env.SetupError, match="No network: git does not reach http://127.0.0.1:9") as caught:
        tool.clone({"ros2/launch": "3.8.8"}, "http://127.0.0.1:9", tmp_path)
    assert "LSEG_ROS2_SOURCES=/path/to/copies" in str(caught.value) and "\n" not in str(caught.value)


def test_every_distribution_with_wheels_has_the_same_repositories(tool: Any) -> None:
    assert tool.TAGS.keys() == set(tool.make_env.WHEELS)
    for tags in tool.TAGS.values():
        assert tags.keys() == tool.PYTHON_PACKAGES.keys() | tool.INTERFACES.keys()


def test_beside_a_distribution_there_is_nothing_to_do(tmp_path: Path) -> None:
    resource = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "rclpy"
    resource.parent.mkdir(parents=True)
    resource.touch()
    environment = {**os.environ, "AMENT_PREFIX_PATH": str(tmp_path), "ROS_DISTRO": "jazzy"}
    done = subprocess.run(
        [sys.executable, str(TOOLS / "make_ros2.py")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "A ROS 2 distribution is sourced" in done.stderr
