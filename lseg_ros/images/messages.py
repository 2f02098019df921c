"""Reads camera images from messages, raw or compressed, as RGB arrays. Needs no ROS."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Protocol, cast

import cv2
import numpy as np
import numpy.typing as npt

from lseg_ros.images.containers import container, has_end
from lseg_ros.images.encodings import LAYOUTS, ImageError, ImageLike, packed_pixels

__all__ = ["ImageError", "ImageLike", "color_backend", "compressed_to_rgb", "to_rgb"]

_RGB = npt.NDArray[np.uint8]

# cv_bridge has no name for these.
_DIRECT = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def to_rgb(msg: ImageLike) -> _RGB:
    """Reads a camera image.

    Encodings: rgb8, bgr8, rgba8, bgra8, mono8, mono16, 8UC1 (read as mono8), 8UC3 (read as bgr8, as cv_bridge does),
    bayer_*8 and bayer_*16, uyvy and yuv422 (the same), yuyv and yuv422_yuy2 (the same), nv12, nv21. Of 16-bit samples
    the high byte is kept. Alpha is dropped. YUV is BT.601, limited range.

    Args:
        msg: A sensor_msgs/Image or anything with its fields, unchecked. Rows may be padded, in either byte order.

    Returns:
        [H,W,3] uint8 RGB, C-contiguous. For rgb8 without padding it shares the message's memory and may be read-only:
        copy it before writing.

    Raises:
        ImageError: The message cannot be read. The text says which value is wrong and what to do.
    """
    pixels, encoding = packed_pixels(msg)
    if encoding == "rgb8":
        return pixels
    if encoding in _DIRECT:
        return cast(_RGB, cv2.cvtColor(pixels, _DIRECT[encoding]))
    return _BACKENDS[color_backend()](pixels, encoding)


class CompressedLike(Protocol):
    """The fields of sensor_msgs/CompressedImage that are needed here.

    Attributes:
        format: An encoding, ";", and the kind of compression, as image_transport writes them.
        data: Anything with a byte buffer.
    """

    format: str
    data: Any


_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
# Encodings of numbers without colors, such as depth. 8UC is not among them, because it is read as a picture.
_NUMBERS = re.compile(r"(8S|16[US]|32[SF]|64F)C\d+")


def compressed_to_rgb(msg: CompressedLike) -> _RGB:
    """Reads a compressed camera image: JPEG or PNG, color, grey or a Bayer mosaic, 8 or 16 bits.

    The data decide between JPEG and PNG. `format` decides what the samples are. It is a mosaic if the encoding says so
    and the data have one channel. Of 16-bit samples the high byte is kept. An orientation in the file is ignored,
    because a calibration refers to the stored pixels. Bytes after the end are ignored, because some drivers send
    buffers of fixed size.

    Args:
        msg: A sensor_msgs/CompressedImage or anything with its fields, unchecked.

    Returns:
        [H,W,3] uint8 RGB, C-contiguous.

    Raises:
        ImageError: The data are no picture, or cannot be decoded as a whole.
    """
    data = memoryview(msg.data).cast("B")
    encoding = msg.format.partition(";")[0].strip() if ";" in msg.format else ""
    _check_picture(msg.format, encoding)
    if not data:
        raise ImageError(f"compressed image of format {msg.format!r} has no data, see what its publisher logs")
    kind = container(data)
    if kind is None:
        raise ImageError(f"compressed image of format {msg.format!r} is neither JPEG nor PNG, publish one of these")
    if not has_end(data):
        raise ImageError(f"compressed image of {len(data)} bytes is {kind} without its end: the message was cut short")
    if bayer := _BAYER.fullmatch(encoding):
        samples = _decoded(data, kind, cv2.IMREAD_UNCHANGED)
        if samples.ndim == 2:
            if samples.dtype == np.uint16:
                samples = samples >> 8
            return to_rgb(_packed_message(np.ascontiguousarray(samples, np.uint8), f"bayer_{bayer[1]}8"))
    bgr = _decoded(data, kind, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cast(_RGB, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _check_picture(format: str, encoding: str) -> None:
    """Raises ImageError if `format` says that the samples are no picture."""
    if "compressedDepth" in format or _NUMBERS.fullmatch(encoding):
        raise ImageError(
            f"compressed image of format {format!r} holds numbers such as depth, not a picture: remap image to the "
            "topic of the camera's color or grey images"
        )


def _decoded(data: memoryview, kind: str, flags: int) -> npt.NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"compressed image cannot be decoded: {' '.join(str(error).split())}") from error
    if pixels is None:
        raise ImageError(f"compressed image of {len(data)} bytes is damaged {kind}")
    return pixels


@lru_cache(maxsize=1)
def color_backend() -> str:
    """Returns the library that converts colors in this process: cv_bridge if it works, else rosbags-image.

    The first call takes about a second if cv_bridge is installed. Make it before the first image.
    """
    return "cv_bridge" if find_spec("cv_bridge") and _cv_bridge_works() else "rosbags-image"


def _cv_bridge_works() -> bool:
    # A cv_bridge that was built for another NumPy raises one of several exceptions at its import, writes pages to
    # stderr, or crashes the process (vision_opencv#535). Only another process can test it safely.
    encodings = sorted({layout.packed_as for layout in LAYOUTS.values()} - {"rgb8", *_DIRECT})
    probe = (
        "import types, cv2, cv_bridge\n"
        f"for encoding, samples in {[(name, LAYOUTS[name].samples) for name in encodings]}:\n"
        "    m = types.SimpleNamespace(height=4, width=4, encoding=encoding, is_bigendian=0, step=4 * samples)\n"
        "    m.data = bytes(range(16 * samples))\n"
        "    rgb = cv_bridge.CvBridge().imgmsg_to_cv2(m, 'rgb8')\n"
        "    assert rgb.shape == (4, 4, 3) and rgb.dtype == 'uint8'\n"
        "    assert encoding != 'bgr8' or rgb[0, 0].tolist() == [2, 1, 0]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, timeout=30)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _rgb_by_cv_bridge(pixels: npt.NDArray[np.uint8], encoding: str) -> _RGB:
    bridge = import_module("cv_bridge").CvBridge()
    return cast(_RGB, bridge.imgmsg_to_cv2(_packed_message(pixels, encoding), "rgb8"))


def _rgb_by_rosbags(pixels: npt.NDArray[np.uint8], encoding: str) -> _RGB:
    # Imported here, because it need not be installed where cv_bridge works.
    return cast(_RGB, import_module("rosbags.image").message_to_cvimage(_packed_message(pixels, encoding), "rgb8"))


_BACKENDS: dict[str, Callable[[npt.NDArray[np.uint8], str], _RGB]] = {
    "cv_bridge": _rgb_by_cv_bridge,
    "rosbags-image": _rgb_by_rosbags,
}


def _packed_message(pixels: npt.NDArray[np.uint8], encoding: str) -> SimpleNamespace:
    """Wraps packed pixels in a message without padding, in the machine's byte order."""
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.strides[0],
        data=pixels.data,
    )
