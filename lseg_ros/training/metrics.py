"""Segmentation metrics from a confusion matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """pixel_accuracy and mean_iou in [0, 1]; iou of each class, NaN where it is neither in the masks nor predicted."""

    pixel_accuracy: float
    mean_iou: float
    iou: list[float]


class Confusion:
    """Counts of (true, predicted) over pixels whose true class is known."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes + 1), np.int64)  # last column: predicted as none of them

    def add(self, target: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Adds pixels: `target` outside 0..classes-1 does not count, `predicted` outside is wrong everywhere."""
        rows, columns = self.counts.shape
        known = target < rows
        guess = np.minimum(predicted[known].astype(np.int64), columns - 1)
        pairs = target[known].astype(np.int64) * columns + guess
        self.counts += np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)

    def metrics(self) -> Metrics:
        """The metrics so far; the mean is over classes that occur."""
        correct = np.diag(self.counts[:, :-1])
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - correct
        iou = np.divide(correct, union, out=np.full(len(correct), np.nan), where=union > 0)
        total = self.counts.sum()
        mean_iou = float(np.nanmean(iou)) if (union > 0).any() else float("nan")
        return Metrics(float(correct.sum() / total) if total else float("nan"), mean_iou, iou.tolist())
