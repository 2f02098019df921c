"""Starts the segmentation node: `ros2 launch lseg_ros lseg.launch.py image:=/camera/image_raw`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    config = Path(get_package_share_directory("lseg_ros"), "config")
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(config / "lseg.yaml"),
                description="Parameters of the node (YAML).",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument("image", default_value="image", description="Topic of the images to segment."),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal."),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=["true", "false"],
                description="Whether to show the node's images in RViz; for a node without a namespace.",
            ),
            Node(
                package="lseg_ros",
                executable="lseg_node",
                name="lseg",
                namespace=LaunchConfiguration("namespace"),
                parameters=[LaunchConfiguration("params_file")],
                remappings=[("image", LaunchConfiguration("image"))],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz_lseg",
                arguments=["-d", str(config / "rviz" / "lseg.rviz")],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
