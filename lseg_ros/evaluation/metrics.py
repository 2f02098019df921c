"""Segmentation metrics, computed from counts of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """Figures in [0, 1], NaN where there was nothing to measure.

    Attributes:
        pixel_accuracy: Share of the labeled pixels that are right.
        mean_iou: Mean IoU of the classes that occur in the masks. Others only compete; their pixels count as errors.
        mean_iou_all: Mean IoU of all classes, 0 for classes that do not occur. PyTorch-Encoding's SegmentationMetric,
            which the original uses, computes this. On a whole benchmark both means agree.
        fb_iou: Mean of the IoU of foreground and background. Each class in turn is the foreground; all counts are
            summed.
        iou: IoU of each class, NaN where it does not occur.
    """

    pixel_accuracy: float
    mean_iou: float
    mean_iou_all: float
    fb_iou: float
    iou: list[float]


class Confusion:
    """Counts of pixels by true and predicted class, for pixels whose true class is known.

    Attributes:
        counts: [classes,classes+1] int64. The last column counts predictions of none of the classes.
    """

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes + 1), np.int64)

    def add(self, target: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Adds pixels.

        Args:
            target: True classes. Values outside 0..classes-1 do not count.
            predicted: Predicted classes, of the same shape. Values outside 0..classes-1 are wrong.
        """
        rows, columns = self.counts.shape
        known = target < rows
        guess = np.minimum(predicted[known].astype(np.int64), columns - 1)
        pairs = target[known].astype(np.int64) * columns + guess
        self.counts += np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)

    def metrics(self) -> Metrics:
        """Returns the metrics of all pixels so far."""
        correct = np.diag(self.counts[:, :-1])
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - correct
        total = self.counts.sum()
        if total == 0:
            return Metrics(np.nan, np.nan, np.nan, np.nan, iou=[np.nan] * len(correct))
        iou = np.divide(correct, union, out=np.full(len(correct), np.nan), where=union > 0)
        # Pixels that are neither truly nor predicted of a class count as right background for it.
        background = (total - union).sum() / max(1, (total - correct).sum())
        return Metrics(
            pixel_accuracy=float(correct.sum() / total),
            mean_iou=float(iou[self.counts.any(axis=1)].mean()),
            mean_iou_all=float(np.nansum(iou) / len(iou)),
            fb_iou=float((correct.sum() / union.sum() + background) / 2),
            iou=iou.tolist(),
        )


@dataclass(frozen=True)
class EpisodeMetrics:
    """Figures in [0, 1] over the classes that had an episode, NaN without any.

    Attributes:
        mean_iou: Mean over the classes of the foreground's IoU.
        fb_iou: Mean of `foreground` and `background`.
        foreground: IoU of the foreground with the counts of all classes summed.
        background: IoU of the background with the counts of all classes summed.
        iou: IoU of the foreground by class id.
    """

    mean_iou: float
    fb_iou: float
    foreground: float
    background: float
    iou: dict[int, float]


class EpisodeMeter:
    """Sums up episodes, each of one class against all others. Source: HSNet's AverageMeter and Evaluator."""

    def __init__(self, class_ids: Sequence[int]) -> None:
        """Prepares for the classes of a fold, given by their ids."""
        self._row = {class_id: row for row, class_id in enumerate(class_ids)}
        self._intersection = np.zeros((len(class_ids), 2), np.int64)
        self._union = np.zeros((len(class_ids), 2), np.int64)
        self._episodes = np.zeros(len(class_ids), np.int64)

    def add(self, class_id: int, target: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Adds an episode.

        Args:
            class_id: Its class.
            target: [H,W] with 1 for the class and 0 for others. Other values do not count.
            predicted: [H,W] with 1 for the class and 0 for others.
        """
        row, known = self._row[class_id], target <= 1
        for side in (0, 1):
            true, guess = target[known] == side, predicted[known] == side
            self._intersection[row, side] += (true & guess).sum()
            self._union[row, side] += (true | guess).sum()
        self._episodes[row] += 1

    def metrics(self) -> EpisodeMetrics:
        """Returns the metrics of all episodes so far."""
        met = self._episodes > 0
        if not met.any():
            return EpisodeMetrics(np.nan, np.nan, np.nan, np.nan, iou={})
        iou = self._intersection[:, 1] / np.maximum(self._union[:, 1], 1)
        background, foreground = (self._intersection.sum(0) / np.maximum(self._union.sum(0), 1)).tolist()
        return EpisodeMetrics(
            mean_iou=float(iou[met].mean()),
            fb_iou=(foreground + background) / 2,
            foreground=foreground,
            background=background,
            iou={class_id: float(iou[row]) for class_id, row in self._row.items() if met[row]},
        )
