"""Photos in files. The one place that reads them: Python opens the file, OpenCV sees its bytes and never its name."""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lseg_ros.images.containers import container, has_end

RGB = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112  # EXIF's number for it


class SourceError(ValueError):
    """A photo, folder or video that cannot be read; the text is one sentence that names it."""


def read_photo(path: Path, *, upright: bool = True) -> RGB:
    """Reads a photo.

    Args:
        path: Of the file; its name may be of any encoding. Of an animation it is the first picture.
        upright: Whether to turn it as its EXIF data say, or to leave it as it is stored.

    Returns:
        [H, W, 3] uint8 RGB, C-contiguous; grey is spread, alpha dropped.

    Raises:
        SourceError: It cannot be read.
    """
    data = _read(path)
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # larger than OpenCV allows
        raise SourceError(f"photo {path} cannot be read: {error.err}") from error
    if picture is None:
        raise SourceError(f"photo {path} cannot be read: {_why_not(data)}")
    if container(data) == "JPEG" and not has_end(data):  # OpenCV makes up the rest
        raise SourceError(f"photo {path} cannot be read: it is a JPEG without its end")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def exif_orientation(path: Path) -> int:
    """How a photo is to be turned to be upright, 1 to 8 as in EXIF; 1, as it is, where the file does not say."""
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as photo:
        # Pictures of other formats are not turned, or have been turned when they come out of the decoder.
        if photo.format in ("JPEG", "MPO", "PNG", "WEBP"):
            return int(photo.getexif().get(_ORIENTATION, 1))
    return 1


def picture_count(path: Path) -> int:
    """How many pictures a photo's file holds: more than one in an animation, or a TIFF of several pages."""
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(path) as photo:
        # The further pictures in a phone's JPEG (MPO) are its depth, or brightness, and not for people.
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
    """Whether the first bytes of a file are those of HEIC, Apple's format for photos."""
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
