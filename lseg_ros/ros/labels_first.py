"""Makes sure that labels arrive before masks, also for a reader that joins while masks are published."""

import threading
import time

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from vision_msgs.msg import LabelInfo

from lseg_ros.ros import qos

_MATCHED_WITHIN = 0.3  # most seconds to wait until the reader of masks also subscribes to the labels
_SENT_WITHIN = 1.0  # most seconds to wait until that reader has the labels; on a busy machine it takes 0.2
_MOMENT = 0.02  # seconds for the reader to handle the labels, because it may handle messages of two topics in any order
_STEP = 0.002  # seconds between two looks, because Humble has no event for a new subscriber


class LabelInfoTopic:
    """The latched topic ~/label_info and its last message.

    Attributes:
        publisher: The topic's publisher.
    """

    def __init__(self, node: Node) -> None:
        # A plain publisher, because a lifecycle publisher drops messages while the node is inactive.
        self.publisher = node.create_publisher(LabelInfo, "~/label_info", qos.LATCHED)
        self._last: LabelInfo | None = None

    def publish(self, message: LabelInfo) -> None:
        """Publishes the labels in force."""
        self._last = message
        self.publisher.publish(message)

    def publish_again(self) -> None:
        """Publishes the last message again, for a new reader that does not receive latched messages."""
        if self._last is not None:
            self.publisher.publish(self._last)

    def get_subscription_count(self) -> int:
        """Returns the number of readers."""
        return self.publisher.get_subscription_count()

    def wait_for_all_acked(self, timeout: Duration) -> bool:
        """Waits until all readers have received the last message, and returns whether they have.

        Args:
            timeout: How long to wait.
        """
        return bool(self.publisher.wait_for_all_acked(timeout))


class LabelsFirst:
    """Holds masks for a moment when a new reader appears, until it has the labels.

    DDS matches the topics of a new reader one after the other, and a mask may reach it before the latched LabelInfo
    does. A volatile reader never gets a latched message: some releases of message_filters make Nav2's layer one, which
    then dereferences a null pointer at the first mask. So LabelInfo is sent again for each new reader of it. A reader
    of masks without labels causes one delay, because the node cannot know that it needs none.
    """

    def __init__(self, masks: Publisher, labels: LabelInfoTopic) -> None:
        """Starts without readers.

        Args:
            masks: The publisher of masks.
            labels: The topic of the labels.
        """
        self._masks, self._labels = masks, labels
        self._lock = threading.Lock()
        self._known = 0, 0  # number of readers of masks and of labels that were already waited for

    def forget(self, *, everybody: bool = False) -> None:
        """Forgets readers that have left, so that later ones count as new. Called several times a second.

        Args:
            everybody: Whether to forget all readers, because no masks are published. Then the middleware is not used,
                because it may have ended.
        """
        counts = (0, 0) if everybody else self._counts()
        with self._lock:
            self._known = min(self._known[0], counts[0]), min(self._known[1], counts[1])

    def hold(self) -> None:
        """Waits until a new reader has the labels, and returns at once if there is none. Call it before each mask."""
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
