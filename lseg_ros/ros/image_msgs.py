"""Fills image messages from arrays."""

import re
import sys
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header

_ELEMENTS: dict[str, tuple[Any, int]] = {
    "mono8": (np.uint8, 1),
    "rgb8": (np.uint8, 3),
    "16UC1": (np.uint16, 1),
    "16SC1": (np.int16, 1),
    "32SC1": (np.int32, 1),
}


def image_msg(pixels: npt.NDArray[Any], encoding: str, header: Header, into: Image | None = None) -> Image:
    """Fills an image message.

    Args:
        pixels: [H,W], or [H,W,C] for C channels, in exactly the encoding's type. It need not be contiguous.
        encoding: mono8, rgb8, 16UC1, 16SC1, 32SC1, or 32FC<n>.
        header: The message's header. It is not copied.
        into: A message to fill instead of a new one. Its buffer is used again if the size is the same.

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
        into = Image()
    if len(into.data) == flat.nbytes:
        np.frombuffer(into.data, np.uint8)[:] = flat
    else:
        # For any other type than array.array the setter checks every byte (90 ms for 640x480). Newer releases of rclpy
        # do not, but copy slowly.
        data = array("B")
        data.frombytes(flat.data)
        into.data = data
    into.header = header
    into.height, into.width = shape[:2]
    into.encoding = encoding
    into.is_bigendian = int(sys.byteorder == "big")
    into.step = flat.nbytes // shape[0]
    return into
