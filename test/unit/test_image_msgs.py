"""Filling image messages from arrays."""

import sys
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lseg_ros.images.messages import to_rgb

pytest.importorskip("sensor_msgs", reason="needs ROS 2")

from lseg_ros.ros.image_msgs import image_msg  # noqa: E402

NO_HEADER: Any = None

OURS = [
    ("mono8", np.uint8, ()),
    ("rgb8", np.uint8, (3,)),
    ("16UC1", np.uint16, ()),
    ("16SC1", np.int16, (1,)),
    ("32SC1", np.int32, ()),
    ("32FC1", np.float32, ()),
    ("32FC7", np.float32, (7,)),
]


def empty_message() -> Any:
    return SimpleNamespace(data=array("B"), header=None, height=0, width=0, encoding="", is_bigendian=0, step=0)


@pytest.mark.parametrize(("encoding", "dtype", "channels"), OURS)
def test_image_msg_fills_every_field(encoding: str, dtype: Any, channels: tuple[int, ...]) -> None:
    pixels = np.arange(5 * 7 * (channels or (1,))[0]).astype(dtype).reshape(5, 7, *channels)
    header: Any = object()
    for given in (pixels, np.ascontiguousarray(pixels[:, ::-1])[:, ::-1]):
        msg = image_msg(given, encoding, header, into=empty_message())
        assert msg.header is header
        assert (msg.height, msg.width, msg.encoding) == (5, 7, encoding)
        assert msg.step == pixels.nbytes // 5
        assert msg.is_bigendian == (sys.byteorder == "big")
        assert isinstance(msg.data, array)
        assert msg.data.tobytes() == pixels.tobytes()


def test_image_msg_uses_a_buffer_again_only_at_the_same_size() -> None:
    first, second = np.full((4, 6), 1, np.uint8), np.full((4, 6), 2, np.uint8)
    msg: Any = image_msg(first, "mono8", NO_HEADER, into=empty_message())
    buffer = msg.data
    image_msg(second, "mono8", NO_HEADER, into=msg)
    assert msg.data is buffer
    assert msg.data.tobytes() == second.tobytes()

    image_msg(second[:3], "mono8", NO_HEADER, into=msg)
    assert (msg.height, msg.step, len(msg.data)) == (3, 6, 18)


@pytest.mark.parametrize(
    ("pixels", "encoding", "sentence"),
    [
        (np.zeros((4, 6), np.uint8), "bgr8", r"encoding 'bgr8', only mono8, .* 32FC<n>"),
        (np.zeros((4, 6), np.uint8), "32FC0", r"encoding '32FC0'"),
        (np.zeros((4, 6), np.int64), "mono8", r"mono8 takes \[H, W, 1\] uint8, not \[4, 6\] int64"),
        (np.zeros((4, 6), ">u2" if sys.byteorder == "little" else "<u2"), "16UC1", r"not \[4, 6\] uint16 in the other"),
        (np.zeros((4, 6), np.uint8), "rgb8", r"rgb8 takes \[H, W, 3\]"),
        (np.zeros((4, 6, 2), np.float32), "32FC3", r"32FC3 takes \[H, W, 3\] float32, not \[4, 6, 2\]"),
        (np.zeros((2, 4, 6, 1), np.uint8), "mono8", r"not \[2, 4, 6, 1\]"),
        (np.zeros((0, 6), np.uint8), "mono8", r"not \[0, 6\]"),
    ],
)
def test_image_msg_refuses_what_does_not_match(pixels: npt.NDArray[Any], encoding: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        image_msg(pixels, encoding, NO_HEADER, into=empty_message())


def test_image_msg_makes_a_message_that_ros_takes_and_to_rgb_reads() -> None:
    image_class = pytest.importorskip("sensor_msgs.msg").Image
    header_class = pytest.importorskip("std_msgs.msg").Header
    header = header_class(frame_id="front")
    header.stamp.nanosec = 5
    rgb = np.arange(13 * 17 * 3).astype(np.uint8).reshape(13, 17, 3)
    msg = image_msg(rgb, "rgb8", header)
    assert isinstance(msg, image_class)
    assert msg.header == header
    np.testing.assert_array_equal(to_rgb(msg), rgb)
