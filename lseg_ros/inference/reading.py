"""What a text encoder makes of labels: it may read two as one phrase, or know nothing of one."""

import unicodedata
from collections.abc import Sequence
from typing import Protocol

from lseg_ros.inference.labels import LabelError, LabelSet


class Reader(Protocol):
    """The part of `lseg_ros.model.text.TextEncoder` that matters here."""

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns what the encoder reads of a phrase."""

    def knows(self, phrase: str) -> bool:
        """Tells whether all of a phrase is in the encoder's vocabulary."""


def check_told_apart(labels: LabelSet, reader: Reader) -> None:
    """Checks that the text encoder can tell the prompts of each label from those of all others.

    Labels that it reads as one phrase would score the same, and each pixel would go to either of them by rounding.

    Raises:
        LabelError: It reads two of them as one phrase, or nothing of one; names them.
    """
    owners: dict[tuple[int, ...], tuple[str, str]] = {}  # what is read -> a prompt, and the label that has it
    for label in labels.labels:
        for prompt in label.prompts:
            tokens = reader.tokens(prompt)
            if not tokens:
                raise LabelError(f"{_named(prompt, label.name)} has nothing that the text encoder reads; use words")
            other, owner = owners.setdefault(tokens, (prompt, label.name))
            if owner == label.name:
                continue
            both = f"{_named(other, owner)} and {_named(prompt, label.name)}"
            if not reader.knows(prompt):
                raise LabelError(f"the text encoder knows neither {both} and takes them for one; use English words")
            raise LabelError(f"{both} are one phrase to the text encoder; keep one of them, or use other words")


def remarks(labels: LabelSet, reader: Reader) -> list[str]:
    """Returns a sentence for each prompt whose scores will mean little, because the text encoder does not know it."""
    found = []
    for label in labels.labels:
        for prompt in label.prompts:
            what = _named(prompt, label.name)
            if not reader.knows(prompt):
                found.append(f"{what} has characters that the text encoder does not know; its pixels mean little")
            elif not _is_latin(prompt):
                found.append(f"{what} is not English, which is what the text encoder reads; its pixels mean little")
    return found


def without_same(rivals: Sequence[tuple[str, ...]], phrases: Sequence[str], reader: Reader) -> list[tuple[str, ...]]:
    """Returns the groups of prompts without those that the text encoder reads as one of some phrases.

    Args:
        rivals: The prompts of each label.
        phrases: What they must not be.
        reader: The text encoder.
    """
    taken = {reader.tokens(phrase) for phrase in phrases}
    return [prompts for prompts in rivals if not any(reader.tokens(prompt) in taken for prompt in prompts)]


def _is_latin(text: str) -> bool:
    return all(unicodedata.name(c, "LATIN").startswith("LATIN") for c in text if c.isalpha())


def _named(prompt: str, label: str) -> str:
    return repr(prompt) if prompt == label else f"{prompt!r} of {label!r}"
