"""Images with masks from plain folders, as augmented crops."""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lseg_ros.training.config import SourceConfig
from lseg_ros.training.datasets.common import IGNORE, Dataset, Sample, pair_files, read_image, read_mask_of


class Source(Dataset):
    """One data set: RGB images and masks whose ids index `phrases`; 255 is ignored.

    All pictures are kept in memory once read.
    """

    def __init__(self, config: SourceConfig, root: Path) -> None:
        """Raises FileNotFoundError naming the first image folder or mask that is missing under `root`."""
        names: dict[str, int] = {}
        self.phrases: list[list[str]] = []
        self._tables: list[NDArray[np.uint8]] = []
        for layer in config.layers:
            table = np.full(256, IGNORE, np.uint8)
            for mask_id, phrases in layer.labels.items():
                if phrases[0] not in names:
                    names[phrases[0]] = len(self.phrases)
                    self.phrases.append(phrases)
                table[mask_id] = names[phrases[0]]
            self._tables.append(table)
        layout = "a folder of .jpg or .png images, and for each layer one of .png masks of the same names"
        layers = [pair_files(root / config.images, root / layer.masks, layout) for layer in config.layers]
        self._files = [(pairs[0][0], [mask for _, mask in pairs]) for pairs in zip(*layers, strict=True)]
        self.name = config.images
        self._cached = cache(self._read)

    def __len__(self) -> int:
        return len(self._files)

    def sample(self, index: int) -> Sample:
        """(HxWx3 RGB, HxW ids) of one picture; raises ValueError naming a file that cannot be decoded or fits not."""
        return self._cached(index)

    def _read(self, index: int) -> Sample:
        path, mask_paths = self._files[index]
        image = read_image(path)
        merged = np.full(image.shape[:2], IGNORE, np.uint8)
        for mask_path, table in zip(mask_paths, self._tables, strict=True):
            mask = read_mask_of(image, mask_path)
            merged = np.where(merged == IGNORE, table[mask], merged)
        return image, merged


def augment(sample: Sample, rng: np.random.Generator, crop: int, scale: tuple[float, float]) -> Sample:
    """Random resize, crop (padded with black and IGNORE), mirror, brightness and contrast."""
    image: NDArray[Any]
    mask: NDArray[Any]
    image, mask = sample
    factor = np.exp(rng.uniform(*np.log(scale)))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    top, left = (rng.integers(0, max(n - crop, 0) + 1) for n in mask.shape)
    image, mask = image[top : top + crop, left : left + crop], mask[top : top + crop, left : left + crop]
    bottom, right = crop - mask.shape[0], crop - mask.shape[1]
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    mask = cv2.copyMakeBorder(mask, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(IGNORE,))
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    jittered = image.astype(np.float32) * rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3) + rng.uniform(-25, 25)
    return np.clip(jittered, 0, 255).astype(np.uint8), np.ascontiguousarray(mask, dtype=np.uint8)
