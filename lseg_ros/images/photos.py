"""Reads photos from files.

This is the only place that does. Python opens the file and OpenCV gets its bytes, so a name of any encoding works.
"""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lseg_ros.images.containers import container, has_end

RGB = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112  # the EXIF tag


class SourceError(ValueError):
    """A photo, folder or video cannot be read. The text is one sentence that names it."""


def read_photo(path: Path, *, upright: bool = True) -> RGB:
    """Reads a photo.

    Args:
        path: The file. Its name may have any encoding. An animation gives its first picture.
        upright: Whether to turn the photo as its EXIF data say.

    Returns:
        [H,W,3] uint8 RGB, C-contiguous. Grey becomes RGB, alpha is dropped.

    Raises:
        SourceError: The photo cannot be read.
    """
    data = _read(path)
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # the picture is larger than OpenCV allows
        raise SourceError(f"photo {path} cannot be read: {error.err}") from error
    if picture is None:
        raise SourceError(f"photo {path} cannot be read: {_why_not(data)}")
    if container(data) == "JPEG" and not has_end(data):  # OpenCV invents the rest
        raise SourceError(f"photo {path} cannot be read: it is a JPEG without its end")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def exif_orientation(path: Path) -> int:
    """Returns a photo's EXIF orientation, 1 to 8. It is 1 (upright) if the file does not say."""
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as photo:
        # The decoder does not turn pictures of other formats, or has turned them already.
        if photo.format in ("JPEG", "MPO", "PNG", "WEBP"):
            return int(photo.getexif().get(_ORIENTATION, 1))
    return 1


def picture_count(path: Path) -> int:
    """Returns the number of pictures in a file. It is more than 1 for an animation or a TIFF with several pages."""
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as photo:
        # The other pictures in a phone's JPEG (MPO) are depth or brightness.
        return 1 if photo.format in ("JPEG", "MPO") else int(getattr(photo, "n_frames", 1))
    return 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"photo {path} cannot be read: {error.strerror}") from error


def _why_not(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if is_heic(data):
        return "it is HEIC, which is not read here; convert it to JPEG"
    kind = container(data)
    if kind and not has_end(data):
        return f"it is a {kind} without its end"
    return f"it is a damaged {kind}" if kind else "it is damaged, or of a format that is not read here"


def is_heic(data: bytes) -> bool:
    """Returns whether a file's first bytes are those of HEIC, Apple's format for photos."""
    return data[4:8] == b"ftyp" and data[8:12] in (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"mif1",
        b"msf1",
    )
