"""Encodes phrases, each only once, and builds the rows of labels from them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lseg_ros.inference.labels import LabelError, LabelSet, as_specs, check_phrases
from lseg_ros.inference.reading import check_told_apart, reads_same
from lseg_ros.inference.teaching import rows_of
from lseg_ros.model.net import LSegNet

_KEPT = 4096  # most phrases that are remembered
_TOGETHER = 128  # phrases that are encoded at once; for a thousand the text encoder would briefly need 700 MB


def checked_contrast(net: LSegNet, contrast: Sequence[str]) -> tuple[str, ...]:
    """Returns the contrast phrases without blanks around them; raises ValueError if one cannot be used."""
    phrases = tuple(phrase.strip() for phrase in contrast)
    for phrase in phrases:
        if not phrase:
            raise ValueError("a contrast phrase is empty or blank; remove it")
        net.check_phrase(phrase)
    return phrases


class Phrases:
    """The text side of a network. It remembers phrases."""

    def __init__(self, net: LSegNet, basis: Tensor, contrast: Sequence[str]) -> None:
        """Starts without phrases.

        Args:
            net: The network.
            basis: [D,R], the basis of its image encoder, on the device of the results.
            contrast: Phrases that compete as hidden background if fewer than two labels do.
        """
        self._net, self._basis, self._contrast = net, basis, contrast
        self._rows: dict[str, Tensor] = {}

    def rows(self, phrases: Sequence[str]) -> Tensor:
        """Returns [N,R] rows in the basis of the image encoder. Only new phrases are encoded."""
        if not phrases:
            return self._basis.new_empty(0, self._basis.shape[1])
        if len(self._rows) > _KEPT:
            self._rows.clear()
        new = [p for p in dict.fromkeys(phrases) if p not in self._rows]
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            features = self._net.encode_text(part).to(self._basis.device)
            self._rows |= dict(zip(part, features @ self._basis, strict=True))
        return torch.stack([self._rows[p] for p in phrases])

    def check_length(self, phrase: str) -> None:
        """Raises LabelError for a phrase that is too long for the text encoder."""
        try:
            self._net.check_phrase(phrase)
        except ValueError as error:
            raise LabelError(f"{phrase[:40]!r} cannot be used: {error}") from error

    def checked(self, phrases: Sequence[str]) -> list[str]:
        """Returns the phrases without blanks around them; raises LabelError if one cannot be used."""
        phrases = [spec.name for spec in as_specs(phrases)]
        check_phrases(phrases)
        for phrase in phrases:
            self.check_length(phrase)
        return phrases

    def check_labels(self, labels: LabelSet) -> None:
        """Raises LabelError if the text encoder cannot read a prompt, or cannot distinguish it from another label's."""
        for label in labels.labels:
            for prompt in label.words:
                self.check_length(prompt)
        check_told_apart(labels, self._net.text_encoder)

    def hidden(self, labels: LabelSet) -> list[str]:
        """Returns the contrast phrases that compete, because a single label would win everywhere with certainty."""
        if len(labels.labels) > 1:
            return []
        alone = [prompt for label in labels.labels for prompt in label.words]
        return [phrase for phrase in self._contrast if not reads_same((phrase,), alone, self._net.text_encoder)]

    def rivals(self, labels: LabelSet) -> list[Tensor]:
        """Returns the [k,R] rows of each label, from its words and its lessons, and of each hidden phrase."""
        groups = [*(label.words for label in labels.labels), *((phrase,) for phrase in self.hidden(labels))]
        words = self.rows([prompt for group in groups for prompt in group]).split([len(group) for group in groups])
        taught = [label.taught for label in labels.labels]
        return rows_of(words, taught + [None] * (len(groups) - len(taught)), self._basis)
