"""Whether a JPEG or PNG has its end. Of one that was cut short, decoders may make up the rest."""

import re

START = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}

# A marker of JPEG. Not one: a zero behind ff, which is picture data; the restarts d0 to d7 in it; a second ff, which
# fills up.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE = b"\x01\xd8"  # markers without a length behind them
_END_OF_IMAGE = 0xD9


def container(data: bytes | memoryview) -> str | None:
    """ "JPEG" or "PNG" by the first bytes, or None."""
    return next((name for name, start in START.items() if bytes(data[: len(start)]) == start), None)


def has_end(data: bytes | memoryview) -> bool:
    """Whether a JPEG or PNG has its end. What follows it, such as the rest of a buffer of fixed size, is ignored."""
    return _png_has_end(data) if container(data) == "PNG" else _jpeg_has_end(data)


def _jpeg_has_end(data: bytes | memoryview) -> bool:
    if bytes(data[-2:]) == b"\xff\xd9":  # nearly all of them
        return True
    at = 2
    while marker := _MARKER.search(data, at):
        at = marker.end()
        kind = data[at - 1]
        if kind == _END_OF_IMAGE:
            return True
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")  # a thumbnail in there has an end of its own
    return False


def _png_has_end(data: bytes | memoryview) -> bool:
    at = len(START["PNG"])
    while at + 12 <= len(data):  # length, type, data, checksum
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False
