"""Camera images and pictures from messages and files, as RGB arrays. Needs neither ROS nor torch."""
