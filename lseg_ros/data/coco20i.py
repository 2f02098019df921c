"""COCO-20i: COCO 2014, twenty classes held out in each of four folds."""

import pickle
import pickletools
import re
from pathlib import Path

import numpy as np

from lseg_ros.data.common import Sample, existing, package_lines, read_pair
from lseg_ros.data.episodes import TEST_EPISODES, Draw, EpisodeSet, Split, fold_classes, pick

LAYOUT = (
    "COCO2014/{train2014,val2014}/*.jpg with COCO2014/annotations/{train2014,val2014}/*.png, "
    "and HSNet's data/splits/coco as splits/coco/{trn,val}/fold{0,1,2,3}.pkl beside COCO2014"
)
# All that HSNet's files are made of. None of these calls anything or makes more than is in the file.
_HARMLESS = re.compile(
    "PROTO|FRAME|STOP|MARK|EMPTY_DICT|EMPTY_LIST|APPENDS?|SETITEMS?|"
    "BININT[12]?|(SHORT_)?BINUNICODE|(LONG_)?BIN(PUT|GET)|MEMOIZE"
)


class Coco20i(EpisodeSet):
    """Fold f tests the classes f, f+4, ... f+76 and trains on the others. 'val' and 'test' are the same.

    An episode is a random class and a random image of it. All come from one random stream, so episodes with a shot
    differ from those without. Source: HSNet's data/coco.py.
    """

    def __init__(self, root: Path, fold: int, split: Split, shots: int = 0, seed: int = 0) -> None:
        """Reads the lists of a fold.

        Args:
            root: The folder that holds `COCO2014` and `splits`.
            fold: 0 to 3.
            split: As in `EpisodeSet`.
            shots: As in `EpisodeSet`.
            seed: As in `EpisodeSet`.

        Raises:
            FileNotFoundError: A folder or a split list is missing; names it and the layout.
            ValueError: There is no such fold, or the split list is none.
        """
        super().__init__(split, shots, seed)
        self.labels = package_lines("labels/fewshot_coco.txt")
        self.class_ids = fold_classes(fold, list(range(fold, 80, 4)), len(self.labels), split)
        self._root = existing(root / "COCO2014", LAYOUT)
        self._masks = existing(self._root / "annotations", LAYOUT)
        path = existing(root / "splits" / "coco" / ("trn" if split == "trn" else "val") / f"fold{fold}.pkl", LAYOUT)
        self._of_class = read_split(path)
        empty = [c for c in self.class_ids if not self._of_class.get(c)]
        if empty:
            raise ValueError(f"{path} lists no image of class {empty[0]} ({self.labels[empty[0]]})")

    def __len__(self) -> int:
        if self.split != "trn":
            return TEST_EPISODES
        return len({file for files in self._of_class.values() for file in files})

    def _draw(self, index: int, rng: np.random.RandomState) -> Draw:
        class_id = self.class_ids[rng.choice(len(self.class_ids), 1, replace=False)[0]]
        query = pick(self._of_class[class_id], rng)
        return Draw(class_id, query, self._draw_shots(query, self._of_class[class_id], rng))

    def _read(self, file: str, class_id: int) -> Sample:
        paths = self._root / file, self._masks / Path(file).with_suffix(".png")
        image, ids = read_pair(*(existing(path, LAYOUT) for path in paths))
        return image, (ids == class_id + 1).astype(np.uint8)


def read_split(path: Path) -> dict[int, list[str]]:
    """Reads the files of each class from a pickle, which must hold only a dict from classes to lists of files.

    Raises:
        ValueError: The file holds something else. The message names the file. Nothing in it was run.
    """
    data = path.read_bytes()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # An index of the memo far beyond the file's size would allocate memory up to that index.
            far = opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(data)
            if far or not _HARMLESS.fullmatch(opcode.name):
                raise ValueError(f"it holds {opcode.name} {argument}")
        lists = pickle.loads(data)
    except (ValueError, pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not one of HSNet's split lists: {' '.join(str(error).split())}") from error
    if not isinstance(lists, dict) or not all(isinstance(c, int) and _is_files(v) for c, v in lists.items()):
        raise ValueError(f"{path} is not one of HSNet's split lists: they map classes to lists of image files")
    return lists


def _is_files(value: object) -> bool:
    """Returns whether a value is a list of files within the data set."""
    if not isinstance(value, list):
        return False
    return all(isinstance(file, str) and re.fullmatch(r"(train|val)2014/\w+\.jpg", file) for file in value)
