"""Tests of the installed executables."""

import shutil

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
if shutil.which("lseg_node") is None:
    pytest.skip("the package is not installed; run: make env, then: . ./env.sh", allow_module_level=True)

from processes import start  # noqa: E402, F401
from ros_fixtures import domain, graph  # noqa: E402, F401
