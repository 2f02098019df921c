"""What a label was taught by marked pixels, and its form in label files and messages."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_MARKS = 32
"""Vectors that a label may have, those for it and those against it together."""

_KEYS = {"weights", "for", "against", "alone"}
_FILE_TYPE = np.dtype("<f2")
_LENGTH_ERROR = 0.01  # largest error of a vector's length after rounding to float16


@dataclass(frozen=True, eq=False)
class Taught:
    """Vectors of pixels that people have marked for a label and against it.

    The numbers are rounded to float16, so that a label file has exactly the numbers in force.

    Attributes:
        weights: SHA-256 of the image encoder's weights, in hexadecimal digits. Vectors have no meaning for other
            weights.
        toward: [n,D] float32 unit rows, one for each mark of what the label is.
        against: [m,D] float32 unit rows, one for each mark of what the label is not.
        alone: Whether the label competes without its words.
    """

    weights: str
    toward: NDArray[np.float32]
    against: NDArray[np.float32]
    alone: bool = False

    def __post_init__(self) -> None:
        """Checks and rounds the numbers.

        Raises:
            ValueError: They cannot be used. The message says why.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", self.weights):
            raise ValueError(f"the checksum of the weights is {self.weights[:80]!r}; it must be 64 hexadecimal digits")
        toward, against = _checked(self.toward), _checked(self.against)
        if len(toward) + len(against) == 0:
            raise ValueError("nothing is taught; give vectors for the label or against it")
        if len(toward) + len(against) > MOST_MARKS:
            raise ValueError(f"{len(toward) + len(against)} vectors are taught; a label may have {MOST_MARKS}")
        if self.alone and not len(toward):
            raise ValueError("it is to compete without its words, and no vector is for it; add one, or use the words")
        width = max(toward.shape[1], against.shape[1])
        for name, vectors in (("toward", toward), ("against", against)):
            if not len(vectors):
                vectors = np.empty((0, width), np.float32)
            elif vectors.shape[1] != width:
                raise ValueError(
                    f"taught vectors have {toward.shape[1]} and {against.shape[1]} numbers; give all as many"
                )
            vectors.setflags(write=False)
            object.__setattr__(self, name, vectors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taught) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @property
    def _content(self) -> tuple[object, ...]:
        shapes = self.toward.shape, self.against.shape
        return self.weights, self.alone, shapes, self.toward.tobytes(), self.against.tobytes()

    def message_fields(self) -> dict[str, Any]:
        """Returns the fields of lseg_ros/msg/Taught."""
        return {
            "weights": self.weights,
            "alone": self.alone,
            "dimensions": self.toward.shape[1],
            "toward": self.toward.reshape(-1),
            "against": self.against.reshape(-1),
        }

    def entry(self) -> dict[str, Any]:
        """Returns the value of `taught` in a label file: a text for each vector, base64 of float16."""
        found: dict[str, Any] = {"weights": self.weights}
        for key, vectors in (("for", self.toward), ("against", self.against)):
            if len(vectors):
                found[key] = [base64.b64encode(row.astype(_FILE_TYPE).tobytes()).decode() for row in vectors]
        return {**found, "alone": True} if self.alone else found


def nothing_taught_fields() -> dict[str, Any]:
    """Returns the fields of lseg_ros/msg/Taught for a label without lessons."""
    empty = np.empty(0, np.float32)
    return {"weights": "", "alone": False, "dimensions": 0, "toward": empty, "against": empty}


def taught_from_message(message: Any) -> Taught | None:
    """Reads a lseg_ros/msg/Taught.

    Args:
        message: The message.

    Returns:
        What was taught, or None if the message is empty.

    Raises:
        ValueError: The message cannot be used. The text says why.
    """
    toward, against = np.asarray(message.toward, np.float32), np.asarray(message.against, np.float32)
    if not (message.weights or message.alone or message.dimensions or toward.size or against.size):
        return None
    width = int(message.dimensions)
    if width < 1 or toward.size % width or against.size % width:
        raise ValueError(
            f"taught vectors of {width} numbers cannot be made of {toward.size} numbers for it and {against.size} "
            "against it"
        )
    return Taught(message.weights, toward.reshape(-1, width), against.reshape(-1, width), message.alone)


def taught_from_entry(entry: Any) -> Taught:
    """Reads the value of `taught` in a label file.

    Args:
        entry: A mapping as from `Taught.entry`.

    Returns:
        What was taught.

    Raises:
        ValueError: The entry cannot be used. The message says why.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("weights"), str):
        raise ValueError("'taught' is not a mapping with 'weights'")
    unknown = sorted(str(key) for key in entry.keys() - _KEYS)
    if unknown:
        raise ValueError(f"'taught' has the unknown key {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    alone = entry.get("alone", False)
    if not isinstance(alone, bool):
        raise ValueError(f"'alone' is {alone!r}, and not true or false")
    return Taught(entry["weights"], _decoded(entry, "for"), _decoded(entry, "against"), alone)


def _decoded(entry: Mapping[str, Any], key: str) -> NDArray[np.float32]:
    texts = entry.get(key) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"'{key}' is not a list of texts")
    return _same_width([_vector(text, f"{key}[{i}]") for i, text in enumerate(texts)])


def _vector(text: str, where: str) -> NDArray[np.float32]:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
        return np.frombuffer(data, _FILE_TYPE).astype(np.float32)
    except (binascii.Error, ValueError):
        raise ValueError(f"{where} is no vector: it must be float16 numbers in base64") from None


def _same_width(rows: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    found = list(rows)
    if len({len(row) for row in found}) > 1:
        raise ValueError(f"taught vectors have {sorted({len(row) for row in found})} numbers; give all as many")
    return np.stack(found) if found else np.empty((0, 0), np.float32)


def _checked(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the vectors, rounded; raises ValueError if one does not have length 1."""
    rows = np.asarray(vectors)
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise ValueError(
            f"taught vectors have the shape {rows.shape} and the type {rows.dtype}; they must be [n,D] floats"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        rows = rows.astype(np.float16).astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
    bad = ~(np.abs(lengths - 1) < _LENGTH_ERROR)  # also true for NaN
    if len(rows) and bad.any():
        raise ValueError(f"a taught vector has the length {lengths[bad.argmax()]:.3g}; all must have length 1")
    return rows
