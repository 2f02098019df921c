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
    return _BACKENDS[color_backend()](pixels, encoding)


class CompressedLike(Protocol):
    """The fields of sensor_msgs/CompressedImage that matter here."""

    format: str
    data: Any


_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
# Encodings that count samples, as of depth, and name no colors; of these, 8-bit ones are taken for pictures.
_NUMBERS = re.compile(r"(8S|16[US]|32[SF]|64F)C\d+")


def compressed_to_rgb(msg: CompressedLike) -> _RGB:
    """Read a compressed camera image: JPEG or PNG, of color, of grey or of a Bayer mosaic, 8 or 16 bits.

    The data say whether they are JPEG or PNG. `format` says what the samples are, as image_transport writes it: an
    encoding, ";", and how it was compressed. A mosaic is one where the encoding names it and the data have one channel.
    16-bit samples are scaled by their full range. An orientation in the file is ignored: calibration is about the
    pixels as they are stored. Bytes behind the end are ignored: some drivers send buffers of fixed size.

    Returns:
        [H, W, 3] uint8 RGB, C-contiguous.

    Raises:
        ImageError: The data cannot be decoded whole, or are no picture.
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
    """Raises ImageError where `format` says that the samples are something else than a picture."""
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
