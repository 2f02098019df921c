"""The numbers of the labels in force that scoring an image needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.inference.labels import IdRules, LabelSet


@dataclass(frozen=True, eq=False)
class Competition:
    """Labels, and the hidden background that competes with them.

    Attributes:
        text: [P,R] rows of all prompts, label by label, in the basis of the image encoder. They have length 1, except
            for labels that were taught.
        counts: Number of rows of each label, then of each hidden background.
        labels: The labels.
        rules: The rules for class ids.
        threshold: Least confidence in [0, 1] of labels without their own threshold.
    """

    text: Tensor
    counts: Sequence[int]
    labels: LabelSet
    rules: IdRules
    threshold: float

    @property
    def rows(self) -> Sequence[Tensor]:
        """[k,R] rows of each competitor."""
        return self.text.split(list(self.counts))

    @cached_property
    def ids(self) -> NDArray[Any]:
        """Class id of each competitor, uint8 or uint16 like masks. Hidden background has the unknown id."""
        ids = [label.class_id for label in self.labels.labels]
        ids += [self.rules.unknown_id] * (len(self.counts) - len(ids))
        return np.array(ids, np.uint8 if max(self.rules.max_id, self.rules.unknown_id) <= 255 else np.uint16)

    @cached_property
    def limits(self) -> NDArray[np.float32]:
        """Least confidence of each competitor, in [0, 1]."""
        limits = [label.threshold or self.threshold for label in self.labels.labels]
        return np.array(limits + [0.0] * (len(self.counts) - len(limits)), np.float32)
