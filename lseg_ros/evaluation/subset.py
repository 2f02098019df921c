"""A data set reduced to some of its labels."""

from collections.abc import Sequence

import numpy as np

from lseg_ros.data.common import IGNORE, Dataset, Sample


class Subset(Dataset):
    """A data set with some of its labels, in a given order. Pixels of the others are IGNORE."""

    def __init__(self, data: Dataset, labels: Sequence[str]) -> None:
        """Selects the labels.

        Raises:
            ValueError: The data set lacks a label, or a label is given twice. The message names it.
        """
        check_labels(labels, data.labels, f"of {data.name}")
        self.name = data.name
        self._data = data
        kept = [data.labels.index(label) for label in labels]
        self.phrases = [data.phrases[i] for i in kept]
        self._table = np.full(256, IGNORE, np.uint8)
        self._table[kept] = np.arange(len(kept))

    def __len__(self) -> int:
        return len(self._data)

    def sample(self, index: int) -> Sample:
        """Returns image `index` and its mask, as `Dataset.sample` does."""
        image, mask = self._data.sample(index)
        return image, self._table[mask]


def check_labels(labels: Sequence[str], known: Sequence[str], where: str) -> None:
    """Checks that labels are known and given once.

    Args:
        labels: The labels to check.
        known: All labels that exist.
        where: Says whose labels these are, for the message.

    Raises:
        ValueError: A label is unknown, or given twice. The message names the first one.
    """
    for place, label in enumerate(labels):
        if label not in known:
            raise ValueError(f"{label!r} is none of the labels {where}; they are: {', '.join(known)}")
        if label in labels[:place]:
            raise ValueError(f"{label!r} is there twice; name each label once")
