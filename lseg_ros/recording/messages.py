"""Messages without ROS: reads recorded images as arrays, and serializes the node's messages for a bag."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lseg_ros.images.messages import ImageError, compressed_to_rgb, to_rgb
from lseg_ros.inference.labels import LabelSet
from lseg_ros.inference.protocol import SegmentationLike
from lseg_ros.inference.render import picture
from lseg_ros.inference.taught import nothing_taught_fields

if TYPE_CHECKING:
    from rosbags.typesys.store import MsgType

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
FRAME_INFO = "lseg_ros/msg/FrameInfo"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
LABEL_SET = "lseg_ros/msg/LabelSet"

# The fields of msg/*.msg and of vision_msgs, which are not installed everywhere. A test compares them with the files.
DEFINITIONS = {
    "lseg_ros/msg/Taught": "string weights\nbool alone\nuint32 dimensions\nfloat32[] toward\nfloat32[] against",
    "lseg_ros/msg/Label": "string name\nuint16 class_id\nstring[] prompts\nfloat32 threshold\nbool background\n"
    "std_msgs/ColorRGBA color\nstring score_topic\nlseg_ros/Taught taught",
    LABEL_SET: "std_msgs/Header header\nuint32 version\nlseg_ros/Label[] labels",
    FRAME_INFO: "std_msgs/Header header\nuint32 label_version\nbool rescored\nstring[] stages\nfloat32[] stage_ms",
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name",
    LABEL_INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
}

# The outputs of each frame by name. FrameInfo is always written.
OUTPUTS = ("mask", "confidence", "overlay", "color")


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Returns all types that are read and written here."""
    # The standard types that are used here are the same in every release.
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


def _type(name: str) -> "type[MsgType]":
    return typestore().types[name]


def read_image(data: bytes | memoryview, kind: str) -> tuple[Any, NDArray[np.uint8]]:
    """Reads a recorded image.

    Args:
        data: A serialized sensor_msgs/Image or CompressedImage.
        kind: `IMAGE` or `COMPRESSED_IMAGE`.

    Returns:
        The message's header, and [H,W,3] uint8 RGB, which may be read-only.

    Raises:
        ImageError: The image cannot be read. The text says why.
    """
    try:
        message: Any = typestore().deserialize_cdr(data, kind)
    except SerdeError as error:
        raise ImageError(f"the message is damaged ({error})") from error
    return message.header, compressed_to_rgb(message) if kind == COMPRESSED_IMAGE else to_rgb(message)


def camera_names(topics: Sequence[str]) -> dict[str, str]:
    """Returns the name under which each image topic's outputs appear below the node's name.

    It is the camera's namespace (`front` for /front/image_raw and for /front/image_raw/compressed), or as much more of
    the topic as is needed to make the names differ. It is empty if there is only one topic.

    Args:
        topics: Image topics.
    """
    if len(topics) == 1:
        return {topics[0]: ""}
    whole = [topic.strip("/") for topic in topics]
    plain = [name.removesuffix("/compressed") for name in whole]
    spaces = [name.rpartition("/")[0] for name in plain]
    for names in (spaces, plain):
        if all(names) and len(set(names)) == len(names):
            return dict(zip(topics, names, strict=True))
    return dict(zip(topics, whole, strict=True))


def label_messages(labels: LabelSet, threshold: float, time: int) -> dict[str, memoryview]:
    """Returns the messages `label_info` and `labels`, serialized, by name.

    Args:
        labels: The labels in force.
        threshold: Confidence in [0, 1] below which pixels are unknown.
        time: Since when the labels are in force, in nanoseconds.
    """
    stamp = _type("builtin_interfaces/msg/Time")(sec=time // 10**9, nanosec=time % 10**9)
    header = _type("std_msgs/msg/Header")(stamp=stamp, frame_id="")
    classes = [
        _type("vision_msgs/msg/VisionClass")(class_id=class_id, class_name=name)
        for class_id, name in labels.ids_and_names()
    ]
    listed = [
        _type("lseg_ros/msg/Label")(
            **label.message_fields(),
            color=_type("std_msgs/msg/ColorRGBA")(*(channel / 255 for channel in label.color), 1.0),
            score_topic="",
            taught=_type("lseg_ros/msg/Taught")(
                **(label.taught.message_fields() if label.taught else nothing_taught_fields())
            ),
        )
        for label in labels.labels
    ]
    info = _type(LABEL_INFO)(header=header, class_map=classes, threshold=threshold)
    label_set = _type(LABEL_SET)(header=header, version=labels.version, labels=listed)
    return {
        "label_info": typestore().serialize_cdr(info, LABEL_INFO),
        "labels": typestore().serialize_cdr(label_set, LABEL_SET),
    }


def frame_messages(
    header: Any, rgb: NDArray[np.uint8], result: SegmentationLike, outputs: Sequence[str]
) -> dict[str, memoryview]:
    """Returns what the node would publish for one frame, serialized, by name, `frame_info` first.

    Args:
        header: The header of the input image, which is copied.
        rgb: [H,W,3], the input image.
        result: Its segmentation.
        outputs: Names of `OUTPUTS`.
    """
    # The times of the stages are left out, because they would differ each time the same bag is segmented.
    info = _type(FRAME_INFO)(
        header=header,
        label_version=result.labels.version,
        rescored=False,
        stages=[],
        stage_ms=np.empty(0, np.float32),
    )
    messages = {"frame_info": typestore().serialize_cdr(info, FRAME_INFO)}
    for name in outputs:
        messages[name] = _image(header, *_pixels(name, rgb, result))
    return messages


def _pixels(name: str, rgb: NDArray[np.uint8], result: SegmentationLike) -> tuple[NDArray[Any], str]:
    if name == "mask":
        return result.mask, "mono8" if result.mask.dtype == np.uint8 else "16UC1"
    if name == "confidence":
        return result.confidence_bytes, "mono8"
    return picture(name, rgb, result.mask, result.labels), "rgb8"


def _image(header: Any, pixels: NDArray[Any], encoding: str) -> memoryview:
    flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    message = _type(IMAGE)(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=flat.nbytes // pixels.shape[0],
        data=flat,
    )
    return typestore().serialize_cdr(message, IMAGE)
