"""From an RGB image and a list of labels to masks, confidence and scores, without ROS."""
