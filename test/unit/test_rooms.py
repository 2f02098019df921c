"""Which package may import which, and what must not be loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lseg_ros

ROOT = Path(lseg_ros.__file__).parent
ROS = {
    "rclpy",
    "builtin_interfaces",
    "cv_bridge",
    "diagnostic_msgs",
    "rcl_interfaces",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "vision_msgs",
}
# Each room, and the rooms that it may import. files.py and __init__.py at the top are for every room.
ALLOWED = {
    "model": {"model"},
    "images": {"images"},
    "inference": {"inference", "model", "images"},
    "data": {"data", "inference", "images"},
    "evaluation": {"evaluation", "data", "inference", "images", "model"},
    "training": {"training", "evaluation", "data", "inference", "images", "model"},
    "recording": {"recording", "inference", "images"},
    "ros": {"ros", "inference", "images", "msg", "srv"},
    "console": {"console", "ros", "inference", "images"},
    "cli": {"cli", "ros", "recording", "training", "evaluation", "data", "inference", "images", "model"},
}
FILES = sorted(p for room in ALLOWED for p in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Returns the modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if (
            parts[0] == "lseg_ros"
            and parts[1:2]
            and (ROOT / parts[1]).is_dir()
            or name.startswith(("lseg_ros.msg", "lseg_ros.srv"))
        ):
            allowed = ALLOWED[room] | ({"model"} if path.relative_to(ROOT) == Path("ros/main.py") else set())
            assert parts[1] in allowed, f"{path} imports {name}"
        if room != "ros":
            assert parts[0] not in ROS, f"{path} imports {name}"
        if room == "ros" and path.name != "main.py":
            assert parts[0] not in {"torch", "timm", "open_clip"}, f"{path} imports {name}"


def test_rooms_that_load_torch_set_its_environment_first() -> None:
    heavy = {"torch", "timm", "open_clip", "onnxruntime", "openvino"}
    for room in ALLOWED:
        loads = {name.split(".")[0] for p in FILES if p.relative_to(ROOT).parts[0] == room for name in imports(p)}
        # ros/main.py loads torch by way of the inference room.
        assert not loads & heavy or "lseg_ros.environment.prepare" in imports(ROOT / room / "__init__.py"), room


def test_there_are_files_to_check() -> None:
    assert {p.relative_to(ROOT).parts[0] for p in FILES} == set(ALLOWED)


def run_without(blocked: set[str], code: str) -> None:
    """Runs code in a Python that cannot import some packages."""
    guard = f"import sys\nfor name in {sorted(blocked)}: sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", guard + code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr


def test_inference_needs_no_ros() -> None:
    run_without(
        ROS, "import lseg_ros.inference, lseg_ros.inference.segmenter; from lseg_ros import load_model, Segmenter"
    )


def test_command_line_and_training_need_no_ros() -> None:
    rooms = ("cli.main", "training.trainer", "evaluation.report", "recording.segmenting")
    run_without(ROS, "import " + ", ".join(f"lseg_ros.{room}" for room in rooms))


def test_messages_need_no_torch() -> None:
    pytest.importorskip("rclpy", reason="the messages are built only where ROS 2 is")
    run_without({"torch", "timm", "open_clip"}, "import lseg_ros.msg, lseg_ros.srv")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        lseg_ros.nothing_like_it  # noqa: B018
