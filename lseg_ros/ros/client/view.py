"""Pairs a camera's images with one output of a node, by their stamps."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lseg_ros.images.messages import compressed_to_rgb, to_rgb
from lseg_ros.msg import FrameInfo
from lseg_ros.ros.client.arrays import to_array
from lseg_ros.ros.client.newest import NO_EVENTS, reliability
from lseg_ros.ros.client.session import Session

Stamp = tuple[int, int]
_IMAGE_BYTES = 64 * 2**20  # most bytes of camera images that wait for their output; at least one image is kept
_STAMPS = 100  # number of stamps that are kept for pairing
_INCOMPLETE_AFTER = 0.3  # seconds for which an output waits for its camera image
_OUTPUT_DEPTH = 10  # a lost mask would shift the pairing with FrameInfo
_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}


@dataclass(frozen=True)
class ViewFrame:
    """One output of the node with the messages that belong to it.

    Attributes:
        number: Counts up from 1.
        output: The output's message.
        image: The camera's message of the same stamp; None if it did not arrive.
        info: The FrameInfo of this output; None if it did not arrive.
    """

    number: int
    output: Image
    image: Image | CompressedImage | None
    info: FrameInfo | None

    @property
    def stamp(self) -> Stamp:
        """Seconds and nanoseconds of the output's stamp."""
        return _stamp(self.output)

    def pixels(self) -> NDArray[Any]:
        """Returns the output as an array [H,W] or [H,W,3] of its own type.

        Raises:
            ClientError: The message is damaged.
        """
        return to_array(self.output)

    def rgb(self) -> NDArray[np.uint8] | None:
        """Returns the camera's image as [H,W,3] uint8 RGB, or None if it did not arrive.

        Raises:
            ImageError: The image cannot be read.
        """
        return None if self.image is None else _rgb(self.image)


class View:
    """Pairs an output with its FrameInfo and its camera image, and keeps only the newest frame.

    Callbacks run on the session's thread. Any thread may call `newest` and `image_at`.
    """

    def __init__(self, session: Session, topic: str, info_topic: str, on_new: Callable[[], None]) -> None:
        """Subscribes to the output and to FrameInfo.

        Args:
            session: The session whose node subscribes.
            topic: Full name of the output, such as /lseg/mask.
            info_topic: Full name of the FrameInfo topic of the same camera.
            on_new: Called on the session's thread for each new frame. It must be quick and must not raise.
        """
        self._session, self._on_new = session, on_new
        self._lock = threading.Lock()  # protects all attributes below
        self._images: OrderedDict[Stamp, Image | CompressedImage] = OrderedDict()
        self._infos: OrderedDict[Stamp, list[FrameInfo]] = OrderedDict()
        self._counts: dict[Stamp, int] = {}  # outputs of each stamp so far
        self._waiting: tuple[float, Image, int] | None = None  # time of arrival, output, its number within its stamp
        self._newest: ViewFrame | None = None
        self._camera: tuple[str, Any, ReliabilityPolicy] | None = None
        self._camera_subscription: Any = None
        self._closed = False
        self._subscriptions = session.run(
            lambda: [
                self._subscribe(FrameInfo, info_topic, self._on_info, _OUTPUT_DEPTH),
                self._subscribe(Image, topic, self._on_output, _OUTPUT_DEPTH, latched="/score/" in topic),
            ]
        )

    def newest(self) -> ViewFrame | None:
        """Returns the newest frame, or None before the first."""
        with self._lock:
            return self._newest

    def image_at(self, stamp: Stamp) -> NDArray[np.uint8] | None:
        """Returns the camera's image of a stamp as [H,W,3] uint8 RGB, or None if it is no longer kept."""
        with self._lock:
            message = self._images.get(stamp)
            if message is None and self._newest is not None and self._newest.stamp == stamp:
                message = self._newest.image
        return None if message is None else _rgb(message)

    def follow(self, camera_topic: str) -> None:
        """Subscribes to the camera, and subscribes again if its type or QoS has changed.

        Call it about once a second.

        Args:
            camera_topic: Full name of the topic that the node reads; empty while it is unknown.
        """
        self._session.run(lambda: self._follow(camera_topic))
        self._emit()

    def close(self) -> None:
        """Removes all subscriptions."""

        def end() -> None:
            self._closed = True
            for subscription in (*self._subscriptions, self._camera_subscription):
                if subscription is not None:
                    self._session.node.destroy_subscription(subscription)
            self._camera_subscription = None

        self._session.run(end)

    # The session's thread

    def _subscribe(self, kind: Any, topic: str, callback: Callable[[Any], None], depth: int, **profile: bool) -> Any:
        latched = profile.get("latched", False)
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=depth,
            reliability=reliability(self._session, topic),
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        return self._session.node.create_subscription(kind, topic, callback, quality, event_callbacks=NO_EVENTS)

    def _follow(self, topic: str) -> None:
        if self._closed:
            return
        types = [info.topic_type for info in self._session.node.get_publishers_info_by_topic(topic)] if topic else []
        kind = next((_TYPES[name] for name in types if name in _TYPES), None)
        if kind is None:  # nobody publishes it now; an existing subscription stays for later publishers
            return
        wanted = (topic, kind, reliability(self._session, topic))
        if wanted == self._camera:
            return
        if self._camera_subscription is not None:
            self._session.node.destroy_subscription(self._camera_subscription)
        self._camera = wanted
        self._camera_subscription = self._subscribe(kind, topic, self._on_image, 2)

    def _on_image(self, message: Image | CompressedImage) -> None:
        with self._lock:
            self._images[_stamp(message)] = message
            total = sum(len(kept.data) for kept in self._images.values())
            while total > _IMAGE_BYTES and len(self._images) > 1:
                total -= len(self._images.popitem(last=False)[1].data)
        self._emit()

    def _on_info(self, message: FrameInfo) -> None:
        with self._lock:
            self._infos.setdefault(_stamp(message), []).append(message)
            while len(self._infos) > _STAMPS:
                self._infos.popitem(last=False)
        self._emit()

    def _on_output(self, message: Image) -> None:
        with self._lock:
            # A node that publishes an image again under new labels sends its stamp again.
            place = self._counts.get(_stamp(message), 0)
            self._counts[_stamp(message)] = place + 1
            while len(self._counts) > _STAMPS:
                self._counts.pop(next(iter(self._counts)))
        self._emit(give_up=True)  # the previous output waits no longer
        with self._lock:
            self._waiting = monotonic(), message, place
        self._emit()

    def _emit(self, *, give_up: bool = False) -> None:
        """Completes the waiting output's frame, if all its messages have arrived or it has waited long enough."""
        with self._lock:
            if self._waiting is None or self._closed:
                return
            since, output, place = self._waiting
            stamp = _stamp(output)
            infos = self._infos.get(stamp, [])
            info = infos[place] if place < len(infos) else None
            image = self._images.get(stamp)
            if image is None and self._newest is not None and self._newest.stamp == stamp:
                image = self._newest.image
            late = give_up or monotonic() - since > _INCOMPLETE_AFTER
            if not late and (info is None or image is None):
                return
            self._waiting = None
            number = 1 if self._newest is None else self._newest.number + 1
            self._newest = ViewFrame(number, output, image, info)
        self._on_new()


def _rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    return to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)


def _stamp(message: Any) -> Stamp:
    return message.header.stamp.sec, message.header.stamp.nanosec
