"""ROS 2 recordings (rosbag2): reading and segmenting them. Needs no ROS."""
