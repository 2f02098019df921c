"""Plays photos, folders of photos and videos in an endless loop. Needs no ROS."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from lseg_ros.images.photos import RGB, SourceError, read_photo
from lseg_ros.images.sources import is_video
from lseg_ros.images.videos import read_video

# Decoded photos are kept up to this much memory.
_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Playback:
    """How pictures are played.

    Attributes:
        rate: Frames per second.
        hold: Seconds for which each photo is shown; at least one frame.
        width: Width of the frames in pixels. 0: it follows from the height, or is the picture's own.
        height: Height of the frames in pixels. 0: it follows from the width, or is the picture's own.
        loop: Whether to start again after the last picture.
    """

    rate: float = 10.0
    hold: float = 1.0
    width: int = 0
    height: int = 0
    loop: bool = True


def frames(files: Sequence[Path], playback: Playback, warn: Callable[[str], object]) -> Iterator[RGB]:
    """Plays files one after the other.

    Args:
        files: Photos and videos, as `expand` lists them. Each frame of a video is shown once, whatever its speed.
        playback: How they are played.
        warn: Called once for each file that cannot be read. The file is left out from then on.

    Yields:
        [H,W,3] uint8 RGB, C-contiguous. While nothing changes, the same array is yielded again, so that a consumer can
        keep its results.

    Raises:
        SourceError: None of the files can be read.
    """
    playable = list(files)
    cache: dict[Path, RGB] = {}
    while playable:
        for path in tuple(playable):
            try:
                yield from _pictures(path, playback, cache)
            except SourceError as error:
                warn(f"{error}, left out")
                playable.remove(path)
        if not playback.loop:
            break
    if not playable:
        raise SourceError(f"none of the files can be read ({len(files)} tried)")


def _pictures(path: Path, playback: Playback, cache: dict[Path, RGB]) -> Iterator[RGB]:
    if is_video(path):
        yield from (_fit(picture, playback) for picture in read_video(path))
        return
    photo = cache.get(path)
    if photo is None:
        photo = _fit(read_photo(path), playback)
        if photo.nbytes + sum(cached.nbytes for cached in cache.values()) <= _CACHE_BYTES:
            cache[path] = photo
    yield from repeat(photo, max(1, round(playback.hold * playback.rate)))


def _fit(picture: RGB, playback: Playback) -> RGB:
    """Scales a picture to the output size, keeps its aspect ratio, and crops the rest evenly."""
    height, width = picture.shape[:2]
    if not (playback.width or playback.height):
        return picture
    scale = max(playback.width / width, playback.height / height)
    if scale != 1.0:
        size = (max(round(width * scale), playback.width, 1), max(round(height * scale), playback.height, 1))
        picture = np.asarray(
            cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
        )
        height, width = picture.shape[:2]
    out_width, out_height = playback.width or width, playback.height or height
    left, top = (width - out_width) // 2, (height - out_height) // 2
    return np.ascontiguousarray(picture[top : top + out_height, left : left + out_width])
