"""The parts that all data sets share: the protocol, the reading of pictures, and the message about missing files."""

import logging
from abc import abstractmethod
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.images.photos import SourceError, exif_orientation, read_photo
from lseg_ros.images.sources import photos_in

logger = logging.getLogger(__name__)

IGNORE = 255
"""The id of pixels without a label."""

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image [H,W,3] RGB and its ids [H,W]. An id is an index of the data set's labels, or IGNORE."""


class Dataset(Protocol):
    """Images with one mask each.

    Attributes:
        name: The name in reports.
        phrases: For each id the words that stand for it. The first one is its label.
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
        """Reads one picture.

        Raises:
            ValueError: A file cannot be used. The message names it.
            FileNotFoundError: A file is missing. The message names it.
        """


class PairedFiles(Dataset):
    """Images and masks of the same size, in files."""

    def __init__(
        self,
        name: str,
        phrases: list[list[str]],
        pairs: list[tuple[Path, Path]],
        ids: dict[int, int],
        *,
        upright: bool = False,
    ) -> None:
        """Prepares the data set.

        Args:
            name: As in `Dataset`.
            phrases: As in `Dataset`.
            pairs: (image, mask) files.
            ids: From a value in the masks (0..255) to an id or IGNORE. A mask with any other value is refused.
            upright: As in `read_image`.
        """
        self.name, self.phrases, self._pairs = name, phrases, pairs
        self._read_image = ImageReader(upright=upright)
        self._table = np.full(256, IGNORE, np.uint8)
        self._table[list(ids)] = list(ids.values())
        self._known = np.isin(np.arange(256), list(ids))

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int) -> Sample:
        """As `Dataset`."""
        image_path, mask_path = self._pairs[index]
        image = self._read_image(image_path)
        mask = read_mask_of(image, mask_path, image_path)
        unknown = np.setdiff1d(mask, np.flatnonzero(self._known))
        if unknown.size:
            raise ValueError(f"{mask_path} holds the id {unknown[0]}, which {self.name} has no label for")
        return image, self._table[mask]


def existing(path: Path, layout: str) -> Path:
    """Returns a path that has to exist.

    Args:
        path: The path.
        layout: The expected layout, for the message.

    Raises:
        FileNotFoundError: It is missing. The message names it and the layout.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; expected is {layout}")
    return path


def pair_files(images: Path, masks: Path, layout: str) -> list[tuple[Path, Path]]:
    """Pairs the photos of a folder with the .png masks of the same names.

    Args:
        images: Folder of photos, in any readable format. Other files are left out, and the log names them.
        masks: Folder of masks.
        layout: The expected layout, for the message.

    Returns:
        (image, mask) in the order of names.

    Raises:
        FileNotFoundError: A folder or a mask is missing, or there are no images. The message names it and the layout.
    """
    try:
        photos = photos_in(existing(images, layout), logger.warning)
    except SourceError as error:
        raise FileNotFoundError(f"{images} holds no images; expected is {layout}") from error
    return [(p, existing(masks / f"{p.stem}.png", layout)) for p in photos]


def package_lines(path: str) -> list[str]:
    """Returns the lines of a text file in this package.

    Args:
        path: Relative to lseg_ros/data.
    """
    return (files("lseg_ros.data") / path).read_text(encoding="utf-8").splitlines()


def read_pair(image_path: Path, mask_path: Path) -> Sample:
    """Reads an image and its mask, as `read_image` and `read_mask_of` do.

    Args:
        image_path: The image.
        mask_path: The mask.

    Returns:
        [H,W,3] RGB, and the mask's values [H,W].

    Raises:
        ValueError: A file cannot be decoded, or the two have different sizes. The message names it.
    """
    image = read_image(image_path)
    return image, read_mask_of(image, mask_path, image_path)


def read_mask_of(image: NDArray[np.uint8], path: Path, image_path: Path) -> NDArray[np.uint8]:
    """Reads the mask of an image.

    Args:
        image: [H,W,3] RGB.
        path: The mask.
        image_path: The image, for the message.

    Returns:
        [H,W] values.

    Raises:
        ValueError: The mask cannot be decoded or has another size.
    """
    mask = read_mask(path)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"{path} is {mask.shape} pixels and its image {image.shape[:2]}; they must be equal"
            + _turned(mask, image, image_path)
        )
    return mask


def _turned(mask: NDArray[np.uint8], image: NDArray[np.uint8], image_path: Path) -> str:
    """Returns advice if the mask fits the image once the image is turned by its EXIF data, or is not turned."""
    if mask.shape != image.shape[1::-1] or exif_orientation(image_path) == 1:
        return ""
    return (
        f"; the image's EXIF data turn it (orientation {exif_orientation(image_path)}): masks of upright images take "
        "'upright: true' in the data set's entry, masks of images as stored 'upright: false'"
    )


def read_image(path: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """Reads an image of a data set.

    Args:
        path: The image.
        upright: Whether the masks belong to upright images, as people see them. Otherwise they belong to images as they
            are stored, as in all published data sets here. The two differ if a phone's photo has EXIF data about it.

    Returns:
        [H,W,3] RGB.

    Raises:
        ValueError: The file cannot be decoded. The message names it.
    """
    try:
        return read_photo(path, upright=upright)
    except SourceError as error:
        raise ValueError(f"{error}; replace or remove it") from error


class ImageReader:
    """Reads the images of a data set, and warns once if the EXIF orientation of one matters."""

    def __init__(self, *, upright: bool) -> None:
        """Prepares the reader.

        Args:
            upright: As in `read_image`.
        """
        self._upright = upright
        self._warned = False

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """As `read_image`."""
        image = read_image(path, upright=self._upright)
        orientation = 1 if self._warned else exif_orientation(path)
        if orientation != 1:
            self._warned = True
            how, other = ("turned upright", "false") if self._upright else ("left as it is stored", "true")
            logger.warning(
                "%s is %s, and its EXIF orientation is %d; further ones are read alike; if masks were made "
                "otherwise, they do not fit: set 'upright: %s' in the data set's entry",
                path,
                how,
                orientation,
                other,
            )
        return image


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Reads [H,W] ids. Of an image with a palette, such as PASCAL VOC's, it reads the indices.

    Raises:
        ValueError: The file is no such mask. The message names it.
    """
    try:
        with Image.open(path) as mask:
            if mask.mode in ("L", "P"):
                return np.array(mask, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # PIL raises many classes for broken files; the advice is the same
    raise ValueError(f"{path} is not an 8-bit single-channel mask; replace or remove it")
