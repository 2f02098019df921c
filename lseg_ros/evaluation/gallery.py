"""The images on which the model does worst and best."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

EACH = 4  # worst, and best
SIDE = 420  # longest side in pixels


@dataclass(frozen=True)
class Picture:
    """One image with its result.

    name: for people. mean_iou: of this image alone. image: HxWx3 RGB. target, predicted: HxW ids. confidence: HxW in
    [0, 1]. labels: the text of each id.
    """

    name: str
    mean_iou: float
    image: NDArray[np.uint8]
    target: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    labels: list[str]


class Gallery:
    """Keeps the worst and best pictures of all that are shown to it, made small."""

    def __init__(self) -> None:
        self._kept: list[Picture] = []

    def add(self, picture: Picture) -> None:
        """Shows one; a picture without labelled pixels is neither good nor bad."""
        if np.isnan(picture.mean_iou):
            return
        self._kept = sorted([*self._kept, _small(picture)], key=lambda kept: kept.mean_iou)
        if len(self._kept) > 2 * EACH:
            del self._kept[EACH]

    def result(self) -> tuple[list[Picture], list[Picture]]:
        """(the worst, worst first; the best, best first); of few pictures none is in both."""
        half = (len(self._kept) + 1) // 2
        return self._kept[:half], self._kept[half:][::-1]


def _small(picture: Picture) -> Picture:
    height, width = picture.target.shape
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Picture(
        picture.name,
        picture.mean_iou,
        cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False),
        cv2.resize(picture.target, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False),
        cv2.resize(picture.predicted, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False),
        cv2.resize(picture.confidence, size, interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False),
        picture.labels,
    )
