"""Reads the frames of videos, and the time at which each is shown."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lseg_ros.images.photos import RGB, SourceError

_DEFAULT_RATE = 25.0  # frames per second, for videos without a rate
_HIGHEST_RATE = 1000.0  # from here on a header's value is no rate; browsers write 1000 and mean milliseconds
_FINEST_RATE = 60.0  # frames per second at most, when a video without a steady rate is written again


@dataclass(frozen=True)
class Timing:
    """The times at which a video's frames are shown.

    Attributes:
        times: Seconds of each frame after the first one.
        rate: Frames per second with which the video is written again.
        repeats: How often each frame is written then: once if the rate is steady, else in proportion to its duration.
        missing: Seconds by which the video is shorter than its header says; 0 if they agree.
    """

    times: Sequence[float]
    rate: float
    repeats: Sequence[int]
    missing: float


def read_video(path: Path) -> Iterator[RGB]:
    """Yields a video's frames upright, as [H,W,3] uint8 RGB.

    Raises:
        SourceError: Not even the first frame can be read.
    """
    with _opened(path) as video:
        is_frame, picture = video.read()
        if not is_frame:
            raise SourceError(f"video {path} cannot be read: broken, empty or of an unknown format")
        while is_frame:
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            is_frame, picture = video.read()


def video_timing(path: Path) -> Timing:
    """Reads the times of all frames in one pass through the video, because its header has only an average, if that.

    Raises:
        SourceError: Not even the first frame can be read.
    """
    with _opened(path) as video:
        header_rate = video.get(cv2.CAP_PROP_FPS)
        promised = video.get(cv2.CAP_PROP_FRAME_COUNT) / header_rate if header_rate > 0 else 0.0
        times = []
        while video.grab():
            times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    if not times:
        raise SourceError(f"video {path} cannot be read: broken, empty or of an unknown format")
    return _timing([time - times[0] for time in times], header_rate, promised)


def _timing(times: list[float], header_rate: float, promised: float) -> Timing:
    nominal = header_rate if 0 < header_rate < _HIGHEST_RATE else 0.0
    if any(later <= earlier for earlier, later in pairwise(times)):  # some containers do not store times
        rate = nominal or _DEFAULT_RATE
        times = [i / rate for i in range(len(times))]
    mean = (len(times) - 1) / times[-1] if len(times) > 1 else nominal or _DEFAULT_RATE
    missing = max(0.0, promised - times[-1] - 1 / mean)
    for rate in (nominal, mean):
        if rate and all(abs(time - i / rate) < 0.6 / rate for i, time in enumerate(times)):
            return Timing(times, rate, [1] * len(times), missing)
    rate = min(_FINEST_RATE, 1 / min(later - earlier for earlier, later in pairwise(times)))
    repeats: list[int] = []
    for time in [*times[1:], times[-1] + 1 / rate]:
        repeats.append(max(1, round(time * rate) - sum(repeats)))
    return Timing(times, rate, repeats, missing)


def frame_count(path: Path) -> int:
    """Returns the number of frames in a video's header; 0 if the video cannot be opened."""
    with _opened(path) as video:
        return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    with plain_name(path) as name:
        video = cv2.VideoCapture(name)
    try:
        yield video
    finally:
        video.release()


@contextmanager
def plain_name(path: Path) -> Iterator[str]:
    """Yields a name under which OpenCV can open a file for reading or writing.

    OpenCV ends the process if a name is not UTF-8. FFmpeg takes the part before a colon in a relative name, as in
    10:30.mp4, for a protocol.
    """
    whole = path.absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="lseg_ros-") as folder:
            link = Path(folder, "video").with_suffix(path.suffix if path.suffix.isascii() else "")
            link.symlink_to(whole)
            yield str(link)
    else:
        yield str(whole)
