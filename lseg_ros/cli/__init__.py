"""The `lseg` command line; needs no ROS."""

from lseg_ros.environment import prepare

prepare()
