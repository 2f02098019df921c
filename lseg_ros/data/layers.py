"""Images with one or more folders of masks. The configuration names the ids of the masks."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lseg_ros.data.common import IGNORE, Dataset, ImageReader, Sample, pair_files, read_mask_of

KEPT_IN_MEMORY = 2**30  # bytes of images and masks, so that small sets are read once and not in every epoch
LAYOUT = "a folder of .jpg or .png images, and for each layer one of .png masks of the same names"


class Layers(Dataset):
    """A folder of images and one or more folders of masks. The first layer that has a label for a pixel decides."""

    def __init__(
        self,
        images: Path,
        layers: Sequence[tuple[Path, Mapping[int, Sequence[str]]]],
        only: Sequence[str] = ("*",),
        leave_out: Sequence[str] = (),
        upright: bool = False,
    ) -> None:
        """Lists the files.

        Args:
            images: Folder of .jpg and .png files.
            layers: For each layer its folder of 8-bit masks and the phrases of its ids. Ids without phrases become
                IGNORE. Labels with the same first phrase are one label.
            only: Patterns of the image names to take.
            leave_out: Patterns of the image names to leave out.
            upright: As in `read_image`.

        Raises:
            FileNotFoundError: A folder or a mask is missing, or no image is left. The message names it.
            ValueError: There are more labels than 8-bit masks have ids.
        """
        self.name = images.parent.name if images.name == "images" else images.name
        names: dict[str, int] = {}
        self.phrases: list[list[str]] = []
        self._tables: list[NDArray[np.uint8]] = []
        for _, labels in layers:
            table = np.full(256, IGNORE, np.uint8)
            for mask_id, phrases in labels.items():
                if phrases[0] not in names:
                    names[phrases[0]] = len(self.phrases)
                    self.phrases.append(list(phrases))
                if names[phrases[0]] >= IGNORE:
                    raise ValueError(f"{images} has more than {IGNORE} labels; 8-bit masks have no room for them")
                table[mask_id] = names[phrases[0]]
            self._tables.append(table)
        paired = [pair_files(images, masks, LAYOUT) for masks, _ in layers]
        self._files = [
            (pairs[0][0], [mask for _, mask in pairs])
            for pairs in zip(*paired, strict=True)
            if _taken(pairs[0][0].name, only, leave_out)
        ]
        if not self._files:
            raise FileNotFoundError(f"{images}: no image is left by the patterns {[*only]} without {[*leave_out]}")
        self._read_image = ImageReader(upright=upright)
        self._kept: dict[int, Sample] = {}
        self._room = KEPT_IN_MEMORY

    def __len__(self) -> int:
        return len(self._files)

    def sample(self, index: int) -> Sample:
        """Returns image `index` and its mask, as `Dataset.sample` does."""
        sample = self._kept.get(index)
        if sample is None:
            sample = self._read(index)
            size = sum(part.nbytes for part in sample)
            if size <= self._room:
                self._room -= size
                self._kept[index] = sample
        return sample

    def _read(self, index: int) -> Sample:
        path, mask_paths = self._files[index]
        image = self._read_image(path)
        merged = np.full(image.shape[:2], IGNORE, np.uint8)
        for mask_path, table in zip(mask_paths, self._tables, strict=True):
            mask = read_mask_of(image, mask_path, path)
            merged = np.where(merged == IGNORE, table[mask], merged)
        return image, merged


def _taken(name: str, only: Sequence[str], leave_out: Sequence[str]) -> bool:
    return any(fnmatch(name, p) for p in only) and not any(fnmatch(name, p) for p in leave_out)
