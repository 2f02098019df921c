"""What the node publishes for a frame of one camera: computed only where somebody listens."""

import threading
import time

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lseg_ros.inference.labels import LabelSet
from lseg_ros.inference.protocol import SegmentationLike
from lseg_ros.inference.render import picture
from lseg_ros.msg import ChannelInfo, FrameInfo
from lseg_ros.ros import qos
from lseg_ros.ros.image_msgs import image_msg
from lseg_ros.ros.label_msgs import slugs
from lseg_ros.ros.labels_first import LabelInfoTopic, LabelsFirst
from lseg_ros.ros.parameters import NodeParams

_MASK_TYPES = {"mono8": np.uint8, "16UC1": np.uint16, "16SC1": np.int16, "32SC1": np.int32}
_KINDS = {
    "mask": Image,
    "confidence": Image,
    "color": Image,
    "overlay": Image,
    "scores": Image,
    "channel_info": ChannelInfo,
    "frame_info": FrameInfo,
}
_LARGE_MESSAGE = 16 * 2**20  # bytes
_FIRST_IMAGES = 100 * 2**20  # bytes; the default ten labels of an image of 1920x1080 take 80 MB
_REPEAT_WARNING = 60.0  # seconds


class Outputs:
    """The image topics of one camera with their ~/channel_info, and ~/frame_info.

    Frames and changes of labels come on the worker's thread; who listens may be asked from any.
    """

    def __init__(self, node: Node, prefix: str, params: NodeParams, label_info: LabelInfoTopic) -> None:
        """Creates the topics that do not depend on labels, as ~/<prefix><name>; raises QosError before it made any.

        label_info: the latched topic that readers of masks need first.
        """
        self._node, self._prefix, self.params = node, prefix, params
        self._lock = threading.Lock()  # over the score topics
        self._slugs: dict[str, str] = {}
        self._scores: dict[str, Publisher] = {}
        self._silent: set[str] = set()  # labels whose topic has not had an image yet
        # The last messages of topics with readers, to be filled again: a large buffer costs more to get than to fill.
        self._filled: dict[Publisher, Image] = {}
        topics = {name: f"~/{prefix}{name}" for name in _KINDS}
        profiles = {name: qos.output_qos(node, topic) for name, topic in topics.items()}
        self._publishers = {
            name: node.create_publisher(kind, topics[name], profiles[name]) for name, kind in _KINDS.items()
        }
        self._labels_first = LabelsFirst(self._publishers["mask"], label_info)

    @property
    def score_topics(self) -> dict[str, str]:
        """The full topic name of each label's score image."""
        with self._lock:
            return {name: publisher.topic_name for name, publisher in self._scores.items()}

    def add_topics(self, planned: LabelSet) -> None:
        """Creates score topics for the labels of `planned` that have none; all of them, or none and an exception."""
        found = slugs(planned, self._slugs)
        created: dict[str, Publisher] = {}
        try:
            for name in found.keys() - self._scores.keys():
                topic = f"~/{self._prefix}score/{found[name]}"
                created[name] = self._node.create_publisher(Image, topic, qos.LATCHED, event_callbacks=qos.NO_EVENTS)
        except Exception:
            for publisher in created.values():
                self._node.destroy_publisher(publisher)
            raise
        with self._lock:
            self._scores |= created
        self._slugs |= found
        self._silent |= created.keys()

    def drop_topics(self, labels: LabelSet) -> None:
        """Removes the score topics of all labels that are not in `labels`; survivors keep theirs."""
        with self._lock:
            gone = {name: self._scores.pop(name) for name in self._scores.keys() - set(labels.names)}
        for name, publisher in gone.items():
            self._node.destroy_publisher(publisher)
            self._slugs.pop(name)
            self._silent.discard(name)

    def close(self) -> None:
        """Removes all topics."""
        self.drop_topics(LabelSet())
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def poll(self, *, streaming: bool) -> None:
        """Called several times a second, on the executor's thread; streaming: whether images are published at all."""
        self._labels_first.forget(everybody=not streaming)

    def wanted(self) -> bool:
        """Whether anybody listens to what takes an image: to anything but the small messages beside them."""
        images = [publisher for name, publisher in self._publishers.items() if _KINDS[name] is Image]
        with self._lock:
            return any(p.get_subscription_count() for p in (*images, *self._scores.values()))

    def new_topics(self) -> bool:
        """Whether a label's topic still lacks its first image. For the worker's thread."""
        return bool(self._silent)

    def publish(
        self,
        header: Header,
        rgb: NDArray[np.uint8],
        segmentation: SegmentationLike,
        stage_ms: dict[str, float],
        *,
        rescored: bool,
    ) -> dict[str, float]:
        """Publishes one frame: its FrameInfo, then the images that are listened to.

        Args:
            header: of the input image; goes out as it came.
            rgb: HxWx3, the input image.
            segmentation: of that image, perhaps of another size.
            stage_ms: milliseconds of the stages before this one.
            rescored: whether an earlier image is published again under new labels.

        Returns:
            Milliseconds of all stages.
        """
        start = time.perf_counter()
        messages = self._messages(header, rgb, segmentation)
        scored = time.perf_counter()
        stages = stage_ms | {"score": 1e3 * (scored - start)}
        info = FrameInfo(header=header, label_version=segmentation.labels.version, rescored=rescored)
        info.stages, info.stage_ms = list(stages), list(stages.values())
        self._publishers["frame_info"].publish(info)
        hold = time.perf_counter()
        self._labels_first.hold()
        held = time.perf_counter() - hold
        for publisher, message in messages:
            publisher.publish(message)
        self._filled = {p: m for p, m in messages if isinstance(m, Image) and p.get_subscription_count()}
        stages |= {"publish": 1e3 * (time.perf_counter() - scored - held)}
        self._publish_first_images(header, segmentation, rgb)
        return stages

    def _heard(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0

    def _messages(
        self, header: Header, rgb: NDArray[np.uint8], segmentation: SegmentationLike
    ) -> list[tuple[Publisher, object]]:
        params = self.params
        found: dict[str, tuple[NDArray, str]] = {}
        if self._heard("confidence"):
            as_bytes = params.confidence_encoding == "mono8"
            confidence = segmentation.confidence_bytes if as_bytes else segmentation.confidence
            found["confidence"] = confidence, params.confidence_encoding
        if self._heard("mask"):
            mask = segmentation.mask.astype(_MASK_TYPES[params.mask_encoding], copy=False)
            found["mask"] = mask, params.mask_encoding
        for name in ("color", "overlay"):
            if self._heard(name):
                found[name] = picture(name, rgb, segmentation.mask, segmentation.labels), "rgb8"
        # The mask goes out before all other images: it is what was held back for the labels.
        images = [self._fill(self._publishers[name], *found[name], header) for name in _KINDS if name in found]
        return images + self._score_images(header, segmentation) + self._channels(header, segmentation)

    def _fill(self, publisher: Publisher, pixels: NDArray, encoding: str, header: Header) -> tuple[Publisher, Image]:
        return publisher, image_msg(pixels, encoding, header, into=self._filled.get(publisher))

    def _score_images(self, header: Header, segmentation: SegmentationLike) -> list[tuple[Publisher, object]]:
        heard = [name for name, publisher in self._scores.items() if publisher.get_subscription_count()]
        self._silent.difference_update(heard)
        return [self._score_image(name, header, segmentation) for name in heard]

    def _score_image(self, name: str, header: Header, segmentation: SegmentationLike) -> tuple[Publisher, Image]:
        score = segmentation.scores(name)
        score = _to_bytes(score) if self.params.score_encoding == "mono8" else score
        return self._fill(self._scores[name], score, self.params.score_encoding, header)

    def _publish_first_images(self, header: Header, segmentation: SegmentationLike, rgb: NDArray[np.uint8]) -> None:
        """Publishes to new labels' topics that nobody reads yet.

        They are latched, for whoever learns of a topic and then subscribes. For many labels they would take gigabytes;
        then a topic gets its first image when somebody reads it.
        """
        new = [name for name in self._scores if name in self._silent]
        self._silent.clear()
        height, width = self.params.output_size or rgb.shape[:2]
        size = len(self._scores) * height * width * (1 if self.params.score_encoding == "mono8" else 4)
        if new and size > _FIRST_IMAGES:
            self._node.get_logger().info(
                f"the new topics ~/{self._prefix}score/* get no image before somebody reads them: the latched images "
                f"of {len(self._scores)} labels would take {size / 2**20:.0f} MB"
            )
            return
        for name in new:
            publisher, message = self._score_image(name, header, segmentation)
            publisher.publish(message)

    def _channels(self, header: Header, segmentation: SegmentationLike) -> list[tuple[Publisher, object]]:
        """~/channel_info and ~/scores, the list before the image that it explains."""
        names = [n for n in segmentation.labels.names if not self.params.score_labels or n in self.params.score_labels]
        if not self._heard("scores") or not names:
            return []
        if self.params.score_size is not None:
            segmentation = segmentation.at(self.params.score_size)
        channels = segmentation.score_channels(names)
        image = self._fill(self._publishers["scores"], channels, f"32FC{len(names)}", header)
        size = channels.nbytes
        if size > _LARGE_MESSAGE:
            self._node.get_logger().warning(
                f"an image of ~/scores has {size / 2**20:.0f} MB, {len(names)} labels at "
                f"{channels.shape[1]}x{channels.shape[0]}; "
                "the parameters score_labels and score_size make it smaller",
                throttle_duration_sec=_REPEAT_WARNING,
            )
        info = ChannelInfo(header=header, channels=names)
        return [(self._publishers["channel_info"], info), image]


def _to_bytes(shares: NDArray[np.float32]) -> NDArray:
    """[0, 1] -> 0..255, rounded."""
    return (shares * 255 + 0.5).astype(np.uint8)
