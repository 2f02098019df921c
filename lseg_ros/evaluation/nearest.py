"""Finds the words nearest to the pixels of each class, among the labels and many other words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.evaluation.metrics import Confusion

TOP = 5
Origin = Literal["seen", "unseen", "unknown"]


@dataclass(frozen=True)
class Word:
    """A word that may be nearest to a pixel.

    Attributes:
        text: The word.
        origin: Whether training had it, where that is known.
    """

    text: str
    origin: Origin


@dataclass(frozen=True)
class NearWord:
    """A word near a class.

    Attributes:
        word: The word.
        share: Share of the class's pixels that have this word nearest.
        cosine: Cosine between the word and the mean of the class's pixels.
    """

    word: Word
    share: float
    cosine: float


@dataclass(frozen=True)
class ClassWords:
    """The words near one class.

    Attributes:
        label: The word of the class.
        pixels: Number of its pixel embeddings.
        rank: Rank of the label among all words by cosine to the pixels' mean, 1 for the nearest.
        share: Share of the pixels that have the label nearest.
        nearest: The words that are nearest to most pixels, in descending order.
    """

    label: str
    pixels: int
    rank: int
    share: float
    nearest: list[NearWord]


class NearestMeter:
    """Adds up the pixel embeddings of each class and their nearest words."""

    def __init__(self, classes: int, text: Tensor) -> None:
        """Prepares for some classes.

        Args:
            classes: Number of classes.
            text: [V,D] unit rows, those of the classes first.
        """
        self._text = text
        self._sums = torch.zeros(classes, text.shape[1], dtype=torch.float64)
        self._nearest = np.zeros((classes, len(text)), np.int64)

    def add(self, embedding: Tensor, target: NDArray[np.uint8]) -> None:
        """Adds an image.

        Args:
            embedding: [D,h,w] unit vectors.
            target: [h,w] classes. Other ids do not count.
        """
        known = torch.from_numpy(target < len(self._sums))
        pixels = embedding[:, known.to(embedding.device)].T  # [P,D]
        classes = torch.from_numpy(target[target < len(self._sums)].astype(np.int64))
        with torch.inference_mode():
            nearest = (pixels @ self._text.T).argmax(1).cpu()
            self._sums.index_add_(0, classes, pixels.double().cpu())
        np.add.at(self._nearest, (classes.numpy(), nearest.numpy()), 1)

    def result(self, words: Sequence[Word]) -> list[ClassWords]:
        """Returns the words near each class that has pixels.

        Args:
            words: The word of each row of the text.
        """
        means = torch.nn.functional.normalize(self._sums, dim=1)
        cosines = (means @ self._text.double().cpu().T).numpy()
        return [
            self._of_class(i, words, cosines[i], self._nearest[i])
            for i in range(len(self._nearest))
            if self._nearest[i].any()
        ]

    def _of_class(
        self, place: int, words: Sequence[Word], cosines: NDArray[np.float64], counts: NDArray[np.int64]
    ) -> ClassWords:
        pixels = int(counts.sum())
        order = [i for i in np.argsort(-counts, kind="stable")[:TOP] if counts[i]]
        return ClassWords(
            label=words[place].text,
            pixels=pixels,
            rank=int((cosines > cosines[place]).sum()) + 1,
            share=float(counts[place] / pixels),
            nearest=[NearWord(words[i], float(counts[i] / pixels), float(cosines[i])) for i in order],
        )


@dataclass(frozen=True)
class UnseenLabel:
    """A label that training left out: its result when it is named, and when a seen label stands in for it.

    Attributes:
        label: The label.
        iou_named: Its IoU when all labels are named.
        stand_in: The seen label whose text is nearest to it.
        iou_stand_in: IoU of the stand-in's area with the label's pixels when only seen labels are named.
        taken_by: The seen labels that get its pixels then, with their shares, largest first.
    """

    label: str
    iou_named: float
    stand_in: str
    iou_stand_in: float
    taken_by: list[tuple[str, float]]


def compare_unseen(
    labels: Sequence[str], unseen: Sequence[str], text: Tensor, named: Sequence[float], unnamed: Confusion
) -> list[UnseenLabel]:
    """Compares each unseen label that has pixels with its stand-in.

    Args:
        labels: All N labels of the data.
        unseen: Some of them, not all.
        text: [N,D] unit rows.
        named: IoU of each label when all compete.
        unnamed: Counts when only the seen labels compete, as indices of `labels`.
    """
    hidden = [labels.index(label) for label in unseen]
    seen = [i for i in range(len(labels)) if i not in hidden]
    cosines = (text @ text.T).cpu()
    present = [u for u in hidden if unnamed.counts[u].any()]
    return [_compare(u, seen, labels, cosines, named[u], unnamed.counts) for u in present]


def _compare(
    label: int, seen: list[int], labels: Sequence[str], cosines: Tensor, named: float, counts: NDArray[np.int64]
) -> UnseenLabel:
    stand_in = max(seen, key=lambda i: float(cosines[label, i]))
    pixels, both = counts[label].sum(), counts[label, stand_in]
    union = pixels + counts[:, stand_in].sum() - both
    order = sorted(seen, key=lambda i: -counts[label, i])[:TOP]
    return UnseenLabel(
        label=labels[label],
        iou_named=named,
        stand_in=labels[stand_in],
        iou_stand_in=float(both / union),
        taken_by=[(labels[i], float(counts[label, i] / pixels)) for i in order if counts[label, i]],
    )
