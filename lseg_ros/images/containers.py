"""Checks whether a JPEG or PNG is complete. Decoders may invent the rest of a file that was cut short."""

import re

START = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}

# A JPEG marker. Three sequences are no marker: ff 00 is picture data, ff d0 to ff d7 are restarts within picture data,
# and ff ff is filling.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE = b"\x01\xd8"  # markers that have no length field
_END_OF_IMAGE = 0xD9


def container(data: bytes | memoryview) -> str | None:
    """Returns "JPEG" or "PNG" by the first bytes, or None."""
    return next((name for name, start in START.items() if bytes(data[: len(start)]) == start), None)


def has_end(data: bytes | memoryview) -> bool:
    """Returns whether a JPEG or PNG has its end. Bytes after the end are ignored, as in a buffer of fixed size."""
    return _png_has_end(data) if container(data) == "PNG" else _jpeg_has_end(data)


def _jpeg_has_end(data: bytes | memoryview) -> bool:
    if bytes(data[-2:]) == b"\xff\xd9":  # true for nearly all files
        return True
    at = 2
    while marker := _MARKER.search(data, at):
        at = marker.end()
        kind = data[at - 1]
        if kind == _END_OF_IMAGE:
            return True
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")  # skipped, because a thumbnail in it has its own end
    return False


def _png_has_end(data: bytes | memoryview) -> bool:
    at = len(START["PNG"])
    while at + 12 <= len(data):  # a chunk: length, type, data, checksum
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False
