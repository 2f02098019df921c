"""What the node needs of a segmenter. `Segmenter` is one; tests bring their own."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.labels import LabelSet, LabelSpec


class SegmentationLike(Protocol):
    """One image under one label set; see `lseg_ros.inference.postprocess.Segmentation`."""

    labels: LabelSet

    @property
    def mask(self) -> NDArray[Any]:
        """HxW class ids, uint8 or uint16."""

    @property
    def confidence(self) -> NDArray[np.float32]:
        """HxW in [0, 1]."""

    def scores(self, label: str) -> NDArray[np.float32]:
        """HxW in [0, 1]."""


class EmbeddingLike(Protocol):
    """An image, ready to be scored under any labels."""

    stage_ms: dict[str, float]


class SegmenterLike(Protocol):
    """See `lseg_ros.inference.segmenter.Segmenter`."""

    labels: LabelSet
    threshold: float

    def plan(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """The next label set, or LabelError; changes nothing and may be called from any thread."""

    def set_labels(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """Puts labels in force, or LabelError."""

    def embed(self, rgb: NDArray[np.uint8]) -> Any:
        """HxWx3 uint8 RGB -> an `EmbeddingLike`."""

    def score(self, image: Any) -> SegmentationLike:
        """An `EmbeddingLike` of this segmenter -> its segmentation under the labels in force."""
