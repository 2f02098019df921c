"""ROS side: the node and the image player. The only room that may import rclpy and message packages."""
