"""A camera in its own process: publishes images of one size and rate, and prints how many.

python -m benchmarks.camera 640 480 15 reliable 5
"""

import sys
import time
from array import array

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

_READER_TIMEOUT = 60.0  # seconds


def main() -> int:
    """Publishes as soon as somebody reads. Returns the exit status."""
    width, height, rate, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[5])
    reliability = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}[sys.argv[4]]
    rclpy.init()
    node = rclpy.create_node("benchmark_camera")
    # As in ROS's camera drivers, where the queue of image_transport has one to ten images.
    profile = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=reliability)
    publisher = node.create_publisher(Image, "image", profile)
    noise = np.random.default_rng(0).integers(0, 256, width * height * 3, np.uint8)
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=array("B", noise.tobytes()))
    deadline = time.monotonic() + _READER_TIMEOUT
    while not publisher.get_subscription_count():
        if time.monotonic() > deadline:
            print("nobody reads image", file=sys.stderr)
            return 1
        time.sleep(0.05)
    time.sleep(0.5)  # the reader may look at the publisher first and subscribe again
    sent, longest, start = 0, 0.0, time.monotonic()
    while (due := start + sent / rate) < start + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        before = time.monotonic()
        publisher.publish(message)
        longest = max(longest, time.monotonic() - before)
        sent += 1
    taken = time.monotonic() - start
    publisher.wait_for_all_acked(Duration(seconds=2))
    print(f"{sent} {taken:.2f} {1e3 * longest:.1f}", flush=True)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
