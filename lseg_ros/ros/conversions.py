"""Between image messages and arrays: everything of the package that knows how an image message is filled.

Importing this needs no ROS; only `image_msg` does, when it is called.
"""

import os
import re
import subprocess
import sys
from array import array
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast

import cv2
import numpy as np
import numpy.typing as npt

from lseg_ros.ros.encodings import LAYOUTS, ImageError, ImageLike, packed_pixels

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

__all__ = ["ImageError", "ImageLike", "colour_backend", "compressed_to_rgb", "image_msg", "to_rgb"]

_RGB = npt.NDArray[np.uint8]

# cv_bridge has no name for these.
_DIRECT = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def to_rgb(msg: ImageLike) -> _RGB:
    """Read a camera image.

    Encodings: rgb8, bgr8, rgba8, bgra8, mono8, mono16, 8UC1 (taken for mono8), 8UC3 (taken for bgr8, as cv_bridge
    does), bayer_*8 and bayer_*16, uyvy and yuv422 (the same thing), yuyv and yuv422_yuy2 (the same thing), nv12, nv21.
    16-bit samples are scaled by their full range: the high byte counts. Alpha is dropped. YUV is BT.601, limited range.

    Args:
        msg: A sensor_msgs/Image or anything with its fields, unchecked. Rows may be padded, in either byte order.

    Returns:
        [H, W, 3] uint8 RGB, C-contiguous. For rgb8 without padding it shares the message's memory, and may be
        read-only: copy it before writing.

    Raises:
        ImageError: The message cannot be read; says what is wrong with which value, and what to do.
    """
    pixels, encoding = packed_pixels(msg)
    if encoding == "rgb8":
        return pixels
    if encoding in _DIRECT:
        return cast(_RGB, cv2.cvtColor(pixels, _DIRECT[encoding]))
    return _BACKENDS[colour_backend()](pixels, encoding)


class CompressedLike(Protocol):
    """The fields of sensor_msgs/CompressedImage that matter here."""

    format: str
    data: Any


# Of each container: its first bytes, and what is near the end of a file that was not cut short.
_CONTAINERS = {"JPEG": (b"\xff\xd8\xff", b"\xff\xd9"), "PNG": (b"\x89PNG\r\n\x1a\n", b"IEND")}
_END_WITHIN = 1024  # bytes; some drivers add padding


def compressed_to_rgb(msg: CompressedLike) -> _RGB:
    """Read a compressed camera image: JPEG or PNG, whatever `format` calls it, of colour or of grey, 8 or 16 bits.

    16-bit samples are scaled by their full range. An orientation in the file is ignored: calibration is about the
    pixels as they are stored.

    Returns:
        [H, W, 3] uint8 RGB, C-contiguous.

    Raises:
        ImageError: The data cannot be decoded whole.
    """
    data = np.frombuffer(msg.data, np.uint8)
    kind = next((name for name, (start, _) in _CONTAINERS.items() if data[: len(start)].tobytes() == start), None)
    if kind is None:
        raise ImageError(f"compressed image of format {msg.format!r} is neither JPEG nor PNG, publish one of these")
    if _CONTAINERS[kind][1] not in data[-_END_WITHIN:].tobytes():
        raise ImageError(f"compressed image of {data.size} bytes is {kind} without its end: the message was cut short")
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"compressed image cannot be decoded: {' '.join(str(error).split())}") from error
    if bgr is None:
        raise ImageError(f"compressed image of {data.size} bytes is damaged {kind}")
    return cast(_RGB, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


@lru_cache(maxsize=1)
def colour_backend() -> str:
    """Name the library that converts colours in this process: cv_bridge where it works, else rosbags-image.

    The first call takes about a second where cv_bridge is installed, so make it before the first image.
    """
    return "cv_bridge" if find_spec("cv_bridge") and _cv_bridge_works() else "rosbags-image"


def _cv_bridge_works() -> bool:
    # A cv_bridge built for another NumPy fails on import with any of several exceptions, writes pages to stderr, or
    # takes the process down with it (vision_opencv#535). Only another process can find out safely.
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
    # Imported late: it is not installed where cv_bridge does the work.
    return cast(_RGB, import_module("rosbags.image").message_to_cvimage(_packed_message(pixels, encoding), "rgb8"))


_BACKENDS: dict[str, Callable[[npt.NDArray[np.uint8], str], _RGB]] = {
    "cv_bridge": _rgb_by_cv_bridge,
    "rosbags-image": _rgb_by_rosbags,
}


def _packed_message(pixels: npt.NDArray[np.uint8], encoding: str) -> SimpleNamespace:
    """Dress packed pixels as a message that leaves a library nothing to decide about padding or byte order."""
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.strides[0],
        data=pixels.data,
    )


_ELEMENTS: dict[str, tuple[Any, int]] = {
    "mono8": (np.uint8, 1),
    "rgb8": (np.uint8, 3),
    "16UC1": (np.uint16, 1),
    "16SC1": (np.int16, 1),
    "32SC1": (np.int32, 1),
}


def image_msg(pixels: npt.NDArray[Any], encoding: str, header: "Header", into: "Image | None" = None) -> "Image":
    """Fill an image message.

    Args:
        pixels: [H, W], or [H, W, C] for C channels, of exactly the encoding's type; need not be contiguous.
        encoding: mono8, rgb8, 16UC1, 16SC1, 32SC1, or 32FC<n>.
        header: Becomes the message's header as it is, not copied.
        into: A message of ours to fill instead of a new one; its buffer is used again when the size has not changed.

    Returns:
        The message, without row padding, in this machine's byte order.

    Raises:
        ValueError: The encoding is none of these, or `pixels` has another type or shape.
    """
    floats = re.fullmatch(r"32FC([1-9]\d*)", encoding)
    if floats is None and encoding not in _ELEMENTS:
        raise ValueError(f"cannot fill an image of encoding {encoding!r}, only {', '.join(_ELEMENTS)} and 32FC<n>")
    dtype, channels = (np.float32, int(floats[1])) if floats else _ELEMENTS[encoding]
    shape = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    if pixels.dtype != dtype or len(shape) != 3 or shape[2] != channels or 0 in shape:
        raise ValueError(
            f"{encoding} takes [H, W, {channels}] {np.dtype(dtype).name}, "
            f"not {list(pixels.shape)} {pixels.dtype.newbyteorder('=').name}"
            + ("" if pixels.dtype.isnative else " in the other byte order")
        )

    flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    if into is None:
        from sensor_msgs.msg import Image

        into = Image()
    if len(into.data) == flat.nbytes:
        np.frombuffer(into.data, np.uint8)[:] = flat
    else:
        # Of anything but array.array the setter checks every byte (90 ms for 640x480); newer releases only copy slowly.
        data = array("B")
        data.frombytes(flat.data)
        into.data = data
    into.header = header
    into.height, into.width = shape[:2]
    into.encoding = encoding
    into.is_bigendian = int(sys.byteorder == "big")
    into.step = flat.nbytes // shape[0]
    return into
