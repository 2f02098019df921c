"""The file formats of `lseg features`. There is one file for each picture."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.files import replacing
from lseg_ros.images.photos import RGB
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.features import checked_points, enlarged, feature_map, unnormalized
from lseg_ros.inference.preprocess import Size
from lseg_ros.inference.segmenter import Segmenter

_LONGEST_3DGS = 480  # pixels; Feature-3DGS's own script shrinks larger images to this side
_PASSES_3DGS = 8  # that script sums four sizes and their mirror images; in training, a feature's length is its weight
_ENLARGED = 2  # OpenScene's script enlarges images by this factor


class FeatureFile(ABC):
    """Writes files of one format."""

    suffix: str
    """The end of the file's name, after the picture's name."""

    def __init__(self, segmenter: Segmenter, *, multiscale: bool) -> None:
        """Prepares the format.

        Args:
            segmenter: Computes the vectors.
            multiscale: Whether to use the slow evaluation of the original instead of one pass.
        """
        self._segmenter, self._multiscale = segmenter, multiscale

    @abstractmethod
    def name(self, stem: str) -> str:
        """Returns the file's name.

        Args:
            stem: The picture's name without its suffix.
        """

    @abstractmethod
    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        """Writes the file.

        Args:
            path: The file to write. It appears when it is complete.
            rgb: [H,W,3] uint8 RGB.
            facts: Facts about the picture, for formats that can hold them.

        Raises:
            OSError: The file cannot be written.
            ValueError: The picture does not fit the options.
        """

    def _embedding(self, rgb: RGB) -> ImageEmbedding:
        return self._segmenter.embed_multiscale(rgb) if self._multiscale else self._segmenter.embed(rgb)


class Npz(FeatureFile):
    """NumPy's npz with a grid of vectors, or with the vectors of some pixels."""

    suffix = ".npz"

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        multiscale: bool,
        dense: bool,
        points: NDArray[Any] | None,
        model: Mapping[str, str],
    ) -> None:
        """Prepares the format.

        Args:
            segmenter: Computes the vectors.
            multiscale: Whether to use the slow evaluation of the original instead of one pass.
            dense: Whether to write vectors in the space of the text instead of coordinates and a basis.
            points: The pixels whose vectors are written, as for `Segmenter.features_at`; None for a grid.
            model: Facts about the model.
        """
        super().__init__(segmenter, multiscale=multiscale)
        self._dense, self._points, self._model = dense, points, model

    def name(self, stem: str) -> str:
        """As `FeatureFile`."""
        return stem + self.suffix

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        """As `FeatureFile`."""
        grid = feature_map(self._embedding(rgb))
        basis = grid.basis.cpu().numpy()
        arrays: dict[str, Any] = {}
        if self._points is not None:
            arrays["points"] = checked_points(self._points, grid.image)
            coordinates = grid.at(self._points)
            vectors = coordinates @ basis.T if self._dense else coordinates
        else:
            arrays |= {"scale": np.array(grid.scale), "offset": np.array(grid.offset)}
            vectors = (grid.vectors() if self._dense else grid.coordinates).cpu().numpy()
        arrays |= (
            {"features": vectors.astype(np.float16)}
            if self._dense
            else {
                "coordinates": vectors.astype(np.float16),
                "basis": basis,
            }
        )
        arrays |= {"image_size": np.array(grid.image), **self._model, **facts}
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **arrays)


class Feature3dgs(FeatureFile):
    """The format of Feature-3DGS (Zhou et al., CVPR 2024): vectors that are not normalized, 480 pixels wide."""

    suffix = "_fmap_CxHxW.pt"

    def __init__(self, segmenter: Segmenter, *, multiscale: bool) -> None:
        """As `FeatureFile`."""
        super().__init__(segmenter, multiscale=multiscale)
        segmenter.net.to(segmenter.device)  # a segmenter itself does not need it there

    def name(self, stem: str) -> str:
        """As `FeatureFile`."""
        return stem.split(".")[0] + self.suffix  # Feature-3DGS looks for the name up to the first dot

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        """As `FeatureFile`."""
        segmenter = self._segmenter
        values, sizes = unnormalized(
            segmenter.net,
            rgb,
            segmenter.input_size,
            segmenter.precision,
            window=segmenter.window,
            over_sizes=self._multiscale,
        )
        scale = min(1.0, _LONGEST_3DGS / max(sizes.image))
        height, width = (max(1, round(side * scale)) for side in sizes.image)
        features = enlarged(values * _PASSES_3DGS, sizes, (height, width))
        if not features.isfinite().all():
            raise ValueError("the model's vectors are too long for float16, which this format has; use another format")
        _save(path, features)


class OpenScene(FeatureFile):
    """The format of OpenScene's fusion scripts (Peng et al., CVPR 2023): one vector for each pixel."""

    suffix = ".pt"

    def __init__(self, segmenter: Segmenter, *, multiscale: bool, input_size: int | None) -> None:
        """Prepares the format.

        Args:
            segmenter: Computes the vectors.
            multiscale: Whether to use the slow evaluation of the original instead of one pass.
            input_size: Longest side in pixels that the network sees; None for twice each image's.
        """
        super().__init__(segmenter, multiscale=multiscale)
        self._input_size = input_size

    def name(self, stem: str) -> str:
        """As `FeatureFile`."""
        return stem.split(".")[0] + self.suffix

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        """As `FeatureFile`."""
        size: Size = (rgb.shape[0], rgb.shape[1])
        self._segmenter.input_size = self._input_size or _ENLARGED * max(size)
        features = self._pixels(rgb, size)
        # OpenScene's script sums the picture and its mirror image.
        features += features if self._multiscale else self._pixels(np.ascontiguousarray(rgb[:, ::-1]), size).flip(-1)
        _save(path, features)

    def _pixels(self, rgb: RGB, size: Size) -> Tensor:
        """Returns [D,*size] float16."""
        image = self._embedding(rgb)
        return enlarged(image.embedding, image.sizes, size)


@dataclass(frozen=True)
class Kind:
    """The requested format and its options.

    Attributes:
        format: npz, feature-3dgs or openscene.
        multiscale: Whether to use the slow evaluation of the original instead of one pass.
        dense: Whether to write vectors in the space of the text; for npz only.
        points: [N,2], the pixels whose vectors are written; for npz only.
    """

    format: str
    multiscale: bool
    dense: bool
    points: NDArray[Any] | None


def feature_file(kind: Kind, segmenter: Segmenter, model: Mapping[str, str], input_size: int | None) -> FeatureFile:
    """Creates the requested format.

    Args:
        kind: The requested format and its options.
        segmenter: Computes the vectors.
        model: Facts about the model, for formats that can hold them.
        input_size: The requested size; None for the format's default.
    """
    if kind.format == "feature-3dgs":
        return Feature3dgs(segmenter, multiscale=kind.multiscale)
    if kind.format == "openscene":
        return OpenScene(segmenter, multiscale=kind.multiscale, input_size=input_size)
    return Npz(segmenter, multiscale=kind.multiscale, dense=kind.dense, points=kind.points, model=model)


def _save(path: Path, values: Tensor) -> None:
    with replacing(path) as part:
        torch.save(values, part)
