"""A two-dimensional map of the space that words and pixels share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

PER_CLASS = 120  # pixels of a class on the map
_PER_IMAGE = 16  # pixels of a class from one image


@dataclass(frozen=True)
class MapText:
    """A word on the map.

    Attributes:
        text: The word.
        place: Index of its class.
        is_label: Whether it is the label, not another word for it.
    """

    text: str
    place: int
    is_label: bool


@dataclass(frozen=True)
class Atlas:
    """Words and pixels as points in a plane.

    Attributes:
        texts: The T words.
        text_xy: [T,2] their coordinates.
        pixel_classes: [P] the class of each pixel.
        pixel_xy: [P,2] their coordinates.
        explained: Share of the variance along each axis, in [0, 1].
    """

    texts: list[MapText]
    text_xy: NDArray[np.float64]
    pixel_classes: NDArray[np.int64]
    pixel_xy: NDArray[np.float64]
    explained: tuple[float, float]


class PixelSample:
    """A random sample of the pixel embeddings of each class, the same in every run."""

    def __init__(self, classes: int) -> None:
        self._rng = np.random.default_rng(0)
        self._drawn: list[list[tuple[float, NDArray[np.float32]]]] = [[] for _ in range(classes)]

    def add(self, embedding: Tensor, target: NDArray[np.uint8]) -> None:
        """Adds an image.

        Args:
            embedding: [D,h,w] unit vectors.
            target: [h,w] classes. Other ids do not count.
        """
        flat, ids = embedding.flatten(1), target.ravel()
        for place in np.unique(ids[ids < len(self._drawn)]):
            cells = self._rng.permutation(np.flatnonzero(ids == place))[:_PER_IMAGE]
            rows = flat[:, cells.tolist()].T.float().cpu().numpy()
            # Each pixel draws a random number and the lowest stay, so early and late images have the same chance.
            lots = zip(self._rng.random(len(cells)).tolist(), rows, strict=True)
            drawn = sorted([*self._drawn[place], *lots], key=lambda lot: lot[0])
            self._drawn[place] = drawn[:PER_CLASS]

    @property
    def empty(self) -> bool:
        """Whether the sample has no pixels."""
        return not any(self._drawn)

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns the [P] classes and the [P,D] embeddings of the sample."""
        classes = [place for place, drawn in enumerate(self._drawn) for _ in drawn]
        rows = [row for drawn in self._drawn for _, row in drawn]
        return np.array(classes, np.int64), np.array(rows, np.float32)


def draw_map(texts: Sequence[MapText], text: Tensor, sample: PixelSample) -> Atlas:
    """Makes the map of words and sampled pixels.

    Args:
        texts: T words.
        text: [T,D] their unit rows.
        sample: A sample of P pixels, P > 0.
    """
    classes, pixels = sample.result()
    rows = np.concatenate([text.float().cpu().numpy(), pixels]).astype(np.float64)
    xy, explained = principal_plane(rows)
    return Atlas(list(texts), xy[: len(texts)], classes, xy[len(texts) :], explained)


def principal_plane(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Projects rows onto the two directions of most variance.

    Args:
        rows: [n,D].

    Returns:
        [n,2] coordinates, and the share of the variance along each direction.
    """
    centred = rows - rows.mean(0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((2, rows.shape[1]))
    axes[: min(2, len(directions))] = directions[:2]
    # The sign of a direction is arbitrary. Fix it, so that the map is the same on every machine.
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]
    variance = np.zeros(2)
    variance[: min(2, len(strengths))] = strengths[:2] ** 2
    share = variance / max(float((strengths**2).sum()), 1e-12)
    return centred @ axes.T, (float(share[0]), float(share[1]))
