"""The library's reader of bags, for MCAP files that hold more than topics of ROS 2."""

from typing import Any

from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader, Schema

_KNOWN = ("ros2msg", "ros2idl", "omgidl", "")


class _Schemas(dict[int, Schema]):
    """Definitions of types by their numbers. Those in languages that are not ROS 2's count as none."""

    def __setitem__(self, key: int, schema: Schema) -> None:
        super().__setitem__(key, schema if schema.encoding in _KNOWN else schema._replace(encoding="", data=""))


class _McapReader(McapReader):
    """Lists channels in JSON, Protobuf and so on, where the library's own refuses the file for one of them."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _Schemas()


class _FolderReader(DirectoryReader):
    STORAGE_PLUGINS = {**DirectoryReader.STORAGE_PLUGINS, "mcap": _McapReader}


class BagReader(Reader):
    """As `rosbags.rosbag2.Reader`, of which the connections in other encodings than CDR cannot be deserialised."""

    STORAGE_PLUGINS = {**Reader.STORAGE_PLUGINS, "dir": _FolderReader, ".mcap": _McapReader}
