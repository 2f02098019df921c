"""Collects the images with the worst and the best results."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

EACH = 4  # images of each kind
SIDE = 420  # longest side in pixels


@dataclass(frozen=True)
class Picture:
    """An image with its result.

    Attributes:
        name: Name of the image, for people.
        mean_iou: Mean IoU of this image alone.
        image: [H,W,3] RGB.
        target: [H,W] true ids.
        predicted: [H,W] predicted ids.
        confidence: [H,W] in [0, 1].
        labels: The text of each id.
    """

    name: str
    mean_iou: float
    image: NDArray[np.uint8]
    target: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    labels: list[str]


class Gallery:
    """Keeps the worst and the best of all pictures added, at reduced size."""

    def __init__(self) -> None:
        self._kept: list[Picture] = []

    def add(self, picture: Picture) -> None:
        """Adds a picture. A picture without labeled pixels is ignored."""
        if np.isnan(picture.mean_iou):
            return
        self._kept = sorted([*self._kept, _small(picture)], key=lambda kept: kept.mean_iou)
        if len(self._kept) > 2 * EACH:
            del self._kept[EACH]

    def result(self) -> tuple[list[Picture], list[Picture]]:
        """Returns the worst pictures, worst first, and the best, best first. No picture is in both."""
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
