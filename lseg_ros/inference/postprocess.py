"""From logits at decoder resolution to masks, confidence and scores."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.inference.labels import IdRules, LabelSet
from lseg_ros.inference.preprocess import Geometry, Size
from lseg_ros.inference.upsampling import Best, best_labels, shares


def best_prompt(logits: Tensor, counts: list[int]) -> Tensor:
    """[1,P,h,w] for all prompts, `counts` of them for each label in turn -> [1,N,h,w], the best prompt of each."""
    if all(n == 1 for n in counts):
        return logits
    return torch.cat([part.amax(1, keepdim=True) for part in logits.split(counts, dim=1)], dim=1)


class Segmentation:
    """One image under one label set. What is not asked for is not computed.

    mask: HxW class ids. confidence: HxW float32 in [0, 1], the winner's share of the softmax over all labels,
    background included. labels: the set that the ids belong to.
    """

    def __init__(
        self,
        logits: Tensor,
        labels: LabelSet,
        sizes: Geometry,
        output: Size,
        rules: IdRules,
        threshold: float,
    ) -> None:
        """logits: [1,N,h,w] of the labels in order, then any hidden background."""
        self.labels = labels
        self._logits, self._sizes, self._output = logits, sizes, output
        self._rules, self._threshold = rules, threshold

    def at(self, output: Size) -> "Segmentation":
        """The same at another size (height, width), from the logits, so that no id is ever interpolated."""
        return Segmentation(self._logits, self.labels, self._sizes, output, self._rules, self._threshold)

    @cached_property
    def _best(self) -> Best:
        with torch.inference_mode():
            return best_labels(self._logits, self._sizes, self._output)

    @cached_property
    def mask(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """HxW class ids; unknown where a background label wins or the winner is below its threshold."""
        hidden = self._logits.shape[1] - len(self.labels.labels)
        unknown = self._rules.unknown_id
        ids = [label.class_id for label in self.labels.labels] + [unknown] * hidden
        limits = [label.threshold or self._threshold for label in self.labels.labels] + [0.0] * hidden
        index = self._best.index.cpu().numpy()
        found = np.array(ids, np.uint8 if max(self._rules.max_id, unknown) <= 255 else np.uint16)[index]
        if any(limits):
            found[self.confidence < np.array(limits, np.float32)[index]] = unknown
        return found

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """HxW float32 in [0, 1]."""
        return self._best.share.cpu().numpy()

    def scores(self, label: str) -> NDArray[np.float32]:
        """HxW float32 in [0, 1], one label's share of the softmax; raises ValueError for a label that is not there."""
        return self._shares([label])[0].cpu().numpy()

    def score_channels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """HxWxN float32 in [0, 1]: `scores` of each of these labels, side by side; raises as it does."""
        return self._shares(labels).permute(1, 2, 0).contiguous().cpu().numpy()

    def _shares(self, labels: Sequence[str]) -> Tensor:
        """[N,H,W] of these labels."""
        rows = [self.labels.index(label) for label in labels]
        with torch.inference_mode():
            return shares(self._logits[:, rows], self._best, self._sizes, self._output)
