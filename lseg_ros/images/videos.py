"""Videos in files: their frames, and when each of them is shown."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lseg_ros.images.photos import RGB, SourceError

_DEFAULT_RATE = 25.0  # frames per second, of videos that do not say
_HIGHEST_RATE = 1000.0  # what headers say above this is no rate; browsers write 1000 and mean milliseconds
_FINEST_RATE = 60.0  # of what is written of a video without a steady rate


@dataclass(frozen=True)
class Timing:
    """When the frames of a video are shown.

    Attributes:
        times: Seconds of each frame, from the first one on.
        rate: Frames per second, with which the video is written again.
        repeats: How often each frame is written then: once where the rate is steady, else for as long as it was shown.
        missing: Seconds by which the video is shorter than its header says; 0 where the two agree.
    """

    times: Sequence[float]
    rate: float
    repeats: Sequence[int]
    missing: float


def read_video(path: Path) -> Iterator[RGB]:
    """Yields a video's frames upright, as [H, W, 3] uint8 RGB.

    Raises:
        SourceError: There is not even a first one.
    """
    with _opened(path) as video:
        found, picture = video.read()
        if not found:
            raise SourceError(f"video {path} cannot be read: broken, empty or of an unknown format")
        while found:
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            found, picture = video.read()


def video_timing(path: Path) -> Timing:
    """Reads when each frame is shown. That takes a pass through the video: headers tell only an average, or less.

    Raises:
        SourceError: There is not even a first frame.
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
    if any(later <= earlier for earlier, later in pairwise(times)):  # some containers have no times of frames
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
    """How many frames the header of a video that was just written has; 0 where it cannot be opened."""
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
    """A name under which OpenCV can open a file for reading or writing.

    OpenCV ends the process where a name is not UTF-8. FFmpeg takes what stands before a colon in a relative name, as in
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
