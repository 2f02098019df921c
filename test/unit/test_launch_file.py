"""The launch file's arguments. test/integration/test_launch.py tests the launched node itself."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

launch = pytest.importorskip("launch", reason="launch is not installed; `make ros2` does")
if not hasattr(launch, "LaunchContext"):
    pytest.skip("launch is not installed; `make ros2` does", allow_module_level=True)
pytest.importorskip("launch_ros", reason="launch_ros is not installed; `make ros2` does")

from launch import LaunchContext  # noqa: E402
from launch.actions import ExecuteProcess  # noqa: E402

FILE = Path(__file__).parents[2] / "launch" / "lseg.launch.py"


def start(**arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Returns the node's command line, and its parameters from all files that the command line names."""
    module = runpy.run_path(str(FILE))
    context = LaunchContext()
    defaults = dict.fromkeys(module["ARGUMENTS"], "") | {n: default for n, (_, default, _) in module["CHOICES"].items()}
    assert arguments.keys() <= defaults.keys() | {"ros_namespace"}
    context.launch_configurations.update(defaults | arguments)
    (node,) = module["start_node"](context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExecuteProcess, "execute", lambda self, context: None)  # all but starting the process
        node.execute(context)
    command = ["".join(part.perform(context) for part in words) for words in node.cmd]
    parameters: dict[str, Any] = {}
    for i, word in enumerate(command):
        if word == "--params-file":
            for section in yaml.full_load(Path(command[i + 1]).read_text()).values():  # launch_ros writes tuples
                for name, value in section["ros__parameters"].items():
                    parameters[name] = list(value) if isinstance(value, tuple) else value
    return command, parameters


def remaps(command: list[str]) -> list[str]:
    return [command[i + 1] for i, word in enumerate(command) if word == "-r" and "image" in command[i + 1]]


def level(command: list[str]) -> str:
    return command[command.index("--log-level") + 1]


def test_without_arguments_the_node_has_its_defaults() -> None:
    command, parameters = start()
    assert parameters == {} and remaps(command) == [] and level(command) == "lseg:=info"


def test_labels_are_texts_whatever_yaml_takes_them_for() -> None:
    _, parameters = start(labels="[path, 'person, standing', no, 12, 1.5]")
    assert parameters == {"labels": ["path", "person, standing", "no", "12", "1.5"]}


def test_every_argument_reaches_the_node(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {threshold: 0.25, model: lseg_mini}}")
    command, parameters = start(
        params_file=str(tmp_path / "mine.yaml"),
        namespace="robot",
        image="/camera/image_raw",
        label_file="/lists/outdoor.yaml",
        model="lseg_mini_street",
        checkpoint="12",
        use_sim_time="true",
        log_level="debug",
    )
    assert parameters == {
        "threshold": 0.25,
        "model": "lseg_mini_street",  # the argument, over the file
        "checkpoint": "12",
        "label_file": "/lists/outdoor.yaml",
        "use_sim_time": True,
    }
    assert remaps(command) == ["image:=/camera/image_raw"] and "__ns:=/robot" in command
    assert level(command) == "robot.lseg:=debug"


@pytest.mark.parametrize(
    ("outer", "namespace", "name"), [("/fleet", "robot", "fleet.robot.lseg"), ("/fleet", "/robot", "robot.lseg")]
)
def test_the_log_level_is_the_nodes_wherever_it_is(outer: str, namespace: str, name: str) -> None:
    command, _ = start(ros_namespace=outer, namespace=namespace, log_level="warn")
    assert level(command) == f"{name}:=warn"
    assert f"__ns:=/{name.removesuffix('.lseg').replace('.', '/')}" in command


def test_each_camera_has_its_topic() -> None:
    command, parameters = start(cameras="{front: /front_cam/image_raw, rear: /rear_cam/image_raw}")
    assert parameters == {"cameras": ["front", "rear"]}
    assert remaps(command) == ["front/image:=/front_cam/image_raw", "rear/image:=/rear_cam/image_raw"]
    command, parameters = start(cameras="[front, rear]")
    assert parameters == {"cameras": ["front", "rear"]} and remaps(command) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"params_file": "/none.yaml"}, "params_file is /none.yaml, and there is no such file"),
        ({"labels": "path, grass"}, 'labels is path, grass; it must be a list, such as labels:="\\[path, grass\\]"'),
        ({"labels": "[]"}, "it must be a list"),
        ({"labels": "[path"}, "labels is \\[path, which is not YAML"),
        ({"cameras": "front"}, "it must name the topic of each camera"),
        ({"cameras": "{front: [a]}"}, "it must name the topic of each camera"),
        ({"cameras": "[front]", "image": "/image"}, "image and cameras are both given"),
        ({"labels": "[path]", "label_file": "x.yaml"}, "labels and label_file are both given"),
    ],
)
def test_impossible_arguments_are_one_sentence(arguments: dict[str, str], sentence: str) -> None:
    with pytest.raises(RuntimeError, match=sentence) as caught:
        start(**arguments)
    assert "\n" not in str(caught.value)
