"""What the node needs of a segmenter. `Segmenter` is one; tests bring their own."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.labels import LabelSet, LabelSpec


class PhraseMatch(NamedTuple):
    """How well a phrase fits each pixel.

    score: HxW float32 in [0, 1], the phrase's share against the labels and contrast phrases, each phrase alone.
    cosine: HxW float32 in [-1, 1], of the phrase and the pixel, whatever else there is.
    """

    score: NDArray[np.float32]
    cosine: NDArray[np.float32]


class PixelShares(NamedTuple):
    """What competes at one pixel.

    Attributes:
        names: The labels in force, in their order; where fewer than two compete, the contrast phrases follow.
        shares: Of the softmax, in [0, 1]; together they are 1.
        cosines: Of the pixel and the best phrase of each, in [-1, 1].
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    cosines: tuple[float, ...]


class FeatureGrid(NamedTuple):
    """A grid of vectors over an image.

    coordinates: [R,h,w] float16, in the segmenter's basis. image: its height and width. scale, offset: a pixel's place
    on the grid, cell = pixel * scale + offset, for rows and then for columns.
    """

    coordinates: NDArray[np.float16]
    image: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]


class SegmentationLike(Protocol):
    """One image under one label set; see `lseg_ros.inference.postprocess.Segmentation`."""

    labels: LabelSet

    @property
    def mask(self) -> NDArray[Any]:
        """HxW class ids, uint8 or uint16."""

    @property
    def confidence(self) -> NDArray[np.float32]:
        """HxW in [0, 1]."""

    @property
    def confidence_bytes(self) -> NDArray[np.uint8]:
        """HxW, confidence as 1 to 255."""

    def scores(self, label: str) -> NDArray[np.float32]:
        """HxW in [0, 1]."""

    def score_channels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """HxWxN in [0, 1]."""

    def at(self, output: tuple[int, int]) -> "SegmentationLike":
        """The same at another height and width."""


class EmbeddingLike(Protocol):
    """An image, ready to be scored under any labels."""

    @property
    def stage_ms(self) -> dict[str, float]:
        """How long each stage took, in milliseconds."""


class SegmenterLike(Protocol):
    """See `lseg_ros.inference.segmenter.Segmenter`."""

    labels: LabelSet
    threshold: float

    def plan(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """The next label set, or LabelError; changes nothing and may be called from any thread."""

    def commit(self, planned: LabelSet) -> None:
        """Puts in force what `plan` has returned; where that fails, the old labels stay."""

    def embed(self, rgb: NDArray[np.uint8]) -> Any:
        """HxWx3 uint8 RGB -> an `EmbeddingLike`."""

    def score(self, image: Any) -> SegmentationLike:
        """An `EmbeddingLike` of this segmenter -> its segmentation under the labels in force."""

    def query(self, image: Any, phrases: Sequence[str], output: tuple[int, int]) -> list[PhraseMatch]:
        """An `EmbeddingLike` of this segmenter -> a match for each phrase, at height and width `output`; the labels
        stay as they are. LabelError for phrases that cannot be used."""

    def probe(self, image: Any, u: int, v: int, output: tuple[int, int]) -> PixelShares:
        """What competes at column u and row v of an `EmbeddingLike`, at height and width `output`.

        Raises:
            LabelError: There is no such pixel, or no labels were set.
        """

    @property
    def basis(self) -> NDArray[np.float32]:
        """[D,R], which leads from coordinates to the space of `encode_text`."""

    def feature_grid(self, image: Any) -> FeatureGrid:
        """An `EmbeddingLike` of this segmenter -> its vectors."""

    def encode_text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """N phrases -> [N,D] unit rows; the labels stay as they are. LabelError for phrases that cannot be used."""

    def usage(self) -> dict[str, str]:
        """The device and how much of its memory is in use, for people, by name. May be called from any thread."""

    def release(self) -> None:
        """Gives the device's memory back; nothing else may be called afterwards."""
