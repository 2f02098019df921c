"""Readers that decode our messages as other programs do, and fail where those would go wrong.

The programs themselves do not run here. Their sources were read at the revisions named below, and these readers do the
same with the same bytes. Where a program would silently go wrong, its reader raises a ConsumerError that says what
would happen. Numbers in brackets refer to facts in section 2 of the study of consumers that this package was designed
by (consumers.md).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from lseg_ros.msg import ChannelInfo
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo


class ConsumerError(Exception):
    """What would happen in the real program, in one sentence."""


@dataclass
class Layers:
    """One decoded frame.

    Attributes:
        names: [H,W] label names, "" where the reader skips the pixel.
    """

    stamp: int
    names: NDArray[np.str_]
    values: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))


def stamp_of(header: Header) -> int:
    """Returns a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


class Nav2Layer:
    """kiwicampus/semantic_segmentation_layer at a70cf6e, with its confidence topic and ExactTime pairing [2.1].

    `frames` has the decoded frames. The layer's clock is the newest cloud's stamp.
    """

    IMAGE_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)

    def __init__(
        self, classes: Iterable[str], unknown_id: int = 255, decay: float = 5.0, *, volatile: bool = False
    ) -> None:
        """Configures the layer.

        Args:
            classes: All `classes` of the costmap file.
            unknown_id: Unknown id of the masks. The layer has no such setting; it skips ids that LabelInfo does not
                list.
            decay: Seconds for which a tile keeps an observation (`tile_map_decay_time`).
            volatile: Whether its message_filters (6.0.6 and others) lose the durability that the layer requests.
        """
        durability = DurabilityPolicy.VOLATILE if volatile else DurabilityPolicy.TRANSIENT_LOCAL
        self.label_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        self._classes = set(classes)
        self._unknown_id, self._decay = unknown_id, round(decay * 1e9)
        self._names: dict[int, str] | None = None  # None until the first LabelInfo
        self._waiting: dict[int, dict[str, Image | PointCloud2]] = {}
        self._masks: set[int] = set()
        self._clouds: set[int] = set()
        self._observed: dict[int, tuple[str, int]] = {}  # class id -> name when it was seen, and when
        self.frames: list[Layers] = []

    def on_label_info(self, message: LabelInfo) -> None:
        """Rebuilds the map from ids to costs, as each LabelInfo does."""
        ids: dict[str, int] = {}
        for entry in message.class_map:
            if entry.class_name not in self._classes:
                raise ConsumerError(
                    f"{entry.class_name!r} is not among the costmap's classes: logged as a CRITICAL ERROR, and its "
                    "pixels are skipped [2.1.5]"
                )
            if entry.class_id > 255:
                raise ConsumerError(f"id {entry.class_id} of {entry.class_name!r} is cut to eight bits [2.1.4]")
            ids[entry.class_name] = entry.class_id  # by name, so of two ids for one name the last counts
        names: dict[int, str] = {}
        for name, class_id in ids.items():
            if class_id in names:
                raise ConsumerError(f"id {class_id} is both {names[class_id]!r} and {name!r}: either cost is taken")
            names[class_id] = name
        if self._unknown_id in names:
            raise ConsumerError(f"unknown pixels take the cost of {names[self._unknown_id]!r}")
        now = max(self._clouds, default=0)
        for class_id, (name, seen) in self._observed.items():
            if now - seen <= self._decay and names.get(class_id) != name:
                cost = f"the cost of {names[class_id]!r}" if class_id in names else "cost 0, which is free space"
                raise ConsumerError(f"tiles that were seen as {name!r} (id {class_id}) take {cost} [2.1.7]")
        self._names = names

    def on_mask(self, message: Image) -> None:
        """Handles a mask."""
        self._masks.add(stamp_of(message.header))
        self._add("mask", message)

    def on_confidence(self, message: Image) -> None:
        """Handles a confidence image."""
        self._add("confidence", message)

    def on_cloud(self, message: PointCloud2) -> None:
        """Handles an organized cloud. Only its header and size are read here."""
        self._clouds.add(stamp_of(message.header))
        self._add("cloud", message)

    def check_pairs(self) -> None:
        """Fails if a mask had no cloud of its own. Called at the end."""
        alone = self._masks - self._clouds
        if alone:
            raise ConsumerError(
                f"no cloud has the stamp of the mask at {min(alone)} ns: ExactTime never pairs them, and clouds "
                "pile up in the costmap [2.1.8, 2.1.9]"
            )

    def _add(self, part: str, message: Image | PointCloud2) -> None:
        stamp = stamp_of(message.header)
        parts = self._waiting.setdefault(stamp, {})
        parts[part] = message
        if len(parts) == 3:
            self._waiting = {other: found for other, found in self._waiting.items() if other > stamp}
            self._buffer(stamp, parts["mask"], parts["confidence"], parts["cloud"])

    def _buffer(self, stamp: int, mask: Image, confidence: Image, cloud: PointCloud2) -> None:
        count = mask.width * mask.height
        if count != cloud.width * cloud.height:
            raise ConsumerError(
                f"the mask has {mask.width}x{mask.height} pixels and the cloud {cloud.width}x{cloud.height} points: "
                "the frame is dropped with a warning [2.1.2]"
            )
        if len(mask.data) < count:
            raise ConsumerError(f"the mask has {len(mask.data)} bytes for {count} pixels: the frame is dropped")
        if self._names is None:
            raise ConsumerError("a mask and its cloud came before any LabelInfo: a null pointer is followed [2.1.6]")
        if not self._names:
            raise ConsumerError("LabelInfo was empty: the frame is dropped with a warning")
        _require_bytes("mask", mask)
        if len(confidence.data) < count:
            raise ConsumerError(
                f"the confidence image has {len(confidence.data)} bytes for a mask of {count} pixels: memory behind it "
                "is read [2.1.3]"
            )
        _require_bytes("confidence image", confidence)
        if (confidence.width, confidence.height) != (mask.width, mask.height):
            raise ConsumerError("mask and confidence differ in size: each confidence belongs to another pixel [2.1.3]")
        # The byte at v * width + u is the pixel at column u of row v.
        ids = np.frombuffer(mask.data, np.uint8)[:count].reshape(mask.height, mask.width)
        shares = np.frombuffer(confidence.data, np.uint8)[:count].reshape(mask.height, mask.width)
        table = np.array([self._names.get(i, "") for i in range(256)])
        for class_id in np.unique(ids).tolist():
            if class_id in self._names:
                if not shares[ids == class_id].all():
                    raise ConsumerError(f"pixels of id {class_id} have confidence 0 and never reach max_cost [2.1.10]")
                self._observed[class_id] = self._names[class_id], stamp
            elif class_id != self._unknown_id:
                raise ConsumerError(f"LabelInfo gives id {class_id} no cost: its pixels are skipped [2.1.4]")
        self.frames.append(Layers(stamp, table[ids], shares))


def _require_bytes(what: str, image: Image) -> None:
    """Checks that an image has one byte per pixel and nothing between rows, because the layer checks neither."""
    if image.encoding not in ("mono8", "8UC1"):
        raise ConsumerError(f"the {what} is {image.encoding} and is read as one byte for each pixel [2.1.1]")
    if image.step != image.width:
        raise ConsumerError(
            f"the {what} has {image.step - image.width} bytes behind each row, which are read as pixels [2.1.1]"
        )


class ElevationMapping:
    """elevation_mapping_cupy with `data_type: image`: one channel for each layer of the map [2.2].

    Images come through cv_bridge for Python, which ignores `step` (vision_opencv at 00d2ae0). `frames` has, for each
    stamp, a dictionary from channel names to [H,W] float32.
    """

    IMAGE_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)  # does not match best-effort publishers

    def __init__(self) -> None:
        self._waiting: dict[int, dict[str, Image | CameraInfo | ChannelInfo]] = {}
        self.frames: list[tuple[int, dict[str, NDArray[np.float32]]]] = []

    def on_image(self, message: Image) -> None:
        """Handles a multi-channel image."""
        self._add("image", message)

    def on_camera_info(self, message: CameraInfo) -> None:
        """Handles a calibration."""
        self._add("CameraInfo", message)

    def on_channel_info(self, message: ChannelInfo) -> None:
        """Handles the names of the channels."""
        self._add("ChannelInfo", message)

    def check_pairs(self) -> None:
        """Fails if an image lacked a partner with its own stamp. Called at the end."""
        done = {stamp for stamp, _ in self.frames}
        for stamp, parts in self._waiting.items():
            if stamp not in done and "image" in parts:
                missing = " and ".join(sorted({"CameraInfo", "ChannelInfo"} - parts.keys()))
                raise ConsumerError(
                    f"the image at {stamp} ns has no {missing} of its stamp: approximate pairing takes that of another "
                    "image, or none"
                )

    def _add(self, part: str, message: Image | CameraInfo | ChannelInfo) -> None:
        stamp = stamp_of(message.header)
        parts = self._waiting.setdefault(stamp, {})
        parts[part] = message
        if len(parts) == 3:
            del self._waiting[stamp]
            layers = self._layers(parts["image"], parts["CameraInfo"], parts["ChannelInfo"])
            self.frames.append((stamp, layers))

    def _layers(self, image: Image, camera: CameraInfo, info: ChannelInfo) -> dict[str, NDArray[np.float32]]:
        names = list(info.channels)
        kind = re.fullmatch(r"32FC(\d+)", image.encoding)
        if kind is None:
            raise ConsumerError(f"the image is {image.encoding}: its values are taken for probabilities, unscaled")
        channels = int(kind[1])
        expected = sum(3 if name == "rgb" else 1 for name in names)
        if channels != expected:
            raise ConsumerError(f"{channels} channels and names for {expected}: the image is dropped with an error")
        if len(set(names)) != len(names):
            raise ConsumerError(f"two channels have the same name in {names}: one overwrites the other's layer")
        if (camera.width, camera.height) != (image.width, image.height):
            raise ConsumerError(
                f"CameraInfo is of {camera.width}x{camera.height} and the image has {image.width}x{image.height}: the "
                "layer comes out shifted or empty (issue 109)"
            )
        if not image.header.frame_id:
            raise ConsumerError("the image names no frame: its pose cannot be looked up")
        row = image.width * channels * 4
        if len(image.data) < row * image.height:
            raise ConsumerError(f"the image has {len(image.data)} bytes, not {row * image.height}: cv_bridge raises")
        if image.step != row:
            raise ConsumerError(f"{image.step - row} bytes behind each row are read as pixels: cv_bridge ignores step")
        values = np.frombuffer(image.data, "<f4").reshape(image.height, image.width, channels)
        if not ((values >= 0) & (values <= 1)).all():
            raise ConsumerError("the image has values outside 0..1: fusion takes them for probabilities")
        return {name: values[..., i] for i, name in enumerate(names)}


class Hydra:
    """MIT-SPARK/Hydra at 06694ec, which uses ids as indices of a label space that is fixed at the start [2.3].

    Images come through cv_bridge for C++, which uses `step`. `frames` has the decoded frames.
    """

    IMAGE_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    _TYPES = {"mono8": "u1", "8UC1": "u1", "16UC1": "<u2", "16SC1": "<i2", "32SC1": "<i4"}

    def __init__(self, label_space: Mapping[int, str], unknown_id: int) -> None:
        """Configures the program.

        Args:
            label_space: Names of ids, from its YAML file.
            unknown_id: Unknown id of the masks, which must not be in that file.
        """
        self._label_space, self._unknown_id = dict(label_space), unknown_id
        self._waiting: dict[int, dict[str, Image]] = {}
        self.frames: list[Layers] = []

    def check_label_info(self, message: LabelInfo) -> None:
        """Fails if the map would take one label for another from now on. Hydra itself does not read this message."""
        for entry in message.class_map:
            meaning = self._label_space.get(entry.class_id)
            if meaning != entry.class_name:
                raise ConsumerError(
                    f"{entry.class_name!r} has id {entry.class_id}, which is {meaning!r} in the label space: the map "
                    "takes one for the other"
                )

    def on_labels(self, message: Image) -> None:
        """Handles a label image."""
        self._add("labels", message)

    def on_depth(self, message: Image) -> None:
        """Handles a depth image. Only its header and size are read here."""
        self._add("depth", message)

    def _add(self, part: str, message: Image) -> None:
        stamp = stamp_of(message.header)
        parts = self._waiting.setdefault(stamp, {})
        parts[part] = message
        if len(parts) == 2:
            del self._waiting[stamp]
            self.frames.append(self._labels(stamp, parts["labels"], parts["depth"]))

    def _labels(self, stamp: int, labels: Image, depth: Image) -> Layers:
        if labels.encoding not in self._TYPES:
            wrong = "its colors are looked up" if labels.encoding in ("rgb8", "bgr8") else "values are rounded"
            raise ConsumerError(f"the label image is {labels.encoding}: {wrong} to make ids")
        if (labels.width, labels.height) != (depth.width, depth.height):
            raise ConsumerError(
                f"labels of {labels.width}x{labels.height} with depth of {depth.width}x{depth.height}: labels are "
                "looked up at the pixels of the depth image"
            )
        kind = np.dtype(self._TYPES[labels.encoding])
        if labels.step < labels.width * kind.itemsize or len(labels.data) < labels.step * labels.height:
            raise ConsumerError("the label image is too small for its size: cv_bridge throws")
        rows = np.frombuffer(labels.data, np.uint8)[: labels.step * labels.height].reshape(labels.height, labels.step)
        ids = np.ascontiguousarray(rows[:, : labels.width * kind.itemsize]).view(kind).astype(np.int32)
        for class_id in np.unique(ids).tolist():
            if class_id not in self._label_space and class_id != self._unknown_id:
                raise ConsumerError(f"id {class_id} is not in the label space: the map has no such label")
        names = np.vectorize(lambda i: self._label_space.get(i, ""), otypes=[np.str_])(ids)
        return Layers(stamp, names)
