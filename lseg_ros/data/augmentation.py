"""Augmentation: random crops of a picture and its mask."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.data.common import IGNORE, Sample


def random_view(sample: Sample, rng: np.random.Generator, crop: int, scale: tuple[float, float]) -> Sample:
    """Random resize, crop (padded with black and IGNORE), and mirror."""
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
    """`onto`, with small things of another crop of the same size where they are in theirs: each label that covers less
    than a tenth of it, with a probability of a half. A railing is then seen before hedges, houses and roads alike.

    Ghiasi et al., "Simple Copy-Paste", CVPR 2021; whole labels in place of objects as in ClassMix, WACV 2021.
    """
    (image, mask), (other, other_mask) = onto, of
    labels, counts = np.unique(other_mask, return_counts=True)
    small = labels[(labels != IGNORE) & (counts < 0.1 * other_mask.size)]
    chosen = np.isin(other_mask, small[rng.random(len(small)) < 0.5])
    return np.where(chosen[..., None], other, image), np.where(chosen, other_mask, mask)


def augment_as_original(sample: Sample, rng: np.random.Generator, crop: int, long_side: tuple[int, int]) -> Sample:
    """Mirror, resize to a random long side, pad to the right and below with black and IGNORE, crop; no other colours.

    Source: PyTorch-Encoding's BaseDataset, which the original LSeg trains ADE20K with.
    """
    image, mask = sample
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    factor = int(rng.integers(long_side[0], long_side[1] + 1)) / max(mask.shape)
    height, width = (max(1, int(n * factor + 0.5)) for n in mask.shape)
    image, mask = _random_crop(*resize_by_pil((image, mask), (width, height)), rng, crop)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def resize_by_pil(sample: Sample, size: tuple[int, int]) -> Sample:
    """To (width, height), as PyTorch-Encoding resizes: the image bilinear with antialias, the mask nearest."""
    image, mask = (Image.fromarray(np.ascontiguousarray(part)) for part in sample)
    return (
        np.array(image.resize(size, Image.Resampling.BILINEAR)),
        np.array(mask.resize(size, Image.Resampling.NEAREST)),
    )


def resize_as_hsnet(sample: Sample, side: int) -> Sample:
    """To a square, whatever the aspect, for training and test. Source: HSNet's data/dataset.py and data/pascal.py.

    The image by PIL's bilinear filter, which averages over what it shrinks, the mask by the pixel to the top left.
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


def recolour(image: NDArray[Any], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Light, its colour, saturation, contrast; at times a little blur, as of a lens in motion, or noise, as at dusk."""
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
