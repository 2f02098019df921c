"""A ROS graph for tests: a client that waits by spinning, and the node under test on its own thread."""

import threading
from array import array
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import rclpy
from numpy.typing import NDArray
from processes import PATIENCE
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lseg_ros.ros.node import LsegNode

T = TypeVar("T")
_ASK_AGAIN = 5 * 10**9  # nanoseconds
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class Graph:
    """Both nodes of a test, in one domain. Use it as a context manager."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.client = Node("client", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.client)
        self.node: LsegNode | None = None
        self._thread: threading.Thread | None = None
        self._images: Any = None
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> "Graph":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._executor.shutdown()
        self.client.destroy_node()
        rclpy.shutdown(context=self.context)
        # Otherwise its participant stays in the domain during later tests, until Python collects garbage.
        self.context.destroy()

    def start(
        self,
        make_segmenter: Callable[..., Any],
        namespace: str = "",
        arguments: Sequence[str] = (),
        **parameters: object,
    ) -> LsegNode:
        """Starts the node under test with parameters and arguments, such as -r image:=/camera/image."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = LsegNode(
            make_segmenter,
            context=self.context,
            namespace=namespace,
            parameter_overrides=overrides,
            cli_args=["--ros-args", *arguments],
        )
        if not self.node.start():
            raise ValueError(self.node.failure)
        self._node_executor = SingleThreadedExecutor(context=self.context)
        self._node_executor.add_node(self.node)
        self._thread = threading.Thread(target=self._node_executor.spin, daemon=True)
        self._thread.start()
        return self.node

    def stop(self) -> None:
        """Ends the node under test if there is one. Another one may be started."""
        if self._thread is not None:
            self._node_executor.shutdown()
            self._thread.join(PATIENCE)
            self._thread = None
        if self.node is not None:
            self.node.close()
            self.node = None

    def spin_too(self, node: Node) -> None:
        """Lets another node of a test run while the client does."""
        self._executor.add_node(node)

    def spin_once(self) -> None:
        """Lets the client handle messages, or waits a little."""
        self._executor.spin_once(timeout_sec=0.05)

    def until(self, condition: Callable[[], T], what: str = "the condition") -> T:
        """Spins the client until `condition()` is true, and returns its result."""
        deadline = self.client.get_clock().now().nanoseconds + int(PATIENCE * 1e9)
        while not (result := condition()):
            assert self.client.get_clock().now().nanoseconds < deadline, f"timed out waiting for {what}"
            self.spin_once()
        return result

    def collect(self, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Subscribes, waits for the publisher, and returns the list that messages are added to."""
        messages: list[Any] = []
        subscription = self.client.create_subscription(kind, topic, messages.append, qos)
        self.until(lambda: self.client.count_publishers(topic), f"a publisher of {topic}")
        if self.node is not None:
            own = [p for p in self.node.publishers if p.topic_name == subscription.topic_name]
            self.until(lambda: all(p.get_subscription_count() for p in own), f"a match on {topic}")
        return messages

    def client_of(self, kind: Any, name: str) -> Any:
        """Returns a client of a service after both sides have discovered each other.

        A server that does not see its client yet loses the answer. So the node under test is asked which clients it
        sees. A node in its own process sees clients in the order of their creation. So it sees this one as soon as it
        has answered another one that was created later.
        """
        if name not in self._clients:
            self._clients[name] = self.client.create_client(kind, name)
        self.until(self._clients[name].service_is_ready, f"the service {name}")
        if self.node is not None:
            self.until(lambda: self._node_sees_client(name), f"the node to see a client of {name}")
        return self._clients[name]

    def _node_sees_client(self, name: str) -> bool:
        assert self.node is not None
        try:
            seen = self.node.get_client_names_and_types_by_node(self.client.get_name(), self.client.get_namespace())
        except RuntimeError:  # the node does not know the client's node yet
            return False
        return self.client.resolve_service_name(name) in dict(seen)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Calls a service and returns its response."""
        future = self.client_of(kind, name).call_async(request)
        self.until(future.done, f"a response of {name}")
        return future.result()

    def ask(self, kind: Any, name: str, request: Any) -> Any:
        """Calls a service that changes nothing, and repeats the request while no answer comes.

        A server that has just appeared may not see its client yet, and then its first answer is lost.
        """
        client = self.client_of(kind, name)
        futures: list[Any] = []
        asked = 0

        def answer() -> Any:
            nonlocal asked
            now = self.client.get_clock().now().nanoseconds
            if now - asked > _ASK_AGAIN:
                futures.append(client.call_async(request))
                asked = now
            return next((future for future in futures if future.done()), None)

        return self.until(answer, f"an answer of {name}").result()

    def send(self, message: Image) -> None:
        """Sends one image to the node under test after it has subscribed."""
        if self._images is None:
            self._images = self.client.create_publisher(Image, "image", RELIABLE)
        self.until(self._images.get_subscription_count, "a subscriber of image")
        self._images.publish(message)

    def next(self, messages: list[Any], what: str = "a message") -> Any:
        """Waits for the next message of a list and removes it."""
        self.until(lambda: bool(messages), what)
        return messages.pop(0)


def image(pixels: NDArray[np.uint8], stamp: int = 1) -> Image:
    """Returns an rgb8 message of an [H,W,3] array, stamped `stamp` seconds and an odd number of nanoseconds."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=3 * pixels.shape[1])
    message.header.stamp.sec, message.header.stamp.nanosec = stamp, 123_456_789
    message.header.frame_id = "camera_optical"
    message.data = array("B", pixels.tobytes())
    return message


def stripes(*colors: tuple[int, int, int], height: int = 8, width: int = 5) -> NDArray[np.uint8]:
    """Returns vertical stripes, each `width` pixels wide."""
    return np.repeat(np.array([colors], np.uint8), width, axis=1).repeat(height, axis=0)


def pixels(message: Image) -> NDArray[Any]:
    """Returns the array in one of the node's images, read strictly."""
    kinds = {"mono8": "u1", "16UC1": "<u2", "16SC1": "<i2", "32SC1": "<i4", "32FC1": "<f4", "rgb8": "u1"}
    kind = np.dtype(kinds[message.encoding])
    channels = 3 if message.encoding == "rgb8" else 1
    assert message.step == message.width * channels * kind.itemsize
    assert len(message.data) == message.step * message.height
    found = np.frombuffer(message.data, kind).reshape(message.height, message.width, channels)
    return found if channels == 3 else found[..., 0]
