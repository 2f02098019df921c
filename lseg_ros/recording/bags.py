"""Recorded bags (rosbag2: MCAP, SQLite), read and written by the library `rosbags`. Needs no ROS."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import OperationalError
from typing import NamedTuple

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

from lseg_ros.recording.messages import COMPRESSED_IMAGE, IMAGE

_STORAGES = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3}


class BagError(ValueError):
    """A bag that cannot be used; the text is one sentence."""


class Message(NamedTuple):
    """A recorded message. time: when it was recorded, in nanoseconds. data: serialised, as CDR."""

    topic: str
    time: int
    data: bytes | memoryview


@dataclass(frozen=True)
class Topic:
    """A topic to write. definition: of its type, as text; type_hash: the type's RIHS01 hash."""

    name: str
    type: str
    definition: str
    type_hash: str
    qos: tuple[Qos, ...] = ()


class Recording:
    """A bag that is open for reading; use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: A .mcap file, a .db3 file, or a folder with metadata.yaml.

        Raises:
            OSError: It is not there, or may not be read.
            BagError: It is damaged, or no bag.
        """
        if not path.is_dir():
            path.open("rb").close()  # whose errors name the path
            if path.suffix not in _STORAGES:
                raise BagError(f"{path} is no rosbag2 recording; give a .mcap or .db3 file, or the recording's folder")
        elif not (path / "metadata.yaml").is_file():
            raise BagError(f"{path} has no metadata.yaml; write one with `ros2 bag reindex {path}`")
        self.path = path
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # of damaged files the library raises many kinds
            raise self._damaged(error) from error

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    @property
    def storage(self) -> StoragePlugin:
        """What the files are."""
        if not self.path.is_dir():
            return _STORAGES[self.path.suffix]
        return StoragePlugin.MCAP if any(self.path.glob("*.mcap*")) else StoragePlugin.SQLITE3

    @property
    def facts(self) -> dict[str, int]:
        """Numbers that tell one recording from another: messages, and nanoseconds of the first and after the last."""
        reader = self._reader
        return {"messages": reader.message_count, "start": reader.start_time, "end": reader.end_time}

    def image_topics(self) -> list[str]:
        """The topics that hold images, sorted."""
        return sorted({c.topic for c in self._reader.connections if c.msgtype in (IMAGE, COMPRESSED_IMAGE)})

    def images(self, topics: Sequence[str]) -> list[Connection]:
        """The connections of image topics; raises BagError where one is missing or holds no images."""
        types = {connection.topic: connection.msgtype for connection in self._reader.connections}
        for topic in topics:
            if types.get(topic) in (IMAGE, COMPRESSED_IMAGE):
                continue
            found = self.image_topics()
            has = f"the image topics there are: {', '.join(found)}" if found else "it has no image topics"
            wrong = f"in {self.path}, {topic} is {types[topic]}" if topic in types else f"{self.path} has no {topic}"
            raise BagError(f"{wrong}; {has}")
        return [connection for connection in self._reader.connections if connection.topic in topics]

    def topics(self) -> dict[str, Topic]:
        """All topics by name, as they would be written again; raises BagError where the bag does not define a type."""
        found: dict[str, Topic] = {}
        for connection in self._reader.connections:
            if connection.topic not in found:
                found[connection.topic] = self._topic(connection)
        return found

    def _topic(self, connection: Connection) -> Topic:
        kind, source = connection.msgtype, connection.msgdef
        store = get_typestore(Stores.EMPTY)
        try:
            if source.format == MessageDefinitionFormat.NONE:  # before ROS 2 Iron, SQLite bags had no definitions
                store = get_typestore(Stores.LATEST)
            elif source.format == MessageDefinitionFormat.IDL:
                for part in filter(None, re.split(r"={80}\nIDL: .*\n", source.data)):
                    store.register(get_types_from_idl(part))
            else:
                store.register(get_types_from_msg(source.data, kind))
            definition = source.data or store.generate_msgdef(kind, ros_version=2)[0]
            type_hash = connection.digest or store.hash_rihs01(kind)
        except (TypesysError, KeyError) as error:
            raise BagError(
                f"{self.path} does not say how {kind} is made up, the type of {connection.topic}; leave out --copy"
            ) from error
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        return Topic(connection.topic, kind, definition, type_hash, tuple(connection.ext.offered_qos_profiles))

    def messages(self, connections: Sequence[Connection] = ()) -> Iterator[tuple[Connection, Message]]:
        """The messages of some connections, or of all, by time; raises BagError where the file is damaged."""
        if not connections and not self._reader.connections:
            return
        messages = self._reader.messages(connections)
        while True:
            try:
                connection, time, data = next(messages)
            except StopIteration:
                return
            except Exception as error:
                raise self._damaged(error) from error
            yield connection, Message(connection.topic, time, data)

    def _damaged(self, error: Exception) -> BagError:
        advice = "; `mcap recover` may save what it holds" if self.storage == StoragePlugin.MCAP else ""
        return BagError(f"{self.path} is damaged or was cut short ({' '.join(str(error).split())}){advice}")


def storage_for(out: Path, source: StoragePlugin) -> StoragePlugin:
    """How a bag of that name is stored: as its suffix says, or, where it is to be a folder, as its source is."""
    return _STORAGES.get(out.suffix, source)


def write_bag(
    out: Path, storage: StoragePlugin, topics: Iterable[Topic], messages: Iterable[Message], scratch: Path
) -> None:
    """Writes a bag, which takes its name when it is whole.

    Args:
        out: A file where it ends in .mcap or .db3, else a folder; what is there is replaced.
        storage: What the bag's files are.
        topics: All topics, which the bag has even if they have no messages.
        messages: In the order of their times.
        scratch: An existing folder in the same file system, for what is not whole yet.

    Raises:
        OSError: It cannot be written; names `out`.
    """
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=scratch) as temporary:
        is_file = out.suffix in _STORAGES
        folder = Path(temporary, "new", out.stem if is_file else out.name)
        try:
            _write(folder, storage, topics, messages)
            new = folder / out.name if is_file else folder
            if out.exists() and (out.is_dir() or new.is_dir()):  # only a file takes the place of a file in one step
                out.rename(Path(temporary, "old"))
            new.replace(out)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(temporary):
                raise OSError(error.errno, error.strerror or str(error), str(out)) from error
            raise
        except OperationalError as error:  # SQLite's own words, such as "database or disk is full"
            raise OSError(None, str(error), str(out)) from error


def _write(folder: Path, storage: StoragePlugin, topics: Iterable[Topic], messages: Iterable[Message]) -> None:
    writer = Writer(folder, version=8, storage_plugin=storage)  # the newer one spells QoS in words, new to Humble
    if storage == StoragePlugin.MCAP:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)  # masks become many times smaller
    with writer:
        connections = {
            topic.name: writer.add_connection(
                topic.name,
                topic.type,
                msgdef=topic.definition,
                rihs01=topic.type_hash,
                offered_qos_profiles=topic.qos,
            )
            for topic in topics
        }
        for message in messages:
            writer.write(connections[message.topic], message.time, message.data)
