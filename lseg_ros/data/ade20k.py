"""ADE20K as in the scene parsing challenge 2016: 150 labels."""

from pathlib import Path
from typing import Literal

from lseg_ros.data.common import IGNORE, PairedFiles, package_lines, pair_files

LAYOUT = "ADEChallengeData2016/{images,annotations}/{training,validation} with .jpg images and .png annotations"


class Ade20k(PairedFiles):
    """20210 training or 2000 validation images. In the files 0 is unlabelled, 1 the first label.

    Source: the data set as sceneparsing.csail.mit.edu packs it; label texts of lang-seg's `get_labels`.
    """

    def __init__(self, root: Path, split: Literal["training", "validation"], quirks: bool = False) -> None:
        """
        Args:
            root: the folder that holds `ADEChallengeData2016`.
            split: which images.
            quirks: the original LSeg's label texts, to reproduce its figures: of each name the first word alone
                ('traffic' for 'traffic light', 'screen' for two labels), no synonyms. Else whole names and synonyms.

        Raises:
            FileNotFoundError: something is missing; names it and the layout.
        """
        folder = root / "ADEChallengeData2016"
        pairs = pair_files(folder / "images" / split, folder / "annotations" / split, LAYOUT)
        phrases = original_labels() if quirks else [line.split(";") for line in package_lines("labels/ade20k.txt")]
        ids = {value: value - 1 if value else IGNORE for value in range(len(phrases) + 1)}
        super().__init__(f"ADE20K {split}", phrases, pairs, ids)


def original_labels() -> list[list[str]]:
    """The text of each label in the original: the last field of its list's line, up to the first ';'."""
    lines = package_lines("labels/ade20k_objectInfo150.txt")[1:]  # the first holds the columns' names
    return [[line.split(",")[-1].split(";")[0]] for line in lines]
