"""Checks how a text encoder reads labels. It may read two labels as one phrase, or not know a label's words."""

import unicodedata
from collections.abc import Sequence
from typing import Protocol

from lseg_ros.inference.labels import LabelError, LabelSet


class Reader(Protocol):
    """The part of `lseg_ros.model.text.TextEncoder` that is needed here."""

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns the tokens of a phrase."""

    def knows(self, phrase: str) -> bool:
        """Returns whether all of a phrase is in the encoder's vocabulary."""


def check_told_apart(labels: LabelSet, reader: Reader) -> None:
    """Checks that the text encoder can distinguish the prompts of each label from those of all others.

    Labels that it reads as one phrase would score the same, and rounding would decide between them at each pixel.

    Raises:
        LabelError: It reads two labels as one phrase, or reads nothing of a label. The message names them.
    """
    owners: dict[tuple[int, ...], tuple[str, str]] = {}  # from tokens to a prompt and the label that has it
    for label in labels.labels:
        for prompt in label.words:
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
    sentences = []
    for label in labels.labels:
        for prompt in label.words:
            what = _named(prompt, label.name)
            if not reader.knows(prompt):
                sentences.append(f"{what} has characters that the text encoder does not know; its pixels mean little")
            elif not _is_latin(prompt):
                sentences.append(f"{what} is not English, which is what the text encoder reads; its pixels mean little")
    return sentences


def reads_same(prompts: Sequence[str], phrases: Sequence[str], reader: Reader) -> bool:
    """Tells whether the text encoder reads one of some prompts as one of some phrases.

    Args:
        prompts: The prompts.
        phrases: The phrases.
        reader: The text encoder.
    """
    taken = {reader.tokens(phrase) for phrase in phrases}
    return any(reader.tokens(prompt) in taken for prompt in prompts)


def _is_latin(text: str) -> bool:
    return all(unicodedata.name(c, "LATIN").startswith("LATIN") for c in text if c.isalpha())


def _named(prompt: str, label: str) -> str:
    return repr(prompt) if prompt == label else f"{prompt!r} of {label!r}"
