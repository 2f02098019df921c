"""Unpacks the pixels of a sensor_msgs/Image.

No message is trusted: a driver may pad rows, leave out the padding of the last row, send the other byte order, or send
wrong sizes. The result always has rows without gaps and one byte per sample. Needs no ROS.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

# Some operations of OpenCV have 16-bit coordinates. No camera has as many pixels.
MAX_SIDE = 32767


class ImageError(ValueError):
    """An image message cannot be read. The text is one sentence for the person who runs the publisher."""


class ImageLike(Protocol):
    """The fields of sensor_msgs/Image that are needed here.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        encoding: As in sensor_msgs/image_encodings.hpp.
        is_bigendian: Whether samples of more than a byte are big-endian.
        step: Bytes from one row to the next.
        data: Anything with a byte buffer.
    """

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class Layout(NamedTuple):
    """The memory layout of an encoding.

    Attributes:
        samples: Samples per pixel.
        sample_bytes: Bytes per sample.
        packed_as: The encoding of the pixels once each sample has one byte.
    """

    samples: int
    sample_bytes: int
    packed_as: str


_BAYER = ("rggb", "bggr", "gbrg", "grbg")
_SUBSAMPLED_420 = ("nv12", "nv21")

# Every release of cv_bridge knows the names on the right. Older ones know neither uyvy nor yuyv.
LAYOUTS: dict[str, Layout] = {
    "rgb8": Layout(3, 1, "rgb8"),
    "bgr8": Layout(3, 1, "bgr8"),
    "rgba8": Layout(4, 1, "rgba8"),
    "bgra8": Layout(4, 1, "bgra8"),
    "mono8": Layout(1, 1, "mono8"),
    "mono16": Layout(1, 2, "mono8"),
    "8UC1": Layout(1, 1, "mono8"),
    "8UC3": Layout(3, 1, "bgr8"),
    **{f"bayer_{order}8": Layout(1, 1, f"bayer_{order}8") for order in _BAYER},
    **{f"bayer_{order}16": Layout(1, 2, f"bayer_{order}8") for order in _BAYER},
    "uyvy": Layout(2, 1, "yuv422"),
    "yuv422": Layout(2, 1, "yuv422"),
    "yuyv": Layout(2, 1, "yuv422_yuy2"),
    "yuv422_yuy2": Layout(2, 1, "yuv422_yuy2"),
    "nv12": Layout(1, 1, "nv12"),
    "nv21": Layout(1, 1, "nv21"),
}


def packed_pixels(msg: ImageLike) -> tuple[npt.NDArray[np.uint8], str]:
    """Extracts a message's pixels, without gaps and with one byte per sample.

    Of 16-bit samples the high byte is kept, in the message's byte order. So the full range maps to the full range.

    Args:
        msg: The message. Its `height` is that of the picture, also for nv12 and nv21, whose buffers have half as many
            rows again for the color.

    Returns:
        The samples, C-contiguous, [H,W,samples], or [H,W] if a pixel has one sample (nv12, nv21: [H*3/2,W]), and their
        encoding. They share the message's memory if no byte had to be moved, so they may be read-only.

    Raises:
        ImageError: The encoding is unknown, or the sizes contradict one another or the data.
    """
    layout = LAYOUTS.get(msg.encoding)
    if layout is None:
        raise ImageError(
            f"image encoding {msg.encoding!r} is not supported, publish one of these: {', '.join(sorted(LAYOUTS))}"
        )
    _check_size(msg)

    rows = msg.height * 3 // 2 if msg.encoding in _SUBSAMPLED_420 else msg.height
    pixel_bytes = layout.samples * layout.sample_bytes
    row_bytes = msg.width * pixel_bytes
    if msg.step < row_bytes:
        raise ImageError(
            f"image step {msg.step} is too small, a row of {msg.width} {msg.encoding} pixels takes {row_bytes} bytes: "
            "set step to the bytes from one row to the next"
        )
    size = memoryview(msg.data).nbytes
    # Some drivers leave out the padding of the last row. That is valid, because no pixel is missing.
    if size < msg.step * (rows - 1) + row_bytes:
        raise ImageError(
            f"image data has {size} bytes, {msg.width}x{msg.height} {msg.encoding} at step {msg.step} takes "
            f"{msg.step * rows}: the message was cut short or its height, width or step is wrong"
        )

    samples: npt.NDArray[np.uint8] = np.ndarray(
        shape=(rows, msg.width, layout.samples),
        dtype=np.uint8,
        buffer=msg.data,
        offset=0 if msg.is_bigendian else layout.sample_bytes - 1,
        strides=(msg.step, pixel_bytes, layout.sample_bytes),
    )
    return np.ascontiguousarray(samples[..., 0] if layout.samples == 1 else samples), layout.packed_as


def _check_size(msg: ImageLike) -> None:
    size = f"{msg.width}x{msg.height}"
    if not (0 < msg.width <= MAX_SIDE and 0 < msg.height <= MAX_SIDE):
        raise ImageError(f"image size {size} is impossible, width and height must be between 1 and {MAX_SIDE}")
    if msg.encoding in _SUBSAMPLED_420 and (msg.width % 2 or msg.height % 2):
        raise ImageError(
            f"image size {size} is odd, {msg.encoding} shares color among 2x2 pixels: crop to even width and height"
        )
    if LAYOUTS[msg.encoding].packed_as.startswith("yuv422") and msg.width % 2:
        raise ImageError(
            f"image width {msg.width} is odd, {msg.encoding} shares color between two pixels: crop to an even width"
        )
    # OpenCV returns a black picture instead of an error for a mosaic without an inner pixel.
    if msg.encoding.startswith("bayer") and (msg.width < 3 or msg.height < 3):
        raise ImageError(f"image size {size} is too small for {msg.encoding}, colors take at least 3x3 pixels")
