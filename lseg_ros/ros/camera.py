"""One camera: its images come in, its outputs go out, its last image is kept."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lseg_ros.images.messages import ImageError, compressed_to_rgb, to_rgb
from lseg_ros.inference.protocol import PhraseMatch, SegmenterLike
from lseg_ros.ros.camera_info import CameraInfoRelay
from lseg_ros.ros.diagnostics import Statistics
from lseg_ros.ros.image_input import ImageInput
from lseg_ros.ros.labels_first import LabelInfoTopic
from lseg_ros.ros.outputs import Outputs
from lseg_ros.ros.parameters import NodeParams

_FETCH_TIMEOUT = 5.0  # seconds for which an image is waited for that a query or new labels need
_THROTTLE = 5.0  # seconds between repeated error messages


class Incoming(NamedTuple):
    """An image message, and when it came (perf_counter)."""

    message: Image | CompressedImage
    received: float


@dataclass(frozen=True)
class Seen:
    """An image that the network has seen, and when it came (perf_counter)."""

    header: Header
    rgb: NDArray[np.uint8]
    embedding: Any
    received: float


class Camera:
    """Ties the input, the outputs and the last image of one camera together.

    `poll` and the subscriptions are for the executor's thread; what touches the model (`process`, `rescore`, `query`)
    is for the worker's. Durations here are of the wall clock, since a paused simulation pauses no GPU; ages of what is
    published are by the node's clock, which may be simulated, as stamps are.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        params: NodeParams,
        segmenter: SegmenterLike,
        label_info: LabelInfoTopic,
        offer: Callable[["Camera", Incoming], None],
    ) -> None:
        """
        Args:
            name: empty for a node with one camera; else the topics are <name>/image, ~/<name>/mask and so on.
            label_info: the latched topic that readers of masks need first.
            offer: hands an image to the worker, which calls `process` with it.

        Raises:
            QosError: an override of quality of service cannot be used.
        """
        prefix = f"{name}/" if name else ""
        self.name, self.statistics = name, Statistics()
        self._node, self._segmenter, self._offer = node, segmenter, offer
        self._input = ImageInput(node, f"{prefix}image", params.image_transport, self._on_image)
        beside = self._input.raw_topic.rsplit("/", 1)[0] + "/camera_info"
        own = params.camera_info_topic
        if own and not own.startswith("/"):
            own = prefix + own
        self._info = CameraInfoRelay(node, own or beside, f"~/{prefix}camera_info")
        try:
            self.outputs = Outputs(node, prefix, params, label_info)
        except Exception:
            self._info.close()
            raise
        self._streaming = self._active = False
        self._lock = threading.Lock()  # over the two below
        self._seen: Seen | None = None
        self._fetch: Future[Seen | None] | None = None
        self._fetch_until = 0.0
        self._turn = 0.0  # when the latest image that was not skipped was due
        self._silent_since = self._warn_after = 0.0

    @property
    def _params(self) -> NodeParams:
        return self.outputs.params

    # The executor's thread

    def poll(self, *, active: bool, enabled: bool) -> None:
        """Called several times a second: subscribes and unsubscribes, gives up waiting, forgets old images."""
        now = time.perf_counter()
        self._active, self._streaming = active, active and enabled
        with self._lock:
            self._seen = self._fresh(now) if active else None
            waiting = self._fetch
            if now > self._fetch_until or not active:
                self._fetch = None
            fetching = self._fetch is not None
        if waiting is not None and not fetching:
            waiting.set_result(None)
        heard = self._streaming and (self._info.wanted or self.outputs.wanted())
        self.outputs.poll(streaming=self._streaming)
        self._info.update(heard and self._info.wanted)
        self._input.update(heard or fetching)
        if heard and self._params.no_image_warning > 0:
            self._watch(now)
        else:
            self._silent_since = 0.0
            self.statistics.silent("")

    def _fresh(self, now: float) -> Seen | None:
        seen = self._seen
        return seen if seen is not None and now - seen.received <= self._params.cache_max_age else None

    def _watch(self, now: float) -> None:
        """Says why no image comes, after a while and then ever more rarely."""
        if not self._silent_since:
            self._silent_since, self._warn_after = now, self._params.no_image_warning
        silent = now - self._silent_since
        if silent < self._warn_after:
            return
        self._warn_after = 2 * max(silent, self._params.no_image_warning)
        figures = self.statistics.snapshot()
        arrives = figures.failures_in_a_row > 0
        why = f"images arrive, but {figures.last_error}" if arrives else self._input.why_silent()
        self.statistics.silent(why)
        self._node.get_logger().warning(f"nothing to segment for {silent:.0f} s: {why}")

    def _on_image(self, message: Image | CompressedImage) -> None:
        now = time.perf_counter()
        self.statistics.count("received")
        period = 1 / self._params.max_rate if self._params.max_rate else 0.0
        late = now - self._turn - period
        if late < 0 and self._fetch is None:
            self._silent_since = 0.0
            self.statistics.count("skipped")
            return
        # What was lost by waiting for an image is made good: 20 of 30 images a second are 20, not every other one.
        self._turn = now - (late if 0 < late < period / 2 else 0.0)
        self._offer(self, Incoming(message, now))

    def fetch(self) -> "Future[Seen | None]":
        """Subscribes until an image has been seen, and returns it; None if that takes too long. From any thread."""
        with self._lock:
            if self._fetch is None:
                self._fetch, self._fetch_until = Future(), time.perf_counter() + _FETCH_TIMEOUT
            return self._fetch

    def last(self) -> Seen | None:
        """The last image, unless it is too old. From any thread."""
        with self._lock:
            return self._fresh(time.perf_counter())

    def why_no_image(self) -> str:
        """What can be known about it."""
        return self._input.why_silent()

    @property
    def image_topic(self) -> str:
        """Full name of the topic that its images come from, raw or compressed."""
        return self._input.topic

    @property
    def activity(self) -> str:
        """What the camera's frames are up to, in a few words."""
        if not self._streaming:
            return "disabled" if self._active else "inactive"
        if not self._heard():
            return "nobody listens"
        return "segmenting" if self.statistics.snapshot().counts["received"] else "waiting for images"

    def close(self) -> None:
        """Removes all topics, and ends every wait."""
        self.poll(active=False, enabled=False)
        self._info.close()
        self.outputs.close()

    # The worker's thread

    def process(self, incoming: Incoming) -> None:
        """Embeds an image, keeps it, and publishes what is listened to."""
        message, received = incoming
        if not self._active or not (self._fetch or self._heard()):
            return  # whoever wanted it has left while it waited
        taken = time.perf_counter()
        try:
            rgb = to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)
        except ImageError as error:
            self.statistics.error("refused", str(error))
            self._node.get_logger().error(f"image refused: {error}", throttle_duration_sec=_THROTTLE)
            return
        decoded = time.perf_counter()
        seen = Seen(message.header, rgb, self._segmenter.embed(rgb), received)
        self._silent_since = 0.0
        before = {"wait": 1e3 * (taken - received), "decode": 1e3 * (decoded - taken), **seen.embedding.stage_ms}
        with self._lock:
            self._seen = seen
            fetch, self._fetch = self._fetch, None
        if fetch is not None:
            fetch.set_result(seen)
        if self._heard() or (self._streaming and self.outputs.new_topics()):
            stages = self._publish(seen, before, rescored=False)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            self.statistics.segmented((self._node.get_clock().now().nanoseconds - stamp) / 1e6, stages)

    def _heard(self) -> bool:
        return self._streaming and (self.outputs.wanted() or self._info.wanted)

    def rescore(self) -> None:
        """Publishes the last image under the labels now in force; where there is none, fetches one."""
        if not self._streaming:
            return
        seen = self.last()
        if seen is None:
            self.fetch()
        elif self._heard() or self.outputs.new_topics():
            self._publish(seen, {}, rescored=True)
            self.statistics.count("rescored")

    def _publish(self, seen: Seen, before: dict[str, float], *, rescored: bool) -> dict[str, float]:
        segmentation = self._segmenter.score(seen.embedding)
        height, width = seen.rgb.shape[:2]
        if self._params.output_size is not None:
            height, width = self._params.output_size
            segmentation = segmentation.at((height, width))
        self._info.publish(seen.header, height, width)
        return self.outputs.publish(seen.header, seen.rgb, segmentation, before, rescored=rescored)

    def query(self, seen: Seen, phrases: list[str]) -> list[PhraseMatch]:
        """Scores phrases on an image; raises LabelError for bad ones."""
        height, width = self._params.output_size or seen.rgb.shape[:2]
        return self._segmenter.query(seen.embedding, phrases, (height, width))

    def failed(self, error: BaseException) -> None:
        """Notes that `process` or `rescore` raised; not at the end of ROS, where nothing can be published any more."""
        if not self._node.context.ok():
            return
        self.statistics.error("failed", f"{type(error).__name__}: {error}")
        self._node.get_logger().error(
            f"a frame failed and was skipped: {type(error).__name__}: {error}", throttle_duration_sec=_THROTTLE
        )
