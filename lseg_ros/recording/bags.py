"""Reads and writes recorded bags (rosbag2: MCAP, SQLite), with the library `rosbags`. Needs no ROS."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import OperationalError
from typing import NamedTuple

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

from lseg_ros.recording.diagnosis import explain
from lseg_ros.recording.mcap_files import Extra, McapError, append, extras
from lseg_ros.recording.mcap_reader import BagReader
from lseg_ros.recording.messages import COMPRESSED_IMAGE, IMAGE

_STORAGES = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3}


class BagError(ValueError):
    """A bag cannot be used. The text is one sentence."""


class Message(NamedTuple):
    """A recorded message.

    Attributes:
        topic: The topic's name.
        time: When it was recorded, in nanoseconds.
        data: The serialized message, as CDR.
    """

    topic: str
    time: int
    data: bytes | memoryview


@dataclass(frozen=True)
class Topic:
    """A topic to write.

    Attributes:
        name: The topic's name.
        type: The message type, as in "sensor_msgs/msg/Image".
        definition: The type's definition.
        type_hash: The type's RIHS01 hash.
        qos: The QoS profiles of its publishers.
    """

    name: str
    type: str
    definition: str
    type_hash: str
    qos: tuple[Qos, ...] = ()


@dataclass(frozen=True)
class Extras:
    """The contents of a recording beside its topics.

    Attributes:
        records: Attachments and metadata, which only MCAP files have.
        custom: rosbag2's custom data.
    """

    records: tuple[Extra, ...] = ()
    custom: Mapping[str, str] = field(default_factory=dict)


class Recording:
    """A bag that is open for reading. Use it in a `with` statement.

    Attributes:
        path: The file or folder.
        foreign: Encoding of the messages by topic, for topics that are left out because the encoding is not ROS 2's.
    """

    def __init__(self, path: Path) -> None:
        """Opens a bag.

        Args:
            path: A .mcap file, a .db3 file, or a folder with metadata.yaml.

        Raises:
            OSError: The path does not exist or cannot be read.
            BagError: It is damaged, or no bag.
        """
        if not path.is_dir():
            path.open("rb").close()  # raises errors that name the path
            if path.suffix not in _STORAGES:
                raise BagError(f"{path} {_other_name(path)}")
        elif not (path / "metadata.yaml").is_file():
            raise BagError(f"{path} has no metadata.yaml; write one with `ros2 bag reindex {path}`")
        self.path = path
        try:
            self._reader = BagReader(path)
            self._reader.open()
        except Exception as error:  # the library raises many classes for damaged files
            raise BagError(explain(path, error)) from error
        self._connections = [c for c in self._reader.connections if _encoding(c) == "cdr"]
        self.foreign = {c.topic: _encoding(c) for c in self._reader.connections if _encoding(c) != "cdr"}
        """Encoding of the messages by topic, for topics that are left out because the encoding is not ROS 2's."""

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    @property
    def storage(self) -> StoragePlugin:
        """The format of the files."""
        if not self.path.is_dir():
            return _STORAGES[self.path.suffix]
        return StoragePlugin.MCAP if any(self.path.glob("*.mcap*")) else StoragePlugin.SQLITE3

    @property
    def facts(self) -> dict[str, int]:
        """The number of messages, the time of the first, and the end, in nanoseconds. They identify a recording."""
        reader = self._reader
        return {"messages": reader.message_count, "start": reader.start_time, "end": reader.end_time}

    def image_topics(self) -> list[str]:
        """Returns the topics that hold images, sorted."""
        return sorted({c.topic for c in self._reader.connections if c.msgtype in (IMAGE, COMPRESSED_IMAGE)})

    def images(self, topics: Sequence[str]) -> list[Connection]:
        """Returns the connections of image topics.

        Args:
            topics: Names of topics.

        Raises:
            BagError: A topic is missing or holds no images.
        """
        types = {topic: f"in {encoding}, which is not read" for topic, encoding in self.foreign.items()}
        types |= {connection.topic: connection.msgtype for connection in self._connections}
        for topic in topics:
            if types.get(topic) in (IMAGE, COMPRESSED_IMAGE):
                continue
            images = self.image_topics()
            has = f"the image topics there are: {', '.join(images)}" if images else "it has no image topics"
            wrong = f"in {self.path}, {topic} is {types[topic]}" if topic in types else f"{self.path} has no {topic}"
            raise BagError(f"{wrong}; {has}")
        return [connection for connection in self._connections if connection.topic in topics]

    def topics(self) -> dict[str, Topic]:
        """Returns all topics by name, ready to be written again.

        Raises:
            BagError: The bag does not define a type.
        """
        topics: dict[str, Topic] = {}
        for connection in self._connections:
            if connection.topic not in topics:
                topics[connection.topic] = self._topic(connection)
        return topics

    def _topic(self, connection: Connection) -> Topic:
        kind, source = connection.msgtype, connection.msgdef
        store = get_typestore(Stores.EMPTY)
        try:
            if source.format == MessageDefinitionFormat.NONE:  # an SQLite bag from before ROS 2 Iron
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
        """Yields messages with their connections, in the order of time.

        Args:
            connections: The connections to read. Without any, all are read.

        Raises:
            BagError: The file is damaged.
        """
        connections = connections or self._connections
        if not connections:
            return
        messages = self._reader.messages(connections)
        while True:
            try:
                connection, time, data = next(messages)
            except StopIteration:
                return
            except Exception as error:
                raise BagError(explain(self.path, error)) from error
            yield connection, Message(connection.topic, time, data)

    def extras(self) -> Extras:
        """Returns what can be copied beside topics.

        Raises:
            BagError: A file is damaged.
        """
        files = sorted(self.path.glob("*.mcap")) if self.path.is_dir() else [self.path]
        all_records, custom = [], dict(self._reader.storage.metadata.custom or {})
        for file in files if self.storage == StoragePlugin.MCAP else []:
            try:
                records, own = extras(file)
                custom = custom or dict((yaml.safe_load(own) or {}).get("custom_data") or {})
            except (McapError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
                raise BagError(explain(file, error)) from error
            all_records += records
        return Extras(tuple(all_records), {str(key): str(value) for key, value in custom.items()})


def _encoding(connection: Connection) -> str:
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.ext.serialization_format


def _other_name(path: Path) -> str:
    """Says what a file is whose name ends in neither .mcap nor .db3."""
    if path.suffix == ".bag":
        return "is a ROS 1 recording by its name; convert it with `rosbags-convert`"
    return "is no rosbag2 recording; give a .mcap or .db3 file, or the recording's folder"


def storage_for(out: Path, source: StoragePlugin) -> StoragePlugin:
    """Returns the storage of a new bag: by its suffix, or for a folder the same as its source."""
    return _STORAGES.get(out.suffix, source)


def write_bag(
    out: Path,
    storage: StoragePlugin,
    topics: Iterable[Topic],
    messages: Iterable[Message],
    scratch: Path,
    extras: Extras = Extras(),
) -> None:
    """Writes a bag. It gets its name when it is complete.

    Args:
        out: A file if it ends in .mcap or .db3, else a folder. An existing one is replaced.
        storage: The format of the files.
        topics: All topics. The bag has them even if they have no messages.
        messages: In the order of their times.
        scratch: An existing folder in the same file system, for the unfinished bag.
        extras: Contents beside topics. An SQLite file cannot hold attachments and metadata.

    Raises:
        OSError: The bag cannot be written. The error names `out`.
    """
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=scratch) as temporary:
        is_file = out.suffix in _STORAGES
        folder = Path(temporary, "new", out.stem if is_file else out.name)
        try:
            _write(folder, storage, topics, messages, extras.custom)
            if storage == StoragePlugin.MCAP and extras.records:
                append(folder / f"{folder.name}.mcap", extras.records)
            new = folder / out.name if is_file else folder
            if out.exists() and (out.is_dir() or new.is_dir()):  # only a file can replace a file in one step
                out.rename(Path(temporary, "old"))
            new.replace(out)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(temporary):
                raise OSError(error.errno, error.strerror or str(error), str(out)) from error
            raise
        except OperationalError as error:  # from SQLite, such as "database or disk is full"
            raise OSError(None, str(error), str(out)) from error


def _write(
    folder: Path,
    storage: StoragePlugin,
    topics: Iterable[Topic],
    messages: Iterable[Message],
    custom: Mapping[str, str],
) -> None:
    writer = Writer(folder, version=8, storage_plugin=storage)  # Humble cannot read the QoS of version 9
    if storage == StoragePlugin.MCAP:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)  # makes masks many times smaller
    for key, value in custom.items():
        writer.set_custom_data(key, value)
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
