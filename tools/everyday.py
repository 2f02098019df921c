"""Makes the pictures of docs/what_it_sees.md: twelve photographs and what a model sees in them.

    python tools/everyday.py [MODEL]

The photographs come with scikit-image, scikit-learn and matplotlib, which the environment has anyway. Each picture
shows the photograph beside its overlay. The labels that cover at least 2 % of it are printed.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lseg_ros import Segmenter, load_model
from lseg_ros.inference.labels import LabelSet
from lseg_ros.inference.render import overlay

OUT = Path("docs/pictures")
LABELS = (
    ["sky", "building", "wall", "floor", "ceiling", "road", "sidewalk", "grass", "earth", "tree", "plant", "flower"]
    + ["water", "mountain", "fence", "window", "door", "person", "cat", "dog", "bird", "car", "motorcycle", "bicycle"]
    + ["airplane", "boat", "chair", "table", "couch", "bed", "cup", "spoon", "bottle", "book", "clock", "flag"]
)
PHOTOS = {
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "clock": ("skimage", "data/clock_motion.png"),
    "photographer": ("skimage", "data/camera.png"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "lawn": ("skimage", "data/grass.png"),
    "bricks": ("skimage", "data/brick.png"),
    "coins": ("skimage", "data/coins.png"),
}
WIDTH = 320  # pixels of each half
LEAST = 0.02  # share of a photograph; smaller ones are neither drawn nor printed
UNNAMED = 255  # no label has this id


def photograph(package: str, path: str) -> NDArray[np.uint8]:
    """Reads [H,W,3] RGB from an installed package."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed; run: make env"
    bgr = cv2.imread(str(Path(spec.origin).parent / path))
    assert bgr is not None, f"{package} has no {path}"
    return np.ascontiguousarray(bgr[..., ::-1])


def by_share(labels: LabelSet, mask: NDArray[np.integer]) -> dict[str, float]:
    """Returns the labels' shares of a mask, the largest first, without those below LEAST."""
    shares = {label.name: float((mask == label.class_id).mean()) for label in labels.labels}
    return {name: share for name, share in sorted(shares.items(), key=lambda x: -x[1]) if share >= LEAST}


def main() -> None:
    """Writes a picture for each photograph."""
    segmenter = Segmenter(load_model(sys.argv[1] if len(sys.argv) > 1 else "lseg_mini"), device="cpu")
    segmenter.set_labels(LABELS)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, place in PHOTOS.items():
        rgb = photograph(*place)
        height = round(rgb.shape[0] * WIDTH / rgb.shape[1])
        result = segmenter.segment(rgb)
        small = np.asarray(cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(result.mask, (WIDTH, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        found = by_share(result.labels, result.mask)
        named = tuple(label for label in result.labels.labels if label.name in found)
        mask = np.where(np.isin(mask, [label.class_id for label in named]), mask, UNNAMED)
        picture = np.hstack([small, overlay(small, mask, LabelSet(labels=named))])
        cv2.imwrite(str(OUT / f"{name}.jpg"), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        print(name, ", ".join(f"{label} {share:.0%}" for label, share in found.items()))


if __name__ == "__main__":
    main()
