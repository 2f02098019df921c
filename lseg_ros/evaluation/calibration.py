"""Calibration: whether 80 % of the pixels with confidence 0.8 are right.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The pixels whose confidence lies in (low, high]. The first bin includes 0.

    Attributes:
        low: Lower bound of the confidence.
        high: Upper bound of the confidence.
        pixels: Number of pixels.
        confidence: Their mean confidence, NaN without pixels.
        accuracy: Share of them that is right, NaN without pixels.
    """

    low: float
    high: float
    pixels: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The reliability curve and its summary.

    Attributes:
        bins: The bins, in ascending confidence.
        error: Expected calibration error in [0, 1]: the mean over pixels of |confidence - accuracy| of their bin. NaN
            without pixels.
        over_confidence: Mean confidence minus accuracy, in [-1, 1]. Above 0 the model is too sure. NaN without pixels.
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
        """Adds pixels.

        Args:
            confidence: Confidence of each pixel in [0, 1], of any shape.
            correct: Whether each pixel's label is right, of the same shape.
        """
        place = np.clip(np.ceil(confidence.ravel() * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self._pixels += np.bincount(place, minlength=BINS)
        self._confidence += np.bincount(place, confidence.ravel(), BINS)
        self._correct += np.bincount(place[correct.ravel()], minlength=BINS)

    def result(self) -> Calibration:
        """Returns the curve of all pixels so far."""
        bins = [
            Bin(i / BINS, (i + 1) / BINS, int(n), *(float(x / n) if n else float("nan") for x in sums))
            for i, (n, *sums) in enumerate(zip(self._pixels, self._confidence, self._correct, strict=True))
        ]
        total = self._pixels.sum()
        if not total:
            return Calibration(bins, float("nan"), float("nan"))
        gap = self._confidence - self._correct
        return Calibration(bins, float(np.abs(gap).sum() / total), float(gap.sum() / total))
