"""Files that users name on the command line are in the installed package."""

from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("folder", ["labels", "nav2", "rviz", "foxglove"])
def test_configurations_are_installed(folder: str) -> None:
    installed = Path(get_package_share_directory("lseg_ros"), "config", folder)
    files = {path.name: path.read_text() for path in (CONFIG / folder).iterdir()}
    assert files and {path.name: path.read_text() for path in installed.iterdir()} == files
