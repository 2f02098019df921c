"""Is a pixel of confidence 0.8 right in 80 % of cases? Guo et al., "On Calibration of Modern Neural Networks", 2017."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Pixels whose confidence lies in (low, high], 0 in the first; their mean confidence and accuracy, NaN if none."""

    low: float
    high: float
    pixels: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The reliability curve, with its summary in [0, 1].

    error: the expected calibration error, the mean over pixels of |confidence - accuracy| of their bin.
    over_confidence: mean confidence minus accuracy, in [-1, 1]; above 0 the model is too sure of itself. Both are NaN
    without pixels.
    """

    bins: list[Bin]
    error: float
    over_confidence: float


class CalibrationMeter:
    """Adds up pixels in bins of equal width."""

    def __init__(self) -> None:
        self._pixels = np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)
        self._correct = np.zeros(BINS, np.int64)

    def add(self, confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> None:
        """Adds pixels, any shape: confidence in [0, 1] and whether the label is right."""
        place = np.clip(np.ceil(confidence.ravel() * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self._pixels += np.bincount(place, minlength=BINS)
        self._confidence += np.bincount(place, confidence.ravel(), BINS)
        self._correct += np.bincount(place[correct.ravel()], minlength=BINS)

    def result(self) -> Calibration:
        """The curve so far."""
        bins = [
            Bin(i / BINS, (i + 1) / BINS, int(n), *(float(x / n) if n else float("nan") for x in sums))
            for i, (n, *sums) in enumerate(zip(self._pixels, self._confidence, self._correct, strict=True))
        ]
        total = self._pixels.sum()
        if not total:
            return Calibration(bins, float("nan"), float("nan"))
        gap = self._confidence - self._correct
        return Calibration(bins, float(np.abs(gap).sum() / total), float(gap.sum() / total))
