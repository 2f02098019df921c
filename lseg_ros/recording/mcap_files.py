"""The contents of an MCAP file beside topics: its profile, attachments and metadata.

The library for bags reads topics only.

A record is an operation (1 byte), the length of its content (8 bytes) and the content. Numbers are little-endian. A
file begins and ends with MAGIC. The data end with a record DATA_END. A summary with indexes follows.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"

_HEADER, _FOOTER, _ATTACHMENT, _METADATA, _DATA_END = 0x01, 0x02, 0x09, 0x0C, 0x0F
_ATTACHMENT_INDEX, _STATISTICS, _METADATA_INDEX, _SUMMARY_OFFSET = 0x0A, 0x0B, 0x0D, 0x0E
_FOOTER_SIZE = 9 + 20 + len(MAGIC)
_ATTACHMENT_COUNT = 14  # its offset in the statistics, in bytes; the number of metadata records follows
_ROSBAG2 = "rosbag2"  # name of the metadata that rosbag2 itself writes into each file


class McapError(ValueError):
    """A file is no complete MCAP. The text is one sentence without the file's name."""


@dataclass(frozen=True)
class Extra:
    """An attachment or a metadata record of a file.

    Attributes:
        name: Its name in the file.
        path: The file.
        operation: Whether it is an attachment or metadata.
        start: The offset of its content in the file, in bytes.
        size: The size of its content, in bytes.
    """

    name: str
    path: Path
    operation: int
    start: int
    size: int

    @property
    def kind(self) -> str:
        """The kind of record: "attachment" or "metadata"."""
        return "attachment" if self.operation == _ATTACHMENT else "metadata"


def profile(path: Path) -> str:
    """Reads the profile. It is "ros2" for recordings of ROS 2.

    Raises:
        McapError: The file is no MCAP, or was cut short.
    """
    with path.open("rb") as file:
        _check_ends(file)
        return _text(BytesIO(next(_records(file))[1]))


def extras(path: Path) -> tuple[list[Extra], str]:
    """Lists the attachments and metadata of a file.

    Returns:
        Those that are not rosbag2's own, and the text of rosbag2's own metadata, which may be empty.

    Raises:
        McapError: The file is no complete MCAP.
    """
    others, own = [], ""
    with path.open("rb") as file:
        _check_ends(file)
        for operation, start, size in _places(file):
            if operation not in (_ATTACHMENT, _METADATA):
                continue
            file.seek(start + (16 if operation == _ATTACHMENT else 0))
            name = _text(file)
            if operation == _METADATA and name == _ROSBAG2:
                pairs = BytesIO(file.read(_number(file, 4)))
                while pairs.tell() < len(pairs.getbuffer()):
                    key, value = _text(pairs), _text(pairs)
                    own = value if key == "serialized_metadata" else own
            else:
                others.append(Extra(name, path, operation, start, size))
    return others, own


def append(path: Path, more: Sequence[Extra]) -> None:
    """Copies attachments and metadata of other files into an MCAP, after its data, and adds them to its indexes.

    Args:
        path: The MCAP to change.
        more: Attachments and metadata of other files.

    Raises:
        OSError: The file cannot be written.
        McapError: The file is no complete MCAP.
    """
    with path.open("r+b") as file:
        _check_ends(file)
        file.seek(-_FOOTER_SIZE + 9, 2)
        summary_start = _number(file, 8)
        file.seek(summary_start)
        summary = [record for record in _records(file) if record[0] not in (_FOOTER, _SUMMARY_OFFSET)]
        file.seek(summary_start - 13)  # the start of the record that ends the data, which is written again
        file.truncate()
        for extra in more:
            summary.append(_copy(extra, file))
        _write(file, _DATA_END, bytes(4))
        summary_start = file.tell()
        for operation, content in sorted(summary, key=lambda record: record[0]):
            _write(file, operation, _counted(content, more) if operation == _STATISTICS else content)
        _write(file, _FOOTER, summary_start.to_bytes(8, "little") + bytes(12))
        file.write(MAGIC)


def _copy(extra: Extra, file: BinaryIO) -> tuple[int, bytes]:
    """Writes an attachment or metadata and returns the record of the index that points to it."""
    offset = file.tell()
    file.write(bytes([extra.operation]) + extra.size.to_bytes(8, "little"))
    with extra.path.open("rb") as source:
        source.seek(extra.start)
        shutil.copyfileobj(_Part(source, extra.size), file)
        place = offset.to_bytes(8, "little") + (9 + extra.size).to_bytes(8, "little")
        source.seek(extra.start)
        if extra.operation == _METADATA:
            return _METADATA_INDEX, place + _packed(_text(source))
        times, name, media_type = source.read(16), _text(source), _text(source)
        return _ATTACHMENT_INDEX, place + times + source.read(8) + _packed(name) + _packed(media_type)


class _Part:
    """The next bytes of a file, up to a number, as a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _counted(statistics: bytes, more: Sequence[Extra]) -> bytes:
    counts = []
    for place, operation in ((_ATTACHMENT_COUNT, _ATTACHMENT), (_ATTACHMENT_COUNT + 4, _METADATA)):
        count = int.from_bytes(statistics[place : place + 4], "little")
        counts.append((count + sum(extra.operation == operation for extra in more)).to_bytes(4, "little"))
    return statistics[:_ATTACHMENT_COUNT] + b"".join(counts) + statistics[_ATTACHMENT_COUNT + 8 :]


def _check_ends(file: BinaryIO) -> None:
    if file.seek(0, 2) < len(MAGIC) + _FOOTER_SIZE:
        raise McapError("is too short to be whole")
    file.seek(-len(MAGIC), 2)
    if file.read() != MAGIC:
        raise McapError("has no end")
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise McapError("is no MCAP file")


def _places(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yields operation, start and size of each record from here to the end of the data."""
    end = file.seek(0, 2) - len(MAGIC)
    at = len(MAGIC)
    while at + 9 <= end:
        file.seek(at)
        operation, size = file.read(1)[0], _number(file, 8)
        yield operation, at + 9, size
        at += 9 + size
        if operation == _DATA_END:
            return


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yields operation and content of each record from here to the footer."""
    while operation := file.read(1):
        if len(content := file.read(_number(file, 8))) == 0 and operation[0] == MAGIC[0]:
            return
        yield operation[0], content
        if operation[0] == _FOOTER:
            return


def _write(file: BinaryIO, operation: int, content: bytes) -> None:
    file.write(bytes([operation]) + len(content).to_bytes(8, "little") + content)


def _number(file: BinaryIO | BytesIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise McapError("was cut short")
    return int.from_bytes(data, "little")


def _text(file: BinaryIO | BytesIO) -> str:
    return file.read(_number(file, 4)).decode("utf-8", "replace")


def _packed(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "little") + data
