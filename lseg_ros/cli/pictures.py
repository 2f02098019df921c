"""Pictures from photos, videos and recordings. Each is read only when it is needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lseg_ros.cli.describe import warn
from lseg_ros.files import from_home
from lseg_ros.images.photos import RGB, SourceError, read_photo
from lseg_ros.images.sources import expand, is_video
from lseg_ros.images.videos import frame_count, read_video


class PictureError(ValueError):
    """A picture cannot be read. The text names it and says why."""


class Picture(NamedTuple):
    """One picture.

    Attributes:
        name: Its name without a suffix.
        read: Returns the picture as [H,W,3] uint8 RGB, and facts about it that a file may keep. It raises PictureError.
    """

    name: str
    read: Callable[[], tuple[RGB, dict[str, Any]]]


@dataclass(frozen=True)
class PictureSource:
    """A photo, a video or a recording.

    Attributes:
        path: The file or folder.
        count: Number of its pictures; 0 if the file does not say.
        many: Whether it can have more than one picture.
        pictures: Returns its pictures in order.
    """

    path: Path
    count: int
    many: bool
    pictures: Callable[[], Iterator[Picture]]

    @property
    def changed(self) -> float:
        """Time of the file's last change, in seconds as `os.stat` has them."""
        return self.path.stat().st_mtime


@contextmanager
def sources(inputs: Sequence[str], topics: Sequence[str]) -> Iterator[list[PictureSource]]:
    """Opens all inputs. Recordings stay open inside the `with` statement.

    Args:
        inputs: Photos, folders of photos, videos, and rosbag2 recordings.
        topics: Image topics of the recordings. None are needed if each has only one.

    Raises:
        ValueError: An input does not exist, holds no pictures, or has no such topic.
        OSError: An input cannot be read.
    """
    with ExitStack() as stack:
        opened: list[PictureSource] = []
        for given in inputs:
            path = from_home(given)
            if _is_recording(path):
                opened.append(_recording(path, topics, stack))
            else:
                opened += [_video(file) if is_video(file) else _photo(file) for file in expand([given], warn)]
        if topics and not any(_is_recording(source.path) for source in opened):
            raise ValueError("--topic is for recordings, and there is none among the inputs; leave it out")
        yield opened


def _is_recording(path: Path) -> bool:
    return path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file()


def _photo(path: Path) -> PictureSource:
    def read() -> tuple[RGB, dict[str, Any]]:
        try:
            return read_photo(path), {}
        except SourceError as error:
            raise PictureError(str(error)) from error

    return PictureSource(path, 1, False, lambda: iter([Picture(path.stem, read)]))


def _video(path: Path) -> PictureSource:
    def pictures() -> Iterator[Picture]:
        try:
            for number, rgb in enumerate(read_video(path)):
                yield Picture(f"{number:06d}", lambda rgb=rgb: (rgb, {}))  # type: ignore[misc]
        except SourceError as error:
            yield Picture("", _failing(str(error)))

    return PictureSource(path, frame_count(path), True, pictures)


def _recording(path: Path, topics: Sequence[str], stack: ExitStack) -> PictureSource:
    if find_spec("rosbags") is None:
        raise ValueError("recordings need the library rosbags; run in the folder of lseg_ros: pip install '.[bag]'")
    from lseg_ros.images.messages import ImageError
    from lseg_ros.recording.bags import Recording
    from lseg_ros.recording.messages import camera_names, read_image

    recording = stack.enter_context(Recording(path))
    there = recording.image_topics()
    if not topics and len(there) > 1:
        raise ValueError(f"{path} has several image topics; choose with --topic: {', '.join(there)}")
    connections = recording.images(list(dict.fromkeys(topics or there)))
    if not connections:
        raise ValueError(f"{path} has no image topics")
    folders = camera_names(sorted({connection.topic for connection in connections}))

    def reader(kind: str, data: bytes | memoryview, topic: str) -> Callable[[], tuple[RGB, dict[str, Any]]]:
        def read() -> tuple[RGB, dict[str, Any]]:
            try:
                header, rgb = read_image(data, kind)
            except ImageError as error:
                raise PictureError(f"{path}, {topic}: {error}") from error
            stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
            return rgb, {"stamp": stamp, "frame_id": header.frame_id}

        return read

    def pictures() -> Iterator[Picture]:
        numbers = dict.fromkeys(folders, -1)
        for connection, message in recording.messages(connections):
            topic = message.topic
            numbers[topic] += 1
            name = "/".join(filter(None, (folders[topic], f"{numbers[topic]:06d}")))
            yield Picture(name, reader(connection.msgtype, message.data, topic))

    return PictureSource(path, sum(connection.msgcount for connection in connections), True, pictures)


def _failing(reason: str) -> Callable[[], tuple[RGB, dict[str, Any]]]:
    def read() -> tuple[RGB, dict[str, Any]]:
        raise PictureError(reason)

    return read
