"""PASCAL-5i: VOC 2012 with the additional masks of SBD, five classes held out in each of four folds."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from lseg_ros.data.common import IGNORE, Sample, existing, package_lines, read_pair
from lseg_ros.data.episodes import TEST_EPISODES, Draw, EpisodeSet, Split, fold_classes

LAYOUT = "VOC2012/JPEGImages/*.jpg with VOC2012/SegmentationClassAug/*.png"


class Pascal5i(EpisodeSet):
    """Fold f tests the classes 5f..5f+4 and trains on the others. 'val' and 'test' are the same.

    The boundaries of objects, 255 in the files, are IGNORE in a test and "others" in training. Source: HSNet's
    data/pascal.py and its split lists, which are part of this package.
    """

    def __init__(self, root: Path, fold: int, split: Split, shots: int = 0, seed: int = 0) -> None:
        """Reads the lists of a fold.

        Args:
            root: The folder that holds `VOC2012`.
            fold: 0 to 3.
            split: As in `EpisodeSet`.
            shots: As in `EpisodeSet`.
            seed: As in `EpisodeSet`.

        Raises:
            FileNotFoundError: A folder is missing; names it and the layout.
            ValueError: There is no such fold.
        """
        super().__init__(split, shots, seed)
        self.labels = package_lines("labels/fewshot_pascal.txt")
        self.class_ids = fold_classes(fold, list(range(5 * fold, 5 * fold + 5)), len(self.labels), split)
        self._images = existing(root / "VOC2012" / "JPEGImages", LAYOUT)
        self._masks = existing(root / "VOC2012" / "SegmentationClassAug", LAYOUT)
        # A fold's training list holds the images of its own classes.
        lists = [f"trn/fold{f}" for f in range(4) if f != fold] if split == "trn" else [f"val/fold{fold}"]
        self._queries: list[tuple[str, int]] = []
        self._of_class: defaultdict[int, list[str]] = defaultdict(list)
        for line in (line for name in lists for line in package_lines(f"splits/pascal/{name}.txt")):
            image, number = line.split("__")
            self._queries.append((image, int(number) - 1))
            self._of_class[int(number) - 1].append(image)

    def __len__(self) -> int:
        return len(self._queries) if self.split == "trn" else TEST_EPISODES

    def _draw(self, index: int, rng: np.random.RandomState) -> Draw:
        query, class_id = self._queries[index % len(self._queries)]
        return Draw(class_id, query, self._draw_shots(query, self._of_class[class_id], rng))

    def _read(self, file: str, class_id: int) -> Sample:
        paths = self._images / f"{file}.jpg", self._masks / f"{file}.png"
        image, ids = read_pair(*(existing(path, LAYOUT) for path in paths))
        mask = (ids == class_id + 1).astype(np.uint8)
        if self.split != "trn":
            mask[ids == IGNORE] = IGNORE
        return image, mask
