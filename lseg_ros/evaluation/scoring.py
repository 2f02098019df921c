"""Embeds images once and scores them under any text features, with the same numbers as `Segmenter`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.data.common import IGNORE
from lseg_ros.evaluation.text_features import in_chunks
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.inference.numerics import float32_products
from lseg_ros.inference.preprocess import Geometry
from lseg_ros.inference.segmenter import Segmenter
from lseg_ros.inference.winners import Best, best_labels
from lseg_ros.model.net import LSegNet


class Scorer:
    """Runs a network as the node does, with `Segmenter`'s sizes and precision."""

    def __init__(
        self, net: LSegNet, device: str = "auto", input_size: int | None = None, window: int | None = None
    ) -> None:
        """Builds a `Segmenter`, which raises its errors.

        Args:
            net: The network. It belongs to the segmenter from now on.
            device: As for `Segmenter`.
            input_size: As for `Segmenter`.
            window: As for `Segmenter`.
        """
        self.segmenter = Segmenter(net, device, input_size=input_size, window=window)
        self.net = net

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Encodes N > 0 phrases as [N,D] unit rows on the device. Raises ValueError for a phrase that is too long."""
        return in_chunks(self.net.encode_text, phrases).to(self.segmenter.device)

    def embed(self, rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """Embeds an [H,W,3] uint8 RGB image."""
        return self.segmenter.embed(rgb)

    def best(self, image: ImageEmbedding, text: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Finds the best text of each pixel and its confidence.

        Args:
            image: An embedding from `embed`.
            text: [N,D], at most 255 unit rows.

        Returns:
            [H,W] indices of rows of `text`, the first one of equals, and [H,W] shares of the softmax in [0, 1].
        """
        best = self._best(image, text)
        return best.index.cpu().numpy(), best.share.cpu().numpy()

    def labels(self, image: ImageEmbedding, text: Tensor) -> NDArray[np.uint8]:
        """Finds the best text of each pixel, without its confidence."""
        return self._best(image, text).index.cpu().numpy()

    def _best(self, image: ImageEmbedding, text: Tensor) -> Best:
        with torch.inference_mode(), float32_products(self.segmenter.device, tf32=False):
            logits = self.net.logits(image.coordinates, text @ image.basis)
            return best_labels(logits, image.sizes, image.sizes.image)

    def multiscale(self, rgb: NDArray[np.uint8], words: Sequence[str]) -> NDArray[np.uint8]:
        """Segments an [H,W,3] uint8 RGB image by the original's evaluation over scales and mirror images.

        Returns:
            [H,W] indices of `words`.
        """
        # The original's list of ADE20K has one word twice. Of words that are read alike the first one wins everywhere.
        first: dict[tuple[int, ...], LabelSpec] = {}
        for place, word in enumerate(words):
            first.setdefault(self.net.text_encoder.tokens(word), LabelSpec(f"{place}", place, (word,)))
        specs = list(first.values())
        self.segmenter.set_labels(specs, force=True)
        return self.segmenter.segment_multiscale(rgb).mask.astype(np.uint8)


def target_of_cells(target: NDArray[np.uint8], sizes: Geometry, cells: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns for each cell of an embedding the id of the pixel at its center.

    Args:
        target: [H,W] ids of the image.
        sizes: Sizes of the image and its embedding.
        cells: (h, w) of the embedding. Its corners lie on those of the padded image.

    Returns:
        [h,w] ids, IGNORE in the padding.
    """
    places = []
    for image, resized, padded, count in zip(sizes.image, sizes.resized, sizes.padded, cells, strict=True):
        position = np.linspace(0, padded - 1, count)
        pixel = np.floor((position + 0.5) * image / resized).astype(np.int64)
        places.append(np.where(position <= resized - 1, np.minimum(pixel, image - 1), -1))
    rows, columns = places
    ids = target[np.ix_(rows, columns)]
    ids[rows < 0] = IGNORE
    ids[:, columns < 0] = IGNORE
    return ids
