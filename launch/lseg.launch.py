"""Starts the segmentation node: `ros2 launch lseg_ros lseg.launch.py image:=/camera/image_raw labels:="[path, door]"`.

`ros2 launch lseg_ros lseg.launch.py --show-args` lists the arguments. Missing arguments are left to the node, so a
value in params_file counts unless an argument overrides it.
"""

from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "params_file": "Parameters of the node (YAML); config/lseg.yaml has all of them, with their defaults.",
    "namespace": "Namespace of the node and its topics.",
    "image": "Topic of the images to segment; `image` below the namespace where it is not given.",
    "cameras": 'Several cameras and the topic of each, such as "{front: /front/image_raw, rear: /rear/image_raw}".',
    "labels": "What to look for, as a list: \"[path, grass, 'person, standing']\".",
    "label_file": "What to look for, as a YAML file with labels, in place of labels.",
    "model": "Named variant; `lseg models` lists them.",
    "checkpoint": "Weights file to use instead of the model's own.",
}
CHOICES = {
    "use_sim_time": (["", "true", "false"], "", "Whether stamps are compared with /clock."),
    "log_level": (["debug", "info", "warn", "error", "fatal"], "info", "Of the node's own log."),
    "rviz": (["true", "false"], "false", "Show the node's images in RViz; for a node without a namespace."),
}


def generate_launch_description() -> LaunchDescription:
    rviz = Path(get_package_share_directory("lseg_ros"), "config", "rviz", "lseg.rviz")
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in ARGUMENTS.items()),
            *(
                DeclareLaunchArgument(name, default_value=default, choices=choices, description=text)
                for name, (choices, default, text) in CHOICES.items()
            ),
            OpaqueFunction(function=start_node),
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz_lseg",
                arguments=["-d", str(rviz)],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Starts the node with the given arguments. An error ends the launch with one sentence."""
    given = {name: value for name in (*ARGUMENTS, *CHOICES) if (value := argument(context, name))}
    namespace = given.get("namespace", "")
    cameras = read_cameras(given.get("cameras", ""))
    if cameras and "image" in given:
        raise RuntimeError("image and cameras are both given; cameras has the topic of each camera")
    if "labels" in given and "label_file" in given:
        raise RuntimeError("labels and label_file are both given; give one of them")
    parameters: list[Any] = []
    if "params_file" in given:
        parameters.append(str(existing(given["params_file"])))
    own: dict[str, Any] = {name: text(given[name]) for name in ("model", "checkpoint", "label_file") if name in given}
    if "labels" in given:
        own["labels"] = read_list("labels", given["labels"])
    if cameras:
        own["cameras"] = list(cameras)
    if "use_sim_time" in given:
        own["use_sim_time"] = given["use_sim_time"] == "true"
    if own:
        parameters.append(own)
    remaps = [("image", given["image"])] if "image" in given else []
    remaps += [(f"{name}/image", topic) for name, topic in cameras.items() if topic]
    return [
        Node(
            package="lseg_ros",
            executable="lseg_node",
            name="lseg",
            namespace=namespace,
            parameters=parameters,
            remappings=remaps,
            # For this logger alone, because a level for all loggers would print everything that rcl does.
            ros_arguments=["--log-level", f"{logger(context, namespace)}:={given['log_level']}"],
            output="screen",
        )
    ]


def argument(context: LaunchContext, name: str) -> str:
    """Returns the value of an argument, without blanks around it."""
    return str(LaunchConfiguration(name).perform(context)).strip()


def text(value: str) -> ParameterValue:
    """Returns a parameter that is a text, even if it looks like a number."""
    return ParameterValue(value, value_type=str)


def existing(path: str) -> Path:
    """Returns the path of a parameter file. Without this check, a launch would continue with the defaults."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise RuntimeError(f"params_file is {path}, and there is no such file; give the path of a YAML file")
    return found.absolute()


def read_list(name: str, value: str) -> list[str]:
    """Returns a list of texts written in YAML. Words such as `no` are texts here."""
    found = parsed(name, value)
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise RuntimeError(f'{name} is {value}; it must be a list, such as {name}:="[path, grass]"')
    return found


def read_cameras(value: str) -> dict[str, str]:
    """Returns names of cameras and the topic of each. An empty topic means <name>/image."""
    if not value:
        return {}
    found = parsed("cameras", value)
    if isinstance(found, dict) and found and all(isinstance(topic, str) for topic in found.values()):
        return found
    if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
        return dict.fromkeys(found, "")
    raise RuntimeError(
        f"cameras is {value}; it must name the topic of each camera, such as "
        'cameras:="{front: /front/image_raw, rear: /rear/image_raw}", or be a list of names'
    )


def parsed(name: str, value: str) -> Any:
    """Returns parsed YAML in which all words are texts."""
    try:
        return yaml.load(value, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise RuntimeError(f"{name} is {value}, which is not YAML: {' '.join(str(error).split())}") from error


def logger(context: LaunchContext, namespace: str) -> str:
    """Returns the name of the node's logger, also if an including launch file has set an outer namespace."""
    outer = "" if namespace.startswith("/") else context.launch_configurations.get("ros_namespace", "")
    parts = [*outer.split("/"), *namespace.split("/"), "lseg"]
    return ".".join(part for part in parts if part)
