"""The library's reader of bags, extended for MCAP files with channels that are not ROS 2's."""

from typing import Any

from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader, Schema

_KNOWN = ("ros2msg", "ros2idl", "omgidl", "")


class _Schemas(dict[int, Schema]):
    """Definitions of types by number. Definitions in languages other than ROS 2's count as empty."""

    def __setitem__(self, key: int, schema: Schema) -> None:
        super().__setitem__(key, schema if schema.encoding in _KNOWN else schema._replace(encoding="", data=""))


class _McapReader(McapReader):
    """Lists channels in JSON, Protobuf and so on, for which the library's own reader refuses the file."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _Schemas()


class _FolderReader(DirectoryReader):
    STORAGE_PLUGINS = {**DirectoryReader.STORAGE_PLUGINS, "mcap": _McapReader}


class BagReader(Reader):
    """As `rosbags.rosbag2.Reader`. Connections in other encodings than CDR are listed but cannot be deserialized."""

    STORAGE_PLUGINS = {**Reader.STORAGE_PLUGINS, "dir": _FolderReader, ".mcap": _McapReader}
