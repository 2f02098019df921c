"""Augmentation: random changes of an image together with its mask."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.data.common import IGNORE, Sample


def random_view(sample: Sample, rng: np.random.Generator, crop: int, scale: tuple[float, float]) -> Sample:
    """Resizes, crops and mirrors a sample at random.

    Args:
        sample: Image and mask.
        rng: Source of the random draws.
        crop: Side of the square crop in pixels. Smaller images are padded with black and IGNORE.
        scale: Smallest and largest factor of the resize.
    """
    image: NDArray[Any]
    mask: NDArray[Any]
    image, mask = sample
    factor = np.exp(rng.uniform(*np.log(scale)))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    image, mask = _random_crop(image, mask, rng, crop)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask, dtype=np.uint8)


def paste(onto: Sample, of: Sample, rng: np.random.Generator) -> Sample:
    """Pastes small things of one crop onto another, at the same place.

    Each label that covers less than a tenth of `of` is pasted with probability 0.5. So the network sees a railing in
    front of hedges, houses and roads alike. Sources: Ghiasi et al., "Simple Copy-Paste", CVPR 2021, for the idea;
    ClassMix, WACV 2021, for whole labels instead of objects.

    Args:
        onto: The crop that is pasted onto.
        of: The crop that things are taken from, of the same size.
        rng: Source of the random draws.
    """
    (image, mask), (other, other_mask) = onto, of
    labels, counts = np.unique(other_mask, return_counts=True)
    small = labels[(labels != IGNORE) & (counts < 0.1 * other_mask.size)]
    chosen = np.isin(other_mask, small[rng.random(len(small)) < 0.5])
    return np.where(chosen[..., None], other, image), np.where(chosen, other_mask, mask)


def augment_as_original(sample: Sample, rng: np.random.Generator, crop: int, long_side: tuple[int, int]) -> Sample:
    """Mirrors, resizes to a random long side, pads at the right and the bottom, and crops. Colors stay.

    Source: PyTorch-Encoding's BaseDataset, with which the original LSeg trains on ADE20K.

    Args:
        sample: Image and mask.
        rng: Source of the random draws.
        crop: Side of the square crop in pixels. Padding is black and IGNORE.
        long_side: Smallest and largest long side in pixels.
    """
    image, mask = sample
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    factor = int(rng.integers(long_side[0], long_side[1] + 1)) / max(mask.shape)
    height, width = (max(1, int(n * factor + 0.5)) for n in mask.shape)
    image, mask = _random_crop(*resize_by_pil((image, mask), (width, height)), rng, crop)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def resize_by_pil(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resizes to (width, height) as PyTorch-Encoding does: the image bilinear with antialias, the mask nearest."""
    image, mask = (Image.fromarray(np.ascontiguousarray(part)) for part in sample)
    return (
        np.array(image.resize(size, Image.Resampling.BILINEAR)),
        np.array(mask.resize(size, Image.Resampling.NEAREST)),
    )


def resize_as_hsnet(sample: Sample, side: int) -> Sample:
    """Resizes to a square of `side` pixels without regard to the aspect, in training and in tests.

    PIL's bilinear filter, which antialiases, resizes the image. The mask takes the pixel to the top left. Source: the
    files data/dataset.py and data/pascal.py of HSNet.
    """
    image, mask = sample
    resized = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
    rows, columns = (np.arange(side) * n // side for n in mask.shape)
    return resized, mask[np.ix_(rows, columns)]


def _random_crop(
    image: NDArray[Any], mask: NDArray[Any], rng: np.random.Generator, crop: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    top, left = (rng.integers(0, max(n - crop, 0) + 1) for n in mask.shape)
    image, mask = image[top : top + crop, left : left + crop], mask[top : top + crop, left : left + crop]
    bottom, right = crop - mask.shape[0], crop - mask.shape[1]
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    mask = cv2.copyMakeBorder(mask, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(IGNORE,))
    return image, mask


def recolor(image: NDArray[Any], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Changes brightness, tint, saturation and contrast at random, and at times adds a little blur or noise.

    Args:
        image: [H,W,3] uint8 RGB.
        rng: Source of the random draws.
        strength: Strength of the changes, 0 to 2.
    """
    x = image.astype(np.float32)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * (1 + strength * rng.uniform(-0.4, 0.4))
    x = x * (1 + strength * rng.uniform(-0.3, 0.3)) * (1 + strength * rng.uniform(-0.1, 0.1, 3))
    x = 255 * (np.clip(x, 0, 255) / 255) ** np.exp(strength * rng.uniform(-0.35, 0.35))
    x = x + strength * rng.uniform(-25, 25)
    kind = rng.random()
    if kind < 0.1 * strength:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.2))
    elif kind < 0.2 * strength:
        x = x + rng.normal(0, rng.uniform(2, 10), x.shape).astype(np.float32)
    return np.clip(x, 0, 255).astype(np.uint8)
