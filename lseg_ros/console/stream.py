"""The frames of one layer of one camera, encoded once for all pages that show it."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from lseg_ros.console.encode import frame_message
from lseg_ros.console.node_watch import NodeWatch
from lseg_ros.ros.client import NodeInfo, NotFound, Session
from lseg_ros.ros.client.view import View, ViewFrame


class StreamKey(NamedTuple):
    """The view that a page shows.

    Attributes:
        node: Full name of the node.
        camera: Name of the camera; empty for a node with one camera.
        layer: "mask", "confidence" or "score".
        label: The label of the score; empty for the other layers.
    """

    node: str
    camera: str
    layer: str
    label: str


class Stream:
    """Subscribes to a layer and the camera's images, and encodes the newest frame when a page is ready for it.

    Attributes:
        node: Full name of the node.
        view: The subscriptions; None while the topics are missing.
    """

    def __init__(self, session: Session, key: StreamKey, watch: NodeWatch, on_new: Callable[[], None]) -> None:
        """Prepares the subscriptions. `update` makes them when the topics are visible.

        Args:
            session: The connection to ROS.
            key: The view to show.
            watch: The node's labels and status.
            on_new: Called on the session's thread for each new frame. It must be quick.
        """
        self.node = key.node
        self.view: View | None = None
        self._session, self._key, self._watch, self._on_new = session, key, watch, on_new
        self._topic = ""
        self._encoding = asyncio.Lock()
        self._encoded: tuple[ViewFrame | None, bytes] = None, b""

    def update(self, info: NodeInfo) -> None:
        """Subscribes to topics that have appeared or moved, and unsubscribes from those that are gone.

        Args:
            info: The node's topics and services now.
        """
        try:
            topic = info.topic(self._output(), self._key.camera)
            frame_info = info.topic("frame_info", self._key.camera)
        except NotFound:
            topic = ""
        if topic != self._topic:
            self.close()
            if topic:
                self.view = View(self._session, topic, frame_info, self._on_new)
            self._topic = topic
        if self.view is not None:
            self.view.follow(self._watch.camera_topic(self._key.camera))

    def _output(self) -> str:
        if self._key.layer != "score":
            return self._key.layer
        for label in self._watch.label_set()["labels"]:
            if label["name"] == self._key.label:
                return f"score/{label['score_topic'].rpartition('/')[2]}"
        raise NotFound(f"there is no label {self._key.label!r}")

    def close(self) -> None:
        """Unsubscribes."""
        if self.view is not None:
            self.view.close()
        self.view, self._topic = None, ""

    def newest(self) -> ViewFrame | None:
        """Returns the newest frame, or None before the first."""
        return None if self.view is None else self.view.newest()

    async def encoded(self) -> tuple[ViewFrame | None, bytes]:
        """Returns the newest frame and its message for the browser. Each frame is encoded once for all pages."""
        async with self._encoding:
            frame = self.newest()
            if frame is not None and frame is not self._encoded[0]:
                self._encoded = frame, await asyncio.to_thread(self._encode, frame)
            return self._encoded

    def _encode(self, frame: ViewFrame) -> bytes:
        labels = self._watch.label_set(None if frame.info is None else frame.info.label_version)
        # A background label has the id of unknown pixels, so no pixel can be shown as its own.
        ids = [-1 if label["background"] else label["class_id"] for label in labels["labels"]]
        return frame_message(frame, self._key.layer, self._key.label, ids, labels["version"])
