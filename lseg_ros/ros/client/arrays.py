"""Converts the node's images to arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lseg_ros.ros.client.errors import ClientError

_TYPES: dict[str, tuple[str, int]] = {
    "rgb8": ("u1", 3),
    "mono8": ("u1", 1),
    "16UC1": ("u2", 1),
    "16SC1": ("i2", 1),
    "32SC1": ("i4", 1),
    "32FC1": ("f4", 1),
}


def to_array(message: Image) -> NDArray[Any]:
    """Returns the pixels of an image that the node publishes.

    Args:
        message: The image.

    Returns:
        [H,W], or [H,W,3] RGB, in the encoding's type. It may share the message's memory and be read-only.

    Raises:
        ClientError: The node has no such encoding, or there is less data than the size needs.
    """
    if message.encoding not in _TYPES:
        raise ClientError(f"an image is {message.encoding!r}; known are: {', '.join(_TYPES)}")
    name, channels = _TYPES[message.encoding]
    kind = np.dtype((">" if message.is_bigendian else "<") + name)
    row = message.width * channels * kind.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if message.step < row or data.size < message.step * message.height:
        raise ClientError(
            f"an image of {message.width}x{message.height} {message.encoding} has {data.size} bytes in rows of "
            f"{message.step}; it is damaged"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)[:, :row]
    pixels = np.ascontiguousarray(rows).view(kind).reshape(message.height, message.width, channels)
    native = pixels.astype(kind.newbyteorder("="), copy=False)
    return native if channels > 1 else native[..., 0]
