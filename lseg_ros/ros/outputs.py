"""Publishes the outputs of one camera. Outputs without listeners are not computed."""

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
from lseg_ros.ros.parameter_table import NodeParams

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
_FIRST_IMAGES = 100 * 2**20  # bytes; the ten default labels of an image of 1920x1080 take 80 MB
_REPEAT_WARNING = 60.0  # seconds


class Outputs:
    """The output topics of one camera: its images, ~/channel_info and ~/frame_info.

    Frames and label changes come on the worker's thread. Any thread may ask for listeners.

    Attributes:
        params: The node's parameters.
    """

    def __init__(self, node: Node, prefix: str, params: NodeParams, label_info: LabelInfoTopic) -> None:
        """Creates the topics that do not depend on labels, as ~/<prefix><name>.

        Args:
            node: The node that has the topics.
            prefix: Prefix of the camera's topics.
            params: The node's parameters.
            label_info: The latched topic that readers of masks need first.

        Raises:
            QosError: A QoS override cannot be used. No topic was created.
        """
        self._node, self._prefix, self.params = node, prefix, params
        self._lock = threading.Lock()  # protects the score topics
        self._slugs: dict[str, str] = {}
        self._scores: dict[str, Publisher] = {}
        self._silent: set[str] = set()  # labels whose topic has had no image yet
        # The last message of each topic with readers. They are filled again, because allocating a large buffer takes
        # longer than filling it.
        self._filled: dict[Publisher, Image] = {}
        topics = {name: f"~/{prefix}{name}" for name in _KINDS}
        profiles = {name: qos.output_qos(node, topic) for name, topic in topics.items()}
        self._publishers = {
            name: node.create_publisher(kind, topics[name], profiles[name]) for name, kind in _KINDS.items()
        }
        self._labels_first = LabelsFirst(self._publishers["mask"], label_info)

    @property
    def score_topics(self) -> dict[str, str]:
        """Full name of the topic of each label's score image, by label."""
        with self._lock:
            return {name: publisher.topic_name for name, publisher in self._scores.items()}

    def add_topics(self, planned: LabelSet) -> None:
        """Creates score topics for the planned labels that have none. If one fails, it creates none and raises.

        Args:
            planned: The planned labels.
        """
        new_slugs = slugs(planned, self._slugs)
        created: dict[str, Publisher] = {}
        try:
            for name in new_slugs.keys() - self._scores.keys():
                topic = f"~/{self._prefix}score/{new_slugs[name]}"
                created[name] = self._node.create_publisher(Image, topic, qos.LATCHED, event_callbacks=qos.NO_EVENTS)
        except Exception:
            for publisher in created.values():
                self._node.destroy_publisher(publisher)
            raise
        with self._lock:
            self._scores |= created
        self._slugs |= new_slugs
        self._silent |= created.keys()

    def drop_topics(self, labels: LabelSet) -> None:
        """Removes the score topics of all labels that are not in `labels`."""
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
        """Forgets readers that have left. Called several times a second on the executor's thread.

        Args:
            streaming: Whether images are published at all.
        """
        self._labels_first.forget(everybody=not streaming)

    def wanted(self) -> bool:
        """Returns whether anybody listens to an image topic."""
        images = [publisher for name, publisher in self._publishers.items() if _KINDS[name] is Image]
        with self._lock:
            return any(p.get_subscription_count() for p in (*images, *self._scores.values()))

    def new_topics(self) -> bool:
        """Returns whether a label's topic still lacks its first image. For the worker's thread."""
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
        """Publishes one frame: its FrameInfo, then the images that have listeners.

        Args:
            header: Header of the input image, which is used for all messages.
            rgb: [H,W,3], the input image.
            segmentation: Its segmentation, perhaps at another size.
            stage_ms: Time of the earlier stages, in milliseconds.
            rescored: Whether an earlier image is published again under new labels.

        Returns:
            Time of all stages, in milliseconds.
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
        pixels: dict[str, tuple[NDArray, str]] = {}
        if self._heard("confidence"):
            as_bytes = params.confidence_encoding == "mono8"
            confidence = segmentation.confidence_bytes if as_bytes else segmentation.confidence
            pixels["confidence"] = confidence, params.confidence_encoding
        if self._heard("mask"):
            mask = segmentation.mask.astype(_MASK_TYPES[params.mask_encoding], copy=False)
            pixels["mask"] = mask, params.mask_encoding
        for name in ("color", "overlay"):
            if self._heard(name):
                pixels[name] = picture(name, rgb, segmentation.mask, segmentation.labels), "rgb8"
        # The mask is published before all other images, because it was held back for the labels.
        images = [self._fill(self._publishers[name], *pixels[name], header) for name in _KINDS if name in pixels]
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
        """Publishes a first image on new labels' topics that nobody reads yet.

        These images are latched, for readers that subscribe when they learn of the topic. For many labels they would
        take gigabytes. Then a topic gets its first image when somebody reads it.
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
        """Returns the messages of ~/channel_info and ~/scores, the list before the image that it describes."""
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
    """Maps [0, 1] to 0..255, rounded."""
    return (shares * 255 + 0.5).astype(np.uint8)
