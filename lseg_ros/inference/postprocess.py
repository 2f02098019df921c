"""Turns logits at decoder resolution into masks, confidence and scores."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.inference.competition import Competition
from lseg_ros.inference.cuda_graphs import to_host
from lseg_ros.inference.labels import IdRules, LabelSet
from lseg_ros.inference.preprocess import Geometry, Size
from lseg_ros.inference.winners import Best, best_labels, shares


def best_prompt(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Reduces the logits of prompts to the best prompt of each label.

    Args:
        logits: [1,P,h,w], the prompts of each label next to each other.
        counts: Number of prompts of each of N labels.

    Returns:
        [1,N,h,w].
    """
    if all(n == 1 for n in counts):
        return logits
    return torch.cat([part.amax(1, keepdim=True) for part in logits.split(list(counts), dim=1)], dim=1)


def confidence_bytes(share: Tensor) -> Tensor:
    """Converts shares in (0, 1] to uint8 from 1 to 255. Readers of a confidence image take 0 for "no data"."""
    return (share * 255 + 0.5).to(torch.uint8).clamp_(min=1)


class Winners(Protocol):
    """The winner at each pixel, for one image, one list of labels and one size."""

    def logits(self, labels: list[int]) -> Tensor:
        """Returns the [1,n,h,w] logits of n labels, given by index, at decoder resolution, on the device."""

    def best(self) -> Best:
        """Returns the winners on the device."""

    def mask(self) -> NDArray[Any]:
        """Returns [H,W] class ids, uint8 or uint16."""

    def confidence(self) -> NDArray[np.float32]:
        """Returns the confidence as [H,W] float32 in (0, 1]."""

    def confidence_bytes(self) -> NDArray[np.uint8]:
        """Returns the confidence as [H,W] uint8 from 1 to 255."""


class WinnersOfLogits:
    """Computes the winners step by step from logits, when they are first needed. Implements `Winners`."""

    def __init__(self, logits: Callable[[], Tensor], competition: Competition, sizes: Geometry, output: Size) -> None:
        """Prepares the computation.

        Args:
            logits: Returns [1,N,h,w]. It is called at most once.
            competition: The labels.
            sizes: The sizes of the image.
            output: Height and width of the results.
        """
        self._make, self._competition, self._sizes, self._output = logits, competition, sizes, output

    def logits(self, labels: list[int]) -> Tensor:
        """As `Winners`."""
        return self._logits[:, labels]

    @cached_property
    def _logits(self) -> Tensor:
        with torch.inference_mode():
            return self._make()

    def best(self) -> Best:
        """As `Winners`."""
        return self._best

    @cached_property
    def _best(self) -> Best:
        with torch.inference_mode():
            return best_labels(self._logits, self._sizes, self._output)

    def mask(self) -> NDArray[Any]:
        """As `Winners`."""
        mask = self._competition.ids[to_host(self._best.index)]
        if self._competition.limits.any():
            below = to_host(self._best.share) < self._competition.limits[to_host(self._best.index)]
            mask[below] = self._competition.rules.unknown_id
        return mask

    def confidence(self) -> NDArray[np.float32]:
        """As `Winners`."""
        return to_host(self._best.share)

    def confidence_bytes(self) -> NDArray[np.uint8]:
        """As `Winners`."""
        with torch.inference_mode():
            return to_host(confidence_bytes(self._best.share))


class Segmentation:
    """One image under one label set. Each result is computed when it is first read.

    Attributes:
        labels: The label set that the ids belong to.
    """

    def __init__(
        self, competition: Competition, sizes: Geometry, output: Size, winners: Callable[[Size], Winners]
    ) -> None:
        """Prepares the results.

        Args:
            competition: The labels under which the image is scored.
            sizes: The sizes of the image.
            output: Height and width of the results.
            winners: Computes the winners at a height and width.
        """
        self.labels = competition.labels
        self._competition, self._sizes, self._output, self._winners_at = competition, sizes, output, winners

    def at(self, output: Size) -> "Segmentation":
        """Returns the same at another height and width. It is computed from the logits, so no id is interpolated."""
        return Segmentation(self._competition, self._sizes, output, self._winners_at)

    @cached_property
    def _winners(self) -> Winners:
        return self._winners_at(self._output)

    @cached_property
    def mask(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """[H,W] class ids. It is the unknown id where a background label wins or the winner is below its threshold."""
        return self._winners.mask()

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """[H,W] float32 in [0, 1], the winner's share of the softmax over all labels, background included."""
        return self._winners.confidence()

    @cached_property
    def confidence_bytes(self) -> NDArray[np.uint8]:
        """[H,W] uint8, `confidence` as 1 to 255."""
        return self._winners.confidence_bytes()

    def scores(self, label: str) -> NDArray[np.float32]:
        """Returns one label's share of the softmax.

        Args:
            label: The label's name.

        Returns:
            [H,W] float32 in [0, 1].

        Raises:
            ValueError: There is no such label.
        """
        return to_host(self._shares([label])[0])

    def score_channels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Returns the `scores` of several labels side by side, [H,W,N] float32 in [0, 1]; raises as `scores` does."""
        return to_host(self._shares(labels).permute(1, 2, 0).contiguous())

    def _shares(self, labels: Sequence[str]) -> Tensor:
        """Returns the shares of N labels, [N,H,W]."""
        rows = [self.labels.index(label) for label in labels]
        with torch.inference_mode():
            return shares(self._winners.logits(rows), self._winners.best(), self._sizes, self._output)


def segmentation_of(
    logits: Tensor, labels: LabelSet, sizes: Geometry, output: Size, rules: IdRules, threshold: float
) -> Segmentation:
    """Returns the segmentation that logits give.

    Args:
        logits: [1,N,h,w], of the labels in order, then of the hidden background if there is one.
        labels: The label set.
        sizes: The sizes of the image.
        output: Height and width of the results.
        rules: The rules for class ids.
        threshold: Least confidence of a winner, in [0, 1].
    """
    competition = Competition(logits.new_empty(0), [1] * logits.shape[1], labels, rules, threshold)
    return Segmentation(
        competition, sizes, output, lambda size: WinnersOfLogits(lambda: logits, competition, sizes, size)
    )
