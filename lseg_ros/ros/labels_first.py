"""Labels before masks, also for a reader that joins while masks flow."""

import threading
import time

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from vision_msgs.msg import LabelInfo

from lseg_ros.ros import qos

_MATCHED_WITHIN = 0.3  # seconds for which a mask is held for the labels to get a reader as well
_SENT_WITHIN = 1.0  # seconds for which it is held until that reader has them; on a busy machine it takes 0.2
_MOMENT = 0.02  # seconds in which the reader sees them: of two messages at once, most take that of the older topic
_STEP = 0.002  # seconds between looks; Humble has no event for "somebody subscribed"


class LabelInfoTopic:
    """The topic ~/label_info, latched, and what was last said on it."""

    def __init__(self, node: Node) -> None:
        # A plain publisher: a lifecycle node's own drops what is published while it is inactive.
        self.publisher = node.create_publisher(LabelInfo, "~/label_info", qos.LATCHED)
        self._last: LabelInfo | None = None

    def publish(self, message: LabelInfo) -> None:
        """Says which labels are in force from now on."""
        self._last = message
        self.publisher.publish(message)

    def publish_again(self) -> None:
        """Says the same once more, for a reader that has come and keeps no latched messages."""
        if self._last is not None:
            self.publisher.publish(self._last)

    def get_subscription_count(self) -> int:
        """How many readers there are."""
        return self.publisher.get_subscription_count()

    def wait_for_all_acked(self, timeout: Duration) -> bool:
        """Waits until all readers have what was said; returns whether they have."""
        return bool(self.publisher.wait_for_all_acked(timeout))


class LabelsFirst:
    """Holds masks for a moment where somebody has just begun to read them, until the labels are there.

    DDS matches the topics of a new reader one after the other, and a mask may reach it before the latched LabelInfo
    does. A volatile reader never gets a latched message: some releases of message_filters make one of Nav2's layer,
    which then follows a null pointer at the first mask. So LabelInfo is sent again for each new reader of it. Who reads
    masks but no labels costs a delay once, since the node cannot know that none are wanted.
    """

    def __init__(self, masks: Publisher, labels: LabelInfoTopic) -> None:
        self._masks, self._labels = masks, labels
        self._lock = threading.Lock()
        self._known = 0, 0  # readers of masks and of labels that need no more waiting

    def forget(self, *, everybody: bool = False) -> None:
        """Forgets who has left, so that whoever comes instead is new. To be called several times a second.

        Args:
            everybody: for the time when no masks come; nothing is asked of the middleware then, which may have ended.
        """
        counts = (0, 0) if everybody else self._counts()
        with self._lock:
            self._known = min(self._known[0], counts[0]), min(self._known[1], counts[1])

    def hold(self) -> None:
        """To be called before each mask; returns at once unless a reader has come."""
        counts = self._counts()
        with self._lock:
            known = self._known
        if counts[0] > known[0]:
            until = time.perf_counter() + _MATCHED_WITHIN
            while counts[1] - known[1] < counts[0] - known[0] and time.perf_counter() < until:
                time.sleep(_STEP)
                counts = self._counts()
        if counts[1] > known[1]:
            self._labels.publish_again()
        if counts[1] and (counts[0] > known[0] or counts[1] > known[1]):
            self._labels.wait_for_all_acked(Duration(nanoseconds=round(1e9 * _SENT_WITHIN)))
            time.sleep(_MOMENT)
        with self._lock:
            self._known = counts

    def _counts(self) -> tuple[int, int]:
        return self._masks.get_subscription_count(), self._labels.get_subscription_count()
