"""Parameter files without parameters for the node are reported."""

from pathlib import Path

import pytest

from lseg_ros.ros.parameter_files import files_for_others


def said(tmp_path: Path, content: str, node: str = "/lseg") -> list[str]:
    path = tmp_path / "parameters.yaml"
    path.write_text(content)
    return files_for_others(["lseg_node", "--ros-args", "--params-file", str(path)], node)


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("/**", "/lseg"),
        ("/**", "/robot/lseg"),
        ("lseg", "/lseg"),
        ("/lseg", "/lseg"),
        ("/robot/lseg", "/robot/lseg"),
        ("/*/lseg", "/robot/lseg"),
        ("/**/lseg", "/lseg"),
        ("/**/lseg", "/a/b/lseg"),
        ("/*", "/lseg"),
    ],
)
def test_a_file_for_this_node(tmp_path: Path, key: str, node: str) -> None:
    assert said(tmp_path, f"{key}:\n  ros__parameters:\n    threshold: 0.5\n", node) == []


def test_a_file_with_a_nested_namespace(tmp_path: Path) -> None:
    assert said(tmp_path, "robot:\n  lseg:\n    ros__parameters: {threshold: 0.5}\n", "/robot/lseg") == []


def test_a_file_that_is_also_for_others(tmp_path: Path) -> None:
    assert said(tmp_path, "camera:\n  ros__parameters: {}\nlseg:\n  ros__parameters: {threshold: 0.5}\n") == []


@pytest.mark.parametrize(
    ("key", "node", "whose"),
    [
        ("lseg_node", "/lseg", "/lseg_node"),
        ("/lseg", "/robot/lseg", "/lseg"),
        ("/*/lseg", "/lseg", "/*/lseg"),
        ("/*", "/robot/lseg", "/*"),
    ],
)
def test_a_file_for_another_node(tmp_path: Path, key: str, node: str, whose: str) -> None:
    (sentence,) = said(tmp_path, f"{key}:\n  ros__parameters:\n    threshold: 0.5\n", node)
    assert sentence.endswith(f"parameters.yaml are for {node}; it has some for {whose}")


def test_a_file_without_the_key(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, "threshold: 0.5\n")
    assert sentence.endswith("are for /lseg; none of its keys is ros__parameters")
