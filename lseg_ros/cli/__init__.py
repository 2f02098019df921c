"""The `lseg` command line. Needs no ROS."""

from lseg_ros.environment import prepare

prepare()
