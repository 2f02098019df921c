"""Fixtures for the tests of programs that read our topics."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from ros_fixtures import domain, graph  # noqa: E402, F401
