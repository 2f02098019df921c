"""The files that `lseg features` writes, one for each picture."""

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

_LONGEST_3DGS = 480  # pixels; what Feature-3DGS's own script shrinks larger images to
_PASSES_3DGS = 8  # that script sums four sizes, each mirrored too; in training, features weigh by their length
_ENLARGED = 2  # OpenScene's script shows images at this many times their size to the network


class FeatureFile(ABC):
    """A kind of file."""

    suffix: str
    """Of the file's name, behind the picture's."""

    def __init__(self, segmenter: Segmenter, *, multiscale: bool) -> None:
        """multiscale: take the slow evaluation of the original in place of one pass."""
        self._segmenter, self._multiscale = segmenter, multiscale

    @abstractmethod
    def name(self, stem: str) -> str:
        """The file's name for a picture whose name, without its suffix, is `stem`."""

    @abstractmethod
    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        """Writes the file.

        Args:
            path: Takes its name when it is whole.
            rgb: HxWx3 uint8.
            facts: About the picture, for formats that have a place for them.

        Raises:
            OSError: It cannot be written.
            ValueError: The picture does not fit what was asked for.
        """

    def _embedding(self, rgb: RGB) -> ImageEmbedding:
        return self._segmenter.embed_multiscale(rgb) if self._multiscale else self._segmenter.embed(rgb)


class Npz(FeatureFile):
    """NumPy's npz: a grid of vectors, or those of some pixels."""

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
        """
        Args:
            segmenter: Makes the vectors.
            multiscale: Take the slow evaluation of the original in place of one pass.
            dense: Write vectors in the space of the text, in place of coordinates and a basis.
            points: Write the vectors of these pixels alone, as `Segmenter.features_at` takes them.
            model: What the vectors come from.
        """
        super().__init__(segmenter, multiscale=multiscale)
        self._dense, self._points, self._model = dense, points, model

    def name(self, stem: str) -> str:
        return stem + self.suffix

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
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
    """As Feature-3DGS (Zhou et al., CVPR 2024) reads them: vectors that are no unit vectors, 480 pixels wide."""

    suffix = "_fmap_CxHxW.pt"

    def __init__(self, segmenter: Segmenter, *, multiscale: bool) -> None:
        super().__init__(segmenter, multiscale=multiscale)
        segmenter.net.to(segmenter.device)  # where it need not be, for a segmenter's own purposes

    def name(self, stem: str) -> str:
        return stem.split(".")[0] + self.suffix  # it looks for the name up to the first dot

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        segmenter = self._segmenter
        values, sizes = unnormalized(
            segmenter.net, rgb, segmenter.input_size, segmenter.precision, over_sizes=self._multiscale
        )
        scale = min(1.0, _LONGEST_3DGS / max(sizes.image))
        height, width = (max(1, round(side * scale)) for side in sizes.image)
        found = enlarged(values * _PASSES_3DGS, sizes, (height, width))
        if not found.isfinite().all():
            raise ValueError("the model's vectors are too long for float16, which this format has; use another format")
        _save(path, found)


class OpenScene(FeatureFile):
    """As the fusion scripts of OpenScene (Peng et al., CVPR 2023) index them: one vector for each pixel."""

    suffix = ".pt"

    def __init__(self, segmenter: Segmenter, *, multiscale: bool, input_size: int | None) -> None:
        """input_size: longest side in pixels that the network sees; None for twice each image's."""
        super().__init__(segmenter, multiscale=multiscale)
        self._input_size = input_size

    def name(self, stem: str) -> str:
        return stem.split(".")[0] + self.suffix

    def write(self, path: Path, rgb: RGB, facts: Mapping[str, Any]) -> None:
        size: Size = (rgb.shape[0], rgb.shape[1])
        self._segmenter.input_size = self._input_size or _ENLARGED * max(size)
        found = self._pixels(rgb, size)
        # Its script sums the picture and its mirror image.
        found += found if self._multiscale else self._pixels(np.ascontiguousarray(rgb[:, ::-1]), size).flip(-1)
        _save(path, found)

    def _pixels(self, rgb: RGB, size: Size) -> Tensor:
        """[D,*size] float16."""
        image = self._embedding(rgb)
        return enlarged(image.embedding, image.sizes, size)


@dataclass(frozen=True)
class Kind:
    """What was asked for: which files, and how their vectors are made. points: [N,2], for npz only."""

    format: str
    multiscale: bool
    dense: bool
    points: NDArray[Any] | None


def feature_file(kind: Kind, segmenter: Segmenter, model: Mapping[str, str], input_size: int | None) -> FeatureFile:
    """The format asked for.

    Args:
        kind: What was asked for.
        segmenter: Makes the vectors.
        model: What they come from, for formats that have a place for it.
        input_size: As it was asked for; None for the format's own.
    """
    if kind.format == "feature-3dgs":
        return Feature3dgs(segmenter, multiscale=kind.multiscale)
    if kind.format == "openscene":
        return OpenScene(segmenter, multiscale=kind.multiscale, input_size=input_size)
    return Npz(segmenter, multiscale=kind.multiscale, dense=kind.dense, points=kind.points, model=model)


def _save(path: Path, values: Tensor) -> None:
    with replacing(path) as part:
        torch.save(values, part)
