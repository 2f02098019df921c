"""Libraries do not wait busily and send no telemetry, tested in processes that load them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAITING = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
SILENT = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")


def run(code: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a Python whose environment has none of the package's variables except given ones."""
    known = {name: value for name, value in os.environ.items() if name not in (*WAITING, *SILENT, "XDG_CACHE_HOME")}
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**known, "HOME": str(home), "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("module", ["lseg_ros.inference.segmenter", "lseg_ros.training.trainer", "lseg_ros.cli.main"])
def test_variables_of_openmp_are_set_before_torch_loads_it(tmp_path: Path, module: str) -> None:
    shown = run(f"import {module}, torch", tmp_path, OMP_DISPLAY_ENV="VERBOSE").stderr
    if "GOMP_" not in shown:
        pytest.skip("this PyTorch has another OpenMP than GNU's")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown
    assert "GOMP_SPINCOUNT = '0'" in shown


def test_names_of_the_top_package_set_the_variables_too(tmp_path: Path) -> None:
    shown = run("from lseg_ros import Segmenter, load_model", tmp_path, OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "GOMP_" not in shown or "OMP_WAIT_POLICY = 'PASSIVE'" in shown


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_has_set_stays(tmp_path: Path, name: str) -> None:
    code = f"import os, lseg_ros.model; print({{n: os.environ.get(n) for n in {WAITING}}})"
    expected = {n: "7" if n == name else None for n in WAITING}
    assert run(code, tmp_path, **{name: "7"}).stdout.strip() == str(expected)


def test_messages_leave_the_environment_alone(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="the messages are built only where ROS 2 is")
    ours = (*WAITING, *SILENT)
    code = f"import os, lseg_ros.msg, lseg_ros.srv; print([n for n in {ours} if n in os.environ])"
    assert run(code, tmp_path).stdout.strip() == "[]"


# Says so on standard output where Python looks up a name or connects, but to the machine itself.
WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto"):
        print("network:", event, arguments)
sys.addaudithook(watch)
"""


def test_no_telemetry_is_sent(tmp_path: Path) -> None:
    names = [n for n in ("openvino", "onnxruntime", "onnx") if find_spec(n)]
    code = f"{WATCH}import lseg_ros.training.trainer, lseg_ros.cli.main, lseg_ros.model.text, open_clip, tokenizers\n"
    code += f"from lseg_ros.inference.backends.base import library\nfor name in {names}: library(name, 'x')\n"
    code += "from huggingface_hub import constants; assert constants.HF_HUB_DISABLE_TELEMETRY\n"
    code += "assert not any('telemetry' in n and n.startswith('openvino_') for n in sys.modules)\n"
    done = run(code, tmp_path)
    assert "network:" not in done.stdout
    left = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in left if "Microsoft" in p or "intel" in p.lower()], left


@pytest.mark.skipif(not find_spec("openvino_telemetry"), reason="OpenVINO's telemetry is not installed")
def test_openvino_alone_would_write_an_id(tmp_path: Path) -> None:
    """Shows that the test above can fail, because OpenVINO alone does what it looks for."""
    run("import openvino", tmp_path, CI="")
    assert [p for p in tmp_path.rglob("*") if "intel" in str(p.relative_to(tmp_path)).lower()]
