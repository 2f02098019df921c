"""Starts the launch file as on a robot, with a namespace and a remapped image, and uses the node from outside.

The classes belong to launch_testing's own runner (CMakeLists.txt passes this file to it). Pytest calls that runner.
"""

import os
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

try:
    import launch_testing
    from ament_index_python.packages import get_package_share_directory
    from launch import LaunchDescription
    from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_testing.actions import ReadyToTest
    from launch_testing.asserts import assertExitCodes
except ImportError:
    pytest.skip("launch_ros or launch_testing is not installed", allow_module_level=True)

import rclpy
from lseg_ros.msg import LabelSet
from lseg_ros.srv import SetLabels
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

# Loading the model takes seconds on a small machine. A test that passes never waits this long.
TIMEOUT_S = 240.0
DOMAIN = 215 + os.getpid() % 17  # above those of the other tests
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_with_launch_testing() -> None:
    subprocess.run([sys.executable, "-m", "launch_testing.launch_test", __file__], check=True)


def generate_test_description() -> LaunchDescription:
    launch_file = Path(get_package_share_directory("lseg_ros"), "launch", "lseg.launch.py")
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(launch_file)),
                launch_arguments={"namespace": "robot", "image": "/camera/image_raw"}.items(),
            ),
            ReadyToTest(),
        ]
    )


class TestLaunchedNode(unittest.TestCase):
    __test__ = False  # not for pytest

    def setUp(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("launch_test", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def tearDown(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"no {what} after {TIMEOUT_S} s")
            self.executor.spin_once(timeout_sec=0.2)

    def test_takes_labels_and_sends_masks(self) -> None:
        label_sets: list[LabelSet] = []
        masks: list[Image] = []
        self.node.create_subscription(LabelSet, "/robot/lseg/labels", label_sets.append, LATCHED)
        self.node.create_subscription(Image, "/robot/lseg/mask", masks.append, 1)
        camera = self.node.create_publisher(Image, "/camera/image_raw", 1)
        set_labels: Any = self.node.create_client(SetLabels, "/robot/set_labels")

        self.wait_for(lambda: label_sets, "label set")
        self.wait_for(set_labels.service_is_ready, "set_labels service")
        answer = set_labels.call_async(SetLabels.Request(labels=["sky", "road"]))
        self.wait_for(answer.done, "answer of set_labels")
        self.assertTrue(answer.result().success, answer.result().message)
        self.wait_for(lambda: [label.name for label in label_sets[-1].labels] == ["sky", "road"], "new label set")

        image = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(48 * 192))
        image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id = 12, 345, "camera"
        self.wait_for(camera.get_subscription_count, "subscription to the remapped image")
        camera.publish(image)
        self.wait_for(lambda: masks, "mask")
        self.assertEqual(masks[0].header, image.header)
        self.assertEqual((masks[0].height, masks[0].width), (48, 64))


@launch_testing.post_shutdown_test()
class TestShutdown(unittest.TestCase):
    __test__ = False  # not for pytest

    def test_exits_cleanly(self, proc_info: Any) -> None:
        assertExitCodes(proc_info)
