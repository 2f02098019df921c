"""Photographs, labels and networks for the measurements."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lseg_ros import load_model
from lseg_ros.data.camvid import LABELS as CAMVID
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import build_text_encoder
from lseg_ros.model.variants import variant_named

ROOT = Path(__file__).parents[1]


def photos(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Returns photographs of scikit-learn and scikit-image, cropped and resized, or drawn pictures without these."""
    try:
        import skimage.data
        import sklearn.datasets
    except ImportError:
        sources = [_drawn(seed) for seed in range(5)]
    else:
        sources = [sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
        sources += [skimage.data.coffee(), skimage.data.astronaut(), skimage.data.chelsea()]
    return [_fitted(np.asarray(source, np.uint8), width, height) for source in sources]


def _drawn(seed: int) -> NDArray[np.uint8]:
    """Returns a 480x640x3 picture with smooth colors and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def _fitted(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = rgb.shape[:2]
    scale = min(columns / width, rows / height)
    top, left = (rows - round(scale * height)) // 2, (columns - round(scale * width)) // 2
    cut = rgb[top : top + round(scale * height), left : left + round(scale * width)]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def labels(count: int) -> list[str]:
    """Returns CamVid's eleven labels, or the first `count` of ADE20K's 150."""
    if count == len(CAMVID):
        return list(CAMVID)
    return [spec.name for spec in read_label_file(ROOT / "config/labels/ade20k.yaml")][:count]


def network(model: str) -> LSegNet:
    """Builds a network, with its weights if they come with the package, else with random ones of full size."""
    variant = variant_named(model)
    if variant.weights is not None:
        return load_model(model)
    torch.manual_seed(0)
    net = LSegNet(variant, build_text_encoder(variant)).eval()
    _spread(net, photos(variant.input_size, variant.input_size)[0])
    return net


@torch.inference_mode()
def _spread(net: LSegNet, rgb: NDArray[np.uint8]) -> None:
    """Makes the pixels of a random network differ. They would be alike, and one label would win everywhere."""
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 127.5 - 1
    bias = net.decoder.head.bias
    assert bias is not None
    bias -= net.decoder(net.encoder(x)).mean((0, 2, 3))
