"""What all data sets share: the protocol, reading of pictures, and the sentence for what is missing."""

from abc import abstractmethod
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.images.sources import is_cut_short

IGNORE = 255
"""The id of pixels without a label."""

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""HxWx3 RGB and HxW ids; an id is a place in the data set's labels, or IGNORE."""


class Dataset(Protocol):
    """Images with a mask each.

    name: what reports call it. phrases: for each id the words that stand for it, the first is its label.
    """

    name: str
    phrases: list[list[str]]

    @property
    def labels(self) -> list[str]:
        """The label of each id."""
        return [phrases[0] for phrases in self.phrases]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Reads one picture; raises ValueError or FileNotFoundError naming the file that cannot be used."""


class PairedFiles(Dataset):
    """Images and masks of the same size, in files."""

    def __init__(
        self, name: str, phrases: list[list[str]], pairs: list[tuple[Path, Path]], ids: dict[int, int]
    ) -> None:
        """
        Args:
            name: as in `Dataset`.
            phrases: as in `Dataset`.
            pairs: (image, mask) files.
            ids: value in the masks (0..255) -> id or IGNORE; a mask with any other value is refused.
        """
        self.name, self.phrases, self._pairs = name, phrases, pairs
        self._table = np.full(256, IGNORE, np.uint8)
        self._table[list(ids)] = list(ids.values())
        self._known = np.isin(np.arange(256), list(ids))

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int) -> Sample:
        """As `Dataset.sample`."""
        image_path, mask_path = self._pairs[index]
        image, mask = read_pair(image_path, mask_path)
        unknown = np.setdiff1d(mask, np.flatnonzero(self._known))
        if unknown.size:
            raise ValueError(f"{mask_path} holds the id {unknown[0]}, which {self.name} has no label for")
        return image, self._table[mask]


def existing(path: Path, layout: str) -> Path:
    """The path; raises FileNotFoundError naming it and the layout expected where it is missing."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; expected is {layout}")
    return path


def pair_files(images: Path, masks: Path, layout: str) -> list[tuple[Path, Path]]:
    """(image, mask) for each .jpg, .jpeg or .png of a folder, in the order of names; masks are .png of the same stem.

    Raises:
        FileNotFoundError: a folder or a mask is missing, or there are no images; names it and `layout`.
    """
    found = sorted(p for p in existing(images, layout).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise FileNotFoundError(f"{images} holds no images; expected is {layout}")
    return [(p, existing(masks / f"{p.stem}.png", layout)) for p in found]


def package_lines(path: str) -> list[str]:
    """The lines of a list that the package brings; `path` is relative to lseg_ros/training."""
    return (files("lseg_ros.data") / path).read_text(encoding="utf-8").splitlines()


def read_pair(image_path: Path, mask_path: Path) -> Sample:
    """(HxWx3 RGB, HxW values of the mask); raises ValueError naming a file that cannot be decoded or does not fit."""
    image = read_image(image_path)
    return image, read_mask_of(image, mask_path)


def read_mask_of(image: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """HxW values of the mask of an image; raises ValueError naming a file that cannot be decoded or does not fit."""
    mask = read_mask(path)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"{path} is {mask.shape} pixels and its image {image.shape[:2]}; they must be equal")
    return mask


def read_image(path: Path) -> NDArray[np.uint8]:
    """HxWx3 RGB as stored, for so are masks: EXIF's orientation is ignored.

    Raises:
        ValueError: the file cannot be decoded; names it.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise ValueError(f"{path} cannot be decoded as an image; replace or remove it")
    if is_cut_short(path):
        raise ValueError(f"{path} is a JPEG without its end; replace or remove it")
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """HxW ids, of a palette's image (such as PASCAL VOC's) the indices; raises ValueError naming what is none."""
    try:
        with Image.open(path) as mask:
            if mask.mode in ("L", "P"):
                return np.array(mask, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # PIL has an exception for each way of being broken; the advice is the same
    raise ValueError(f"{path} is not an 8-bit single-channel mask; replace or remove it")
