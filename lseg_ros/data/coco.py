"""COCO instances. Their polygons become masks."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lseg_ros.data.common import IGNORE, Dataset, Sample, existing, read_image

LAYOUT = "COCO's annotations/instances_<split>.json beside a folder <split> with its images"


class CocoInstances(Dataset):
    """The images of a split that have annotations. Pixels outside all instances are IGNORE.

    Small instances cover large ones. Crowds are annotated as run-length-encoded regions that include the gaps between
    people, so they are IGNORE.
    """

    def __init__(self, root: Path, split: str) -> None:
        """Reads the annotations of a split.

        Args:
            root: The folder with `annotations` and the folders of images.
            split: Name of a folder of images, such as 'train2017'.

        Raises:
            FileNotFoundError: A folder or the annotations are missing; names it and the layout.
            ValueError: The annotations are no COCO instances, have boxes alone, or more categories than masks have ids.
        """
        self.name = f"COCO {split}"
        self._images = existing(root / split, LAYOUT)
        self._path = existing(root / "annotations" / f"instances_{split}.json", LAYOUT)
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            categories = sorted((int(c["id"]), str(c["name"])) for c in content["categories"])
            files = {int(i["id"]): str(i["file_name"]) for i in content["images"]}
            regions = defaultdict(list)
            for annotation in content["annotations"]:
                regions[files[annotation["image_id"]]].append(annotation)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path} is not a COCO instances file: {error!r}") from error
        if len(categories) > IGNORE:
            raise ValueError(
                f"{self._path} has {len(categories)} categories; 8-bit masks have room for {IGNORE} labels"
            )
        if regions and not any(region.get("segmentation", True) for found in regions.values() for region in found):
            raise ValueError(f"{self._path} has no outline of any object, in a 'segmentation'; boxes do not make masks")
        self.phrases = [[name] for _, name in categories]
        self._ids = {category: i for i, (category, _) in enumerate(categories)}
        self._samples = sorted(regions.items())

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, index: int) -> Sample:
        """Returns image `index` and its mask, as `Dataset.sample` does."""
        file, regions = self._samples[index]
        image = read_image(existing(self._images / file, LAYOUT))
        mask = np.full(image.shape[:2], IGNORE, np.uint8)
        try:
            for region in sorted(regions, key=lambda r: -float(r["area"])):
                self._draw(mask, region)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path}, annotations of {file}: {error!r}") from error
        return image, mask

    def _draw(self, mask: NDArray[np.uint8], region: dict[str, Any]) -> None:
        value = IGNORE if region.get("iscrowd") else self._ids[region["category_id"]]
        if isinstance(region["segmentation"], dict):
            mask[_decode(region["segmentation"], mask.shape)] = value
            return
        # One by one: parts drawn together cancel out where they overlap.
        for part in region["segmentation"]:
            points = np.array(part, np.float64).reshape(-1, 2).round().astype(np.int32)
            cv2.fillPoly(mask, [points], (value,))


def _decode(region: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Decodes run lengths into an [H,W] mask. They alternate between outside and inside, column by column."""
    counts = np.array(region["counts"], np.int64)
    height, width = shape
    if counts.sum() != height * width or counts.min() < 0:
        raise ValueError(f"the run lengths do not fill {width}x{height} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
