"""From logits at decoder resolution to masks, confidence and scores."""

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
from lseg_ros.inference.upsampling import Best, best_labels, shares


def best_prompt(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """[1,P,h,w] for all prompts, `counts` of them for each label in turn -> [1,N,h,w], the best prompt of each."""
    if all(n == 1 for n in counts):
        return logits
    return torch.cat([part.amax(1, keepdim=True) for part in logits.split(list(counts), dim=1)], dim=1)


def confidence_bytes(share: Tensor) -> Tensor:
    """Shares in (0, 1] -> uint8 from 1 to 255: readers of confidence take 0 for "no data"."""
    return (share * 255 + 0.5).to(torch.uint8).clamp_(min=1)


class Winners(Protocol):
    """What is known of the winner at each pixel, for one image, one list of labels and one size."""

    def logits(self, labels: list[int]) -> Tensor:
        """[1,n,h,w] of n labels by their places in the list, at decoder resolution, on the device."""

    def best(self) -> Best:
        """On the device."""

    def mask(self) -> NDArray[Any]:
        """HxW class ids, uint8 or uint16."""

    def confidence(self) -> NDArray[np.float32]:
        """HxW in (0, 1]."""

    def confidence_bytes(self) -> NDArray[np.uint8]:
        """HxW from 1 to 255."""


class WinnersOfLogits:
    """Computed step by step from logits, when it is first asked for. Implements `Winners`."""

    def __init__(self, logits: Callable[[], Tensor], competition: Competition, sizes: Geometry, output: Size) -> None:
        """logits: gives [1,N,h,w]; it is called at most once."""
        self._make, self._competition, self._sizes, self._output = logits, competition, sizes, output

    def logits(self, labels: list[int]) -> Tensor:
        return self._logits[:, labels]

    @cached_property
    def _logits(self) -> Tensor:
        with torch.inference_mode():
            return self._make()

    def best(self) -> Best:
        return self._best

    @cached_property
    def _best(self) -> Best:
        with torch.inference_mode():
            return best_labels(self._logits, self._sizes, self._output)

    def mask(self) -> NDArray[Any]:
        found = self._competition.ids[to_host(self._best.index)]
        if self._competition.limits.any():
            below = to_host(self._best.share) < self._competition.limits[to_host(self._best.index)]
            found[below] = self._competition.rules.unknown_id
        return found

    def confidence(self) -> NDArray[np.float32]:
        return to_host(self._best.share)

    def confidence_bytes(self) -> NDArray[np.uint8]:
        with torch.inference_mode():
            return to_host(confidence_bytes(self._best.share))


class Segmentation:
    """One image under one label set. What is not asked for is not computed.

    mask: HxW class ids. confidence: HxW float32 in [0, 1], the winner's share of the softmax over all labels,
    background included. labels: the set that the ids belong to.
    """

    def __init__(
        self, competition: Competition, sizes: Geometry, output: Size, winners: Callable[[Size], Winners]
    ) -> None:
        """
        Args:
            competition: the labels that the image is scored under.
            sizes: of the image.
            output: height and width of the results.
            winners: computes them, at any height and width; it is called when something is asked for.
        """
        self.labels = competition.labels
        self._competition, self._sizes, self._output, self._winners_at = competition, sizes, output, winners

    def at(self, output: Size) -> "Segmentation":
        """The same at another size (height, width), from the logits, so that no id is ever interpolated."""
        return Segmentation(self._competition, self._sizes, output, self._winners_at)

    @cached_property
    def _winners(self) -> Winners:
        return self._winners_at(self._output)

    @cached_property
    def mask(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """HxW class ids; unknown where a background label wins or the winner is below its threshold."""
        return self._winners.mask()

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """HxW float32 in [0, 1]."""
        return self._winners.confidence()

    @cached_property
    def confidence_bytes(self) -> NDArray[np.uint8]:
        """HxW, `confidence` as 1 to 255."""
        return self._winners.confidence_bytes()

    def scores(self, label: str) -> NDArray[np.float32]:
        """HxW float32 in [0, 1], one label's share of the softmax; raises ValueError for a label that is not there."""
        return to_host(self._shares([label])[0])

    def score_channels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """HxWxN float32 in [0, 1]: `scores` of each of these labels, side by side; raises as it does."""
        return to_host(self._shares(labels).permute(1, 2, 0).contiguous())

    def _shares(self, labels: Sequence[str]) -> Tensor:
        """[N,H,W] of these labels."""
        rows = [self.labels.index(label) for label in labels]
        with torch.inference_mode():
            return shares(self._winners.logits(rows), self._winners.best(), self._sizes, self._output)


def segmentation_of(
    logits: Tensor, labels: LabelSet, sizes: Geometry, output: Size, rules: IdRules, threshold: float
) -> Segmentation:
    """The segmentation that logits give: [1,N,h,w] of the labels in order, then any hidden background."""
    competition = Competition(logits.new_empty(0), [1] * logits.shape[1], labels, rules, threshold)
    return Segmentation(
        competition, sizes, output, lambda size: WinnersOfLogits(lambda: logits, competition, sizes, size)
    )
