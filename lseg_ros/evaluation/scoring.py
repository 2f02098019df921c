"""Images embedded once, then scored under any text features, with the figures that `Segmenter` would give."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.data.common import IGNORE
from lseg_ros.evaluation.text_features import in_chunks
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.inference.preprocess import Geometry
from lseg_ros.inference.segmenter import ImageEmbedding, Segmenter
from lseg_ros.inference.upsampling import Best, best_labels
from lseg_ros.model.net import LSegNet


class Scorer:
    """A network that is not trained any more, as the node runs it: `Segmenter`'s sizes and precision."""

    def __init__(self, net: LSegNet, device: str = "auto", input_size: int | None = None) -> None:
        """As `Segmenter`, which takes ownership of the network; raises as it does."""
        self.segmenter = Segmenter(net, device, input_size=input_size)
        self.net = net

    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """N > 0 phrases -> [N,D] unit rows on the device; raises ValueError for a phrase that is too long."""
        return in_chunks(self.net.encode_text, phrases).to(self.segmenter.device)

    def embed(self, rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """HxWx3 uint8 RGB -> its embedding."""
        return self.segmenter.embed(rgb)

    def best(self, image: ImageEmbedding, text: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The label of each pixel, and how sure that is.

        Args:
            image: from `embed`.
            text: [N,D] with at most 255 unit rows.

        Returns:
            HxW rows of `text`, the first of equals, and HxW their share of the softmax, in [0, 1].
        """
        best = self._best(image, text)
        return best.index.cpu().numpy(), best.share.cpu().numpy()

    def labels(self, image: ImageEmbedding, text: Tensor) -> NDArray[np.uint8]:
        """The first of what `best` returns."""
        return self._best(image, text).index.cpu().numpy()

    def _best(self, image: ImageEmbedding, text: Tensor) -> Best:
        with torch.inference_mode():
            logits = self.net.logits(image.coordinates, text @ image.basis)
            return best_labels(logits, image.sizes, image.sizes.image)

    def multiscale(self, rgb: NDArray[np.uint8], words: Sequence[str]) -> NDArray[np.uint8]:
        """HxWx3 uint8 RGB -> HxW places in `words` by the original's evaluation over scales and mirror images."""
        # The names only have to differ: the original's list of ADE20K has one of its words twice.
        specs = [LabelSpec(f"{place}", place, (word,)) for place, word in enumerate(words)]
        self.segmenter.set_labels(specs, force=True)
        return self.segmenter.segment_multiscale(rgb).mask.astype(np.uint8)


def target_of_cells(target: NDArray[np.uint8], sizes: Geometry, cells: tuple[int, int]) -> NDArray[np.uint8]:
    """HxW ids of an image -> hxw ids, for each cell of its embedding that of the pixel it lies on; IGNORE in padding.

    Args:
        target: of the image's size.
        sizes: of the image's embedding.
        cells: h and w of the embedding; its corners lie on those of the padded image.
    """
    places = []
    for image, resized, padded, count in zip(sizes.image, sizes.resized, sizes.padded, cells, strict=True):
        position = np.linspace(0, padded - 1, count)
        pixel = np.floor((position + 0.5) * image / resized).astype(np.int64)
        places.append(np.where(position <= resized - 1, np.minimum(pixel, image - 1), -1))
    rows, columns = places
    found = target[np.ix_(rows, columns)]
    found[rows < 0] = IGNORE
    found[:, columns < 0] = IGNORE
    return found
