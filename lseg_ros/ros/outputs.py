"""What the node publishes for a frame: computed only where somebody listens."""

import time

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lseg_ros.inference.labels import LabelSet
from lseg_ros.inference.protocol import SegmentationLike
from lseg_ros.inference.render import color_mask, overlay
from lseg_ros.msg import FrameInfo
from lseg_ros.ros import qos
from lseg_ros.ros.conversions import image_msg
from lseg_ros.ros.label_msgs import slugs
from lseg_ros.ros.parameters import NodeParams

_MASK_TYPES = {"mono8": np.uint8, "16UC1": np.uint16, "16SC1": np.int16, "32SC1": np.int32}


class Outputs:
    """The image topics and `~/frame_info`. Used from the worker's thread, but for the constructor."""

    def __init__(self, node: Node, params: NodeParams) -> None:
        """Creates the topics that do not depend on labels."""
        self._node, self._params = node, params
        self._slugs: dict[str, str] = {}
        self._scores: dict[str, Publisher] = {}
        self._silent: set[str] = set()  # labels whose topic has not had an image yet
        self._mask = self._publisher(Image, "mask")
        self._confidence = self._publisher(Image, "confidence")
        self._color = self._publisher(Image, "color")
        self._overlay = self._publisher(Image, "overlay")
        self._frame_info = self._publisher(FrameInfo, "frame_info")

    def _publisher(self, kind: type, name: str) -> Publisher:
        return self._node.create_publisher(
            kind, f"~/{name}", qos.OUTPUT, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )

    @property
    def score_topics(self) -> dict[str, str]:
        """The full topic name of each label's score image."""
        return {name: publisher.topic_name for name, publisher in self._scores.items()}

    def add_topics(self, planned: LabelSet) -> None:
        """Creates score topics for the labels of `planned` that have none; all of them, or none and an exception."""
        found = slugs(planned, self._slugs)
        created: dict[str, Publisher] = {}
        try:
            for name in found.keys() - self._scores.keys():
                created[name] = self._node.create_publisher(Image, f"~/score/{found[name]}", qos.LATCHED)
        except Exception:
            for publisher in created.values():
                self._node.destroy_publisher(publisher)
            raise
        self._scores |= created
        self._slugs |= found
        self._silent |= created.keys()

    def drop_topics(self, labels: LabelSet) -> None:
        """Removes the score topics of all labels that are not in `labels`; survivors keep theirs."""
        for name in self._scores.keys() - set(labels.names):
            self._node.destroy_publisher(self._scores.pop(name))
            self._slugs.pop(name)
            self._silent.discard(name)

    def wanted(self) -> bool:
        """Whether anybody listens to an image topic."""
        publishers = [self._mask, self._confidence, self._color, self._overlay, *self._scores.values()]
        return any(p.get_subscription_count() for p in publishers)

    def publish(
        self,
        header: Header,
        rgb: NDArray[np.uint8],
        segmentation: SegmentationLike,
        stage_ms: dict[str, float],
        *,
        rescored: bool,
    ) -> None:
        """Publishes one frame: its FrameInfo, then the images that are listened to.

        Args:
            header: of the input image; goes out as it came.
            rgb: HxWx3, the input image.
            segmentation: of that image.
            stage_ms: milliseconds of the stages before this one.
            rescored: whether an earlier image is published again under new labels.
        """
        start = time.perf_counter()
        messages = self._messages(header, rgb, segmentation)
        stages = stage_ms | {"score": 1e3 * (time.perf_counter() - start)}
        info = FrameInfo(header=header, label_version=segmentation.labels.version, rescored=rescored)
        info.stages, info.stage_ms = list(stages), list(stages.values())
        self._frame_info.publish(info)
        for publisher, message in messages:
            publisher.publish(message)

    def _messages(
        self, header: Header, rgb: NDArray[np.uint8], segmentation: SegmentationLike
    ) -> list[tuple[Publisher, Image]]:
        params, labels = self._params, segmentation.labels
        found = []
        if self._mask.get_subscription_count():
            mask = segmentation.mask.astype(_MASK_TYPES[params.mask_encoding], copy=False)
            found.append((self._mask, image_msg(mask, params.mask_encoding, header)))
        if self._confidence.get_subscription_count():
            confidence = segmentation.confidence
            if params.confidence_encoding == "mono8":
                # 0 means "no data" to readers, so a labelled pixel is never below 1.
                confidence = np.maximum(_to_bytes(confidence), 1)
            found.append((self._confidence, image_msg(confidence, params.confidence_encoding, header)))
        for name, publisher in self._scores.items():
            # The first image of a new topic goes out in any case: it is latched, so that whoever learns of the topic
            # and subscribes sees something at once.
            if publisher.get_subscription_count() or name in self._silent:
                self._silent.discard(name)
                score = segmentation.scores(name)
                score = _to_bytes(score) if params.score_encoding == "mono8" else score
                found.append((publisher, image_msg(score, params.score_encoding, header)))
        if self._color.get_subscription_count():
            found.append((self._color, image_msg(color_mask(segmentation.mask, labels), "rgb8", header)))
        if self._overlay.get_subscription_count():
            found.append((self._overlay, image_msg(overlay(rgb, segmentation.mask, labels), "rgb8", header)))
        return found


def _to_bytes(shares: NDArray[np.float32]) -> NDArray:
    """[0, 1] -> 0..255, rounded."""
    return (shares * 255 + 0.5).astype(np.uint8)
