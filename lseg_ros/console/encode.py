"""Encodes frames for the browser: the camera's image as JPEG and a layer, in one binary message."""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lseg_ros.images.messages import ImageError
from lseg_ros.ros.client.view import ViewFrame

LONGEST_SIDE = 1280  # pixels; larger images are shrunk
UNKNOWN = 255  # in a mask whose labels fit into one byte
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]
_ZLIB_LEVEL = 1  # fast; for masks, which have few edges, higher levels are hardly smaller


def frame_message(frame: ViewFrame, layer: str, label: str, class_ids: Sequence[int], version: int) -> bytes:
    """Encodes a frame: the length of its header (4 bytes, little endian), the header, and two parts.

    The first part is the camera's image as JPEG, or empty. The second is the layer. A mask is sent as indices of
    labels, compressed with zlib, because JPEG would blur them. Other layers are gray JPEGs.

    Args:
        frame: The frame.
        layer: "mask", "confidence" or "score".
        label: The label of the score; empty for the other layers.
        class_ids: Class ids of the labels in order; -1 for background. Pixels of a mask are sent as indices in this
            list.
        version: Version of the label set that has these ids.
    """
    pixels = frame.pixels()
    height, width = pixels.shape
    problem = ""
    try:
        rgb = frame.rgb()
    except ImageError as error:
        rgb, problem = None, str(error)
    picture = b"" if rgb is None else jpeg(_shrunk(rgb, cv2.INTER_AREA))
    if layer == "mask":
        places = _shrunk(mask_places(pixels, class_ids), cv2.INTER_NEAREST)
        second = zlib.compress(places.astype(places.dtype.newbyteorder("<")).tobytes(), _ZLIB_LEVEL)
    else:
        places = _shrunk(as_bytes(pixels), cv2.INTER_AREA)
        second = jpeg(places)
    header = {
        "stamp": frame.stamp,
        "size": [width, height],
        "grid": [places.shape[1], places.shape[0], places.itemsize],
        "layer": layer,
        "label": label,
        "version": version,
        "rescored": bool(frame.info is not None and frame.info.rescored),
        "stages": {} if frame.info is None else dict(zip(frame.info.stages, frame.info.stage_ms, strict=False)),
        "problem": problem,
        "parts": [len(picture), len(second)],
    }
    return message(header, picture, second)


def message(header: dict[str, Any], *parts: bytes) -> bytes:
    """Returns the length of a header, the header as JSON, and the parts."""
    text = json.dumps(header).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, *parts))


def mask_places(mask: NDArray[Any], class_ids: Sequence[int]) -> NDArray[Any]:
    """Converts class ids to indices of labels.

    Args:
        mask: [H,W] class ids.
        class_ids: Class ids of the labels in order; -1 for a label that no pixel has.

    Returns:
        [H,W] uint8 with 255 for unknown, or uint16 with 65535 if there are too many labels.
    """
    kind = np.uint16 if len(class_ids) > UNKNOWN else np.uint8
    table = np.full(65536, np.iinfo(kind).max, kind)
    for place, class_id in enumerate(class_ids):
        if class_id >= 0:
            table[class_id] = place
    return table[mask if mask.dtype == np.uint8 else mask.astype(np.uint16)]


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Converts shares in [0, 1] to bytes. Bytes stay as they are."""
    return values if values.dtype == np.uint8 else np.asarray(np.clip(values, 0, 1) * 255 + 0.5, np.uint8)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes [H,W,3] RGB or [H,W] gray as JPEG."""
    return bytes(cv2.imencode(".jpg", _bgr(pixels), _JPEG)[1])


def _bgr(pixels: NDArray[np.uint8]) -> Any:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels


def _shrunk(pixels: NDArray[Any], interpolation: int) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))
