"""If ROS refuses to start, both executables end with one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy

from lseg_ros.ros import startup

ROOT = Path(startup.__file__).parents[2]


def start(module: str, *arguments: str, **variables: str | None) -> tuple[int, str]:
    """Starts an executable's module. A variable that is None is removed from the environment."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    known = os.environ | {"PYTHONPATH": path} | {n: v for n, v in variables.items() if v is not None}
    environment = {name: value for name, value in known.items() if variables.get(name, "") is not None}
    code = f"import sys; from lseg_ros.ros.{module} import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, text=True, capture_output=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["main", "image_player"])
def test_a_word_that_yaml_reads_as_bool(tmp_path: Path, module: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    labels: [road, no, grass]\n")
    status, output = start(module, "--ros-args", "--params-file", str(file))
    assert status == 1 and "Traceback" not in output
    assert f"{file}, line 3: a list of texts has a word that YAML reads as bool" in output
    assert "put it into quotes" in output


@pytest.mark.parametrize("module", ["main", "image_player"])
def test_a_folder_for_logs_that_cannot_be_made(tmp_path: Path, module: str) -> None:
    (tmp_path / "file").touch()
    status, output = start(module, ROS_LOG_DIR=str(tmp_path / "file"))
    assert status == 1 and "Traceback" not in output
    assert f"the folder for logs, {tmp_path}/file, cannot be made; set ROS_LOG_DIR" in output
    status, output = start(module, HOME=None, ROS_LOG_DIR=None, ROS_HOME=None)
    assert status == 1 and "Traceback" not in output
    assert "there is no home folder for logs; set ROS_LOG_DIR to a folder that can be written" in output


@pytest.mark.parametrize("module", ["main", "image_player"])
def test_a_domain_that_is_too_large(module: str) -> None:
    status, output = start(module, ROS_DOMAIN_ID="233")
    assert status == 1 and "Traceback" not in output
    assert "ROS_DOMAIN_ID is '233'; it must be a whole number from 0 to 232" in output


@pytest.mark.parametrize("domain", ["233", "-1", "two", "1.5"])
def test_a_domain_that_cannot_be(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    with pytest.raises(startup.StartError, match=f"^ROS_DOMAIN_ID is '{domain}'; it must be a whole number from 0 to"):
        startup.initialise([], context=rclpy.Context())


FILES = {
    "broken.yaml": ("a: [1\nb", r"broken\.yaml is no YAML: while parsing a flow sequence"),
    "plain.yaml": ("/**:\n  labels: [a]\n", r"plain\.yaml has no parameters: it needs NODE: \{ros__parameters"),
    "mixed.yaml": (
        "/**:\n  ros__parameters:\n    x: [1, a]\n",
        r"mixed\.yaml, line 3: a list has words beside",
    ),
    "number.yaml": ("/**:\n  ros__parameters:\n    x: [a, 1e3]\n", r"line 3: a list of texts has a word .* as double"),
}
ARGUMENTS = [
    *((("--params-file", f"{{folder}}/{name}"), pattern) for name, (_, pattern) in FILES.items()),
    (("--params-file", "{folder}/missing.yaml"), r"missing\.yaml cannot be read: No such file or directory"),
    (("--params-file", "{folder}"), r"cannot be read: Is a directory"),
    (("-p", "threshold"), r"^the parameter 'threshold' has no value; write -p threshold:=VALUE$"),
    (("-p", "labels:=["), r"^the parameter 'labels:=\[' cannot be read: its value is no YAML"),
    (("-p", "labels:=[a, no]"), r"a list of texts has a word that YAML reads as bool"),
    (("-p", "x:=\udce9"), r"an argument is no UTF-8"),
    (("-r", "image"), r"cannot read remap rule: '-r image'"),
    (("--params", "x"), r"ROS does not know these arguments: .*--params"),
]


@pytest.mark.parametrize(("arguments", "pattern"), ARGUMENTS, ids=lambda value: " ".join(value)[:40])
def test_one_sentence(tmp_path: Path, arguments: tuple[str, ...], pattern: str) -> None:
    for name, (text, _) in FILES.items():
        (tmp_path / name).write_text(text)
    context = rclpy.Context()
    with pytest.raises(startup.StartError, match=pattern) as refused:
        startup.initialise(
            ["test", "--ros-args", *(argument.format(folder=tmp_path) for argument in arguments)], context=context
        )
    assert "\n" not in str(refused.value) and ".c:" not in str(refused.value)
    assert not context.ok()
