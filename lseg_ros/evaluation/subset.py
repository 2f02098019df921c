"""Some of a data set's labels."""

from collections.abc import Sequence

import numpy as np

from lseg_ros.data.common import IGNORE, Dataset, Sample


class Subset(Dataset):
    """A data set with only some of its labels, in the order asked for; pixels of the others are IGNORE."""

    def __init__(self, data: Dataset, labels: Sequence[str]) -> None:
        """Raises ValueError naming a label that the data set does not have, or that is there twice."""
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
        """As `Dataset.sample`."""
        image, mask = self._data.sample(index)
        return image, self._table[mask]


def check_labels(asked: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raises ValueError naming the first of `asked` that is no label, or is there twice; `where` tells whose labels."""
    for place, label in enumerate(asked):
        if label not in known:
            raise ValueError(f"{label!r} is none of the labels {where}; they are: {', '.join(known)}")
        if label in asked[:place]:
            raise ValueError(f"{label!r} is there twice; name each label once")
