"""Reads images from messages, photos and videos as RGB arrays. Needs neither ROS nor torch."""
