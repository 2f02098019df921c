"""Photos, folders of photos and videos, read from files as RGB."""

from collections.abc import Iterator, Sequence
from os import SEEK_END
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lseg_ros.files import from_home

RGB = npt.NDArray[np.uint8]

PHOTOS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}


class SourceError(ValueError):
    """A photo, folder or video that cannot be read; the text is one sentence that names it."""


def expand(sources: Sequence[str]) -> list[Path]:
    """List the files behind `sources`: a folder stands for its photos, sorted by name; anything else for itself.

    Raises:
        SourceError: A path does not exist, a folder holds no photos, or there are no sources.
    """
    files: list[Path] = []
    for path in (from_home(source) for source in sources if source):
        if path.is_dir():
            photos = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTOS)
            if not photos:
                raise SourceError(f"folder {path} holds no photos ({', '.join(sorted(PHOTOS))})")
            files += photos
        elif path.exists():
            files.append(path)
        else:
            raise SourceError(f"{path} does not exist")
    if not files:
        raise SourceError("nothing to play, set sources to photos, folders of photos or videos")
    return files


def is_video(path: Path) -> bool:
    """Whether the name says so; everything else is taken for a photo."""
    return path.suffix.lower() in VIDEOS


def video_facts(path: Path) -> tuple[float, int]:
    """(frames per second, number of frames) as the file's header has them; 0 where it does not say."""
    video = _opened(path)
    try:
        rate, frames = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        video.release()
    return (rate if 0 < rate < 1000 else 0.0), max(0, int(frames))


def read_photo(path: Path) -> RGB:
    """Read a photo upright (its EXIF rotation applied), as [H, W, 3] uint8 RGB; grey is spread, alpha dropped.

    Of an animation it is the first picture.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error as error:  # larger than OpenCV allows
        raise SourceError(f"photo {path} cannot be read: {error.err}") from error
    if picture is None:
        raise SourceError(f"photo {path} cannot be read: broken, not permitted or of an unknown format")
    if is_cut_short(path):
        raise SourceError(f"photo {path} cannot be read: it is a JPEG without its end")
    return _to_rgb(picture)


def is_cut_short(path: Path) -> bool:
    """Whether a file is a JPEG without its end, of which OpenCV reads the beginning and makes up the rest."""
    try:
        with path.open("rb") as file:
            file.seek(-2, SEEK_END)
            if file.read() == b"\xff\xd9":  # a JPEG's end, as nearly all have it there: nothing needs decoding
                return False
        picture = Image.open(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # nothing that Pillow knows, or too large for it
    with picture:
        if picture.format not in ("JPEG", "MPO"):
            return False
        picture.draft("RGB", (1, 1))  # small: to see whether all is there
        try:
            picture.load()
        except OSError:
            return True
    return False


def picture_count(path: Path) -> int:
    """How many pictures a photo's file holds: more than one in an animation, or a TIFF of several pages."""
    return int(cv2.imcount(str(path)))


def read_video(path: Path) -> Iterator[RGB]:
    """Yields a video's frames upright, as [H, W, 3] uint8 RGB.

    Raises:
        SourceError: There is not even a first one.
    """
    video = _opened(path)
    try:
        found, picture = video.read()
        if not found:
            raise SourceError(f"video {path} cannot be read: broken, empty or of an unknown format")
        while found:
            yield _to_rgb(picture)
            found, picture = video.read()
    finally:
        video.release()


def _opened(path: Path) -> cv2.VideoCapture:
    # FFmpeg takes what stands before a colon in a relative name, as in 10:30.mp4, for a protocol.
    return cv2.VideoCapture(str(path.absolute()))


def _to_rgb(picture: npt.NDArray[Any]) -> RGB:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
