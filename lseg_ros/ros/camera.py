"""One camera: receives its images, publishes its outputs, and keeps its last image."""

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
from lseg_ros.inference.lessons import Lesson
from lseg_ros.inference.protocol import PhraseMatch, PixelShares, SegmenterLike
from lseg_ros.ros.camera_info import CameraInfoRelay
from lseg_ros.ros.diagnostics import Statistics
from lseg_ros.ros.feature_topics import FeatureTopic
from lseg_ros.ros.image_input import ImageInput, beside
from lseg_ros.ros.labels_first import LabelInfoTopic
from lseg_ros.ros.last_image import LastImage
from lseg_ros.ros.outputs import Outputs
from lseg_ros.ros.parameter_table import NodeParams
from lseg_ros.ros.rate_limit import RateLimit
from lseg_ros.ros.silence import Cause, Silence, SilenceWatch
from lseg_ros.ros.teach_msgs import TeachRequest

_FETCH_TIMEOUT = 5.0  # seconds to wait for an image that a query or new labels need
_THROTTLE = 5.0  # seconds between repeated error messages
_STUCK = 60.0  # seconds after which a slow frame is logged as a warning, because it may never end


class Incoming(NamedTuple):
    """An image message that has arrived.

    Attributes:
        message: The message.
        received: When it arrived, in seconds of `time.perf_counter`.
    """

    message: Image | CompressedImage
    received: float


@dataclass(frozen=True)
class Seen:
    """An image that the network has encoded.

    Attributes:
        header: The header of the image.
        rgb: [H,W,3] uint8 RGB.
        embedding: The result of the segmenter's `embed`.
    """

    header: Header
    rgb: NDArray[np.uint8]
    embedding: Any


class Camera:
    """Connects the input, the outputs and the last image of one camera.

    `poll` and the subscriptions run on the executor's thread. `process`, `rescore`, `query` and `probe` use the model
    and run on the worker's thread. Durations are measured by the wall clock, because a paused simulation does not pause
    a GPU. The age of published images is measured by the node's clock, which may be simulated like the stamps.

    Attributes:
        name: The camera's name; empty in a node with one camera.
        statistics: Counts of its frames.
        outputs: Its output topics.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        params: NodeParams,
        segmenter: SegmenterLike,
        label_info: LabelInfoTopic,
        basis_version: int,
        offer: Callable[["Camera", Incoming], None],
    ) -> None:
        """Creates the topics.

        Args:
            node: The node that has the topics.
            name: Empty in a node with one camera. Otherwise the topics are <name>/image, ~/<name>/mask and so on.
            params: The node's parameters.
            segmenter: Segments the images.
            label_info: The latched topic that readers of masks need first.
            basis_version: Version of the basis of the segmenter's vectors.
            offer: Passes an image to the worker, which calls `process` with it.

        Raises:
            QosError: A QoS override cannot be used.
        """
        prefix = f"{name}/" if name else ""
        self.name, self.statistics = name, Statistics()
        self._node, self._segmenter, self._offer = node, segmenter, offer
        self._input = ImageInput(node, f"{prefix}image", params.image_transport, self._on_image)
        self._info = CameraInfoRelay(node, self._camera_info_topic(prefix, params), f"~/{prefix}camera_info")
        try:
            self._features = FeatureTopic(node, prefix, basis_version)
            self.outputs = Outputs(node, prefix, params, label_info)
        except Exception:
            self._info.close()
            raise
        self._streaming = self._active = False  # only the executor's thread writes them
        self._closed = threading.Event()
        self._last_image: LastImage[Seen] = LastImage()
        self._held: Seen | None = None  # what was marked last, for further marks; of the executor's thread
        self._rate_limit, self._watch = RateLimit(), SilenceWatch()

    def _camera_info_topic(self, prefix: str, params: NodeParams) -> str:
        own = params.camera_info_topic
        if own:
            return own if own.startswith("/") else prefix + own
        folder = self._input.raw_topic.rsplit("/", 1)[0]
        return beside(self._node, f"{prefix}camera_info", f"{folder}/camera_info")

    @property
    def _params(self) -> NodeParams:
        return self.outputs.params

    # The executor's thread

    def poll(self, *, active: bool, enabled: bool) -> None:
        """Subscribes or unsubscribes, ends overdue waits, and drops old images. Called several times a second.

        Args:
            active: Whether the node is active.
            enabled: Whether segmentation is switched on.
        """
        self._active, self._streaming = active, active and enabled
        if active:
            self._last_image.expire(self._params.cache_max_age)
        else:
            self._last_image.clear()
            self._held = None
        heard = self._heard()
        self.outputs.poll(streaming=self._streaming)
        self._info.update(heard and self._info.wanted, self._params.no_image_warning)
        self._input.update(heard or self._last_image.is_awaited)
        self._watch.listen(heard)
        self._report_silence()

    def _report_silence(self) -> None:
        """Logs why no mask is published, after a while and then at growing intervals."""
        after = self._params.no_image_warning
        silence = self._watch.silence(after) if after > 0 else None
        if silence is None:
            self.statistics.silent("")
            return
        if self._watch.to_report(after) is None:
            return
        # rclpy allows one level for each line of code, so each level needs its own line.
        if silence.cause is Cause.SLOW_FRAME and silence.seconds < _STUCK:
            self.statistics.silent("")
            self._node.get_logger().info(self._why_slow(silence))
        elif silence.cause is Cause.SLOW_FRAME:
            self.statistics.silent(self._why_slow(silence))
            self._node.get_logger().warning(self._why_slow(silence))
        else:
            fails = silence.cause is Cause.ALL_FAIL
            why = f"images arrive, but {self.statistics.snapshot().last_error}" if fails else self._input.why_silent()
            self.statistics.silent(why)
            self._node.get_logger().warning(f"nothing to segment for {silence.seconds:.0f} s: {why}")

    def _why_slow(self, silence: Silence) -> str:
        usage = self._segmenter.usage()
        backend = f", backend {usage['backend']}" if "backend" in usage else ""
        where = f"{self._params.model} on {usage['device']}{backend}"
        first = not self.statistics.snapshot().counts["segmented"]
        why = "; the first image takes longest, because backends are measured or built with it" if first else ""
        return f"images arrive; the frame in work takes {silence.seconds:.0f} s so far ({where}){why}"

    def _on_image(self, message: Image | CompressedImage) -> None:
        self.statistics.count("received")
        self._watch.arrived()
        if self._rate_limit.admit(self._params.max_rate, always=self._last_image.is_awaited):
            self._offer(self, Incoming(message, time.perf_counter()))
        else:
            self.statistics.count("skipped")

    def fetch(self) -> "Future[Seen | None]":
        """Subscribes until an image has been encoded. Any thread may call it.

        Returns:
            A future of the image, or of None if that takes too long.
        """
        return self._last_image.wait(_FETCH_TIMEOUT)

    def last(self) -> Seen | None:
        """Returns the last image, or None if it is too old. Any thread may call it."""
        return self._last_image.get(self._params.cache_max_age)

    def hold(self, seen: Seen) -> None:
        """Keeps an image for `at`, in place of the one before. For the executor's thread."""
        self._held = seen

    def at(self, stamp: Any) -> Seen | None:
        """Returns the last image or the one that is held, where it has this stamp. For the executor's thread."""
        return next((seen for seen in (self._held, self.last()) if seen and seen.header.stamp == stamp), None)

    def why_no_image(self) -> str:
        """Returns one sentence about why there is no image that can be used."""
        slow = self._watch.frame_in_work()
        return self._why_slow(slow) if slow is not None else self._input.why_silent()

    @property
    def image_topic(self) -> str:
        """Full name of the topic that is read, raw or compressed."""
        return self._input.topic

    @property
    def input_topics(self) -> list[str]:
        """Full names of the topics that the camera subscribes to while somebody listens."""
        return [*self._input.topics, self._info.input_topic]

    @property
    def activity(self) -> str:
        """The camera's state in a few words, for diagnostics."""
        if not self._streaming:
            return "disabled" if self._active else "inactive"
        if not self._heard():
            return "nobody listens"
        after = self._params.no_image_warning
        silence = self._watch.silence(after) if after > 0 else None
        if silence is not None and silence.cause is Cause.SLOW_FRAME:
            return self._why_slow(silence)
        return "segmenting" if self.statistics.snapshot().counts["received"] else "waiting for images"

    def close(self) -> None:
        """Removes all topics and ends all waits."""
        self._closed.set()
        self.poll(active=False, enabled=False)
        self._info.close()
        self.outputs.close()
        self._node.destroy_publisher(self._features.publisher)

    # The worker's thread

    def process(self, incoming: Incoming) -> None:
        """Encodes an image, keeps it, and publishes the outputs that have listeners."""
        if not self._active or not (self._last_image.is_awaited or self._due()):
            return  # nobody listens any more
        self._watch.begin()
        success = False
        try:
            success = self._process(incoming)
        finally:
            self._watch.end(success)

    def _process(self, incoming: Incoming) -> bool:
        message, received = incoming
        taken = time.perf_counter()
        try:
            rgb = to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)
        except ImageError as error:
            self.statistics.error("refused", str(error))
            self._node.get_logger().error(f"image refused: {error}", throttle_duration_sec=_THROTTLE)
            return False
        decoded = time.perf_counter()
        seen = Seen(message.header, rgb, self._segmenter.embed(rgb))
        before = {"wait": 1e3 * (taken - received), "decode": 1e3 * (decoded - taken), **seen.embedding.stage_ms}
        self._last_image.put(seen, received)
        if self._streaming and self._features.due(self._params.feature_rate):
            grid = self._segmenter.feature_grid(seen.embedding)
            self._features.publish(message.header, grid, self._params.feature_rate)
        if self._masks_heard() or (self._streaming and self.outputs.new_topics()):
            stages = self._publish(seen, before, rescored=False)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            self.statistics.segmented((self._node.get_clock().now().nanoseconds - stamp) / 1e6, stages)
        return True

    def _heard(self) -> bool:
        return self._masks_heard() or (self._streaming and self._features.heard)

    def _due(self) -> bool:
        """Returns whether somebody needs the outputs of this image."""
        return self._masks_heard() or (self._streaming and self._features.due(self._params.feature_rate))

    def _masks_heard(self) -> bool:
        return self._streaming and (self.outputs.wanted() or self._info.wanted)

    def rescore(self) -> None:
        """Publishes the last image again under the labels in force, or fetches an image if there is none."""
        if not self._streaming:
            return
        seen = self.last()
        if seen is None:
            self.fetch()
        elif self._masks_heard() or self.outputs.new_topics():
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
        """Scores phrases on an image.

        Raises:
            LabelError: A phrase cannot be used.
        """
        height, width = self._params.output_size or seen.rgb.shape[:2]
        return self._segmenter.query(seen.embedding, phrases, (height, width))

    def probe(self, seen: Seen, u: int, v: int) -> PixelShares:
        """Returns the labels that compete at one pixel of the mask.

        Args:
            seen: The image.
            u: The pixel's column.
            v: The pixel's row.

        Raises:
            LabelError: There is no such pixel.
        """
        height, width = self._params.output_size or seen.rgb.shape[:2]
        return self._segmenter.probe(seen.embedding, u, v, (height, width))

    def lesson(self, seen: Seen | None, request: TeachRequest) -> Lesson:
        """Makes vectors of the marks of a request, if there are any; raises LabelError where one is outside."""
        if seen is None:
            none = np.empty((0, 0), np.float32)
            return Lesson(self._segmenter.weights, none, none, request.alone, request.forget)
        size = self._params.output_size or seen.rgb.shape[:2]
        toward, against = (
            self._segmenter.marked(seen.embedding, marks, (size[0], size[1]))
            for marks in (request.toward, request.against)
        )
        return Lesson(self._segmenter.weights, toward, against, request.alone, request.forget)

    def failed(self, error: BaseException) -> None:
        """Logs and counts an error of `process` or `rescore`.

        Errors while the node ends are ignored, because the topics are gone by then.
        """
        if self._closed.is_set() or not self._node.context.ok():
            return
        self.statistics.error("failed", f"{type(error).__name__}: {error}")
        self._node.get_logger().error(
            f"a frame failed and was skipped: {type(error).__name__}: {error}", throttle_duration_sec=_THROTTLE
        )
