"""Reads and segments ROS 2 recordings (rosbag2). Needs no ROS."""
