"""The part of a segmenter that the node uses. `Segmenter` implements it, and so do the fakes in tests."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.labels import LabelSet, LabelSpec
from lseg_ros.inference.lessons import Marks


class PhraseMatch(NamedTuple):
    """How well a phrase fits each pixel.

    Attributes:
        score: [H,W] float32 in [0, 1], the phrase's share against the labels and contrast phrases. Phrases do not
            compete with each other.
        cosine: [H,W] float32 in [-1, 1], of phrase and pixel, independent of all else.
    """

    score: NDArray[np.float32]
    cosine: NDArray[np.float32]


class PixelShares(NamedTuple):
    """The labels that compete at one pixel.

    Attributes:
        names: The labels in force, in their order. Contrast phrases follow if fewer than two labels compete.
        shares: Shares of the softmax, in [0, 1]. Their sum is 1.
        cosines: Cosine of the pixel and the best phrase of each label, in [-1, 1]; of a label that was taught, the
            product with its moved vector.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    cosines: tuple[float, ...]


class FeatureGrid(NamedTuple):
    """A grid of vectors over an image; see `lseg_ros.inference.features.FeatureMap`.

    Attributes:
        coordinates: [R,h,w] float16, in the segmenter's basis.
        image: Height and width of the image in pixels.
        scale: Cells per pixel, for rows and columns: cell = pixel * scale + offset.
        offset: The cell of pixel 0, for rows and columns.
    """

    coordinates: NDArray[np.float16]
    image: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]


class SegmentationLike(Protocol):
    """One image under one label set; see `lseg_ros.inference.postprocess.Segmentation`.

    Attributes:
        labels: The label set that the ids belong to.
    """

    labels: LabelSet

    @property
    def mask(self) -> NDArray[Any]:
        """[H,W] class ids, uint8 or uint16."""

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[H,W] float32 in [0, 1]."""

    @property
    def confidence_bytes(self) -> NDArray[np.uint8]:
        """[H,W] uint8, the confidence as 1 to 255."""

    def scores(self, label: str) -> NDArray[np.float32]:
        """Returns one label's share of the softmax, [H,W] in [0, 1]."""

    def score_channels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Returns the shares of several labels side by side, [H,W,N] in [0, 1]."""

    def at(self, output: tuple[int, int]) -> "SegmentationLike":
        """Returns the same at another height and width."""


class EmbeddingLike(Protocol):
    """The network's result for an image, which can be scored under any labels."""

    @property
    def stage_ms(self) -> dict[str, float]:
        """The time of each stage in milliseconds."""


class SegmenterLike(Protocol):
    """See `lseg_ros.inference.segmenter.Segmenter`.

    Attributes:
        labels: The labels in force.
        threshold: Least confidence of a winner, in [0, 1].
    """

    labels: LabelSet
    threshold: float

    def plan(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """Plans the next label set without changing anything. Any thread may call it.

        Args:
            labels: Labels, as names or specs.
            class_ids: The class id of each label; None: ids are assigned.
            force: Whether labels may change the ids they had before.

        Returns:
            The next label set, for `commit`.

        Raises:
            LabelError: The labels cannot be used.
        """

    def commit(self, planned: LabelSet) -> None:
        """Puts a planned label set in force. If that fails, the old labels stay.

        Args:
            planned: The result of `plan`.
        """

    def embed(self, rgb: NDArray[np.uint8]) -> Any:
        """Encodes an image.

        Args:
            rgb: [H,W,3] uint8 RGB.

        Returns:
            An `EmbeddingLike`.
        """

    def score(self, image: Any) -> SegmentationLike:
        """Segments an `EmbeddingLike` of this segmenter under the labels in force."""

    def query(self, image: Any, phrases: Sequence[str], output: tuple[int, int]) -> list[PhraseMatch]:
        """Scores phrases on an `EmbeddingLike` of this segmenter. The labels do not change.

        Args:
            image: The result of `embed`.
            phrases: Any phrases.
            output: Height and width of the results.

        Returns:
            A match for each phrase.

        Raises:
            LabelError: A phrase cannot be used.
        """

    def probe(self, image: Any, u: int, v: int, output: tuple[int, int]) -> PixelShares:
        """Returns the labels that compete at one pixel.

        Args:
            image: The result of `embed`.
            u: The pixel's column.
            v: The pixel's row.
            output: Height and width of the image that `u` and `v` refer to.

        Raises:
            LabelError: There is no such pixel, or no labels were set.
        """

    @property
    def weights(self) -> str:
        """The checksum of the weights, as `Taught` has it."""

    def marked(self, image: Any, marks: Marks, output: tuple[int, int]) -> NDArray[np.float32]:
        """Makes unit vectors of marked pixels.

        Args:
            image: An `EmbeddingLike` of this segmenter.
            marks: The pixels.
            output: Height and width of the picture in which they are marked.

        Returns:
            [n,D].

        Raises:
            LabelError: A mark is outside of the picture or is empty.
        """

    @property
    def basis(self) -> NDArray[np.float32]:
        """[D,R] float32, leads from coordinates to the space of `encode_text`."""

    def feature_grid(self, image: Any) -> FeatureGrid:
        """Returns the vectors of an `EmbeddingLike` of this segmenter."""

    def encode_text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Encodes phrases. The labels do not change.

        Args:
            phrases: N phrases.

        Returns:
            [N,D] float32 rows of length 1.

        Raises:
            LabelError: A phrase cannot be used.
        """

    def usage(self) -> dict[str, str]:
        """Returns the device and how much of its memory is in use, as text by name. Any thread may call it."""

    def release(self) -> None:
        """Frees the device's memory. Nothing else may be called afterwards."""
