"""From an RGB image and a list of labels to masks, confidence and scores, without ROS."""

from lseg_ros.environment import prepare

prepare()
