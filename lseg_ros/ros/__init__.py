"""The node, the image player and the client. Only this package may import rclpy and message packages."""
