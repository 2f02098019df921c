#!/usr/bin/env bash
# Runs a command in a shell in which ROS 2 and the package work.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
cd /lseg_ros
source ./env.sh
exec "$@"
