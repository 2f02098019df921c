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
        """Lists the files of a split.

        Args:
            root: The folder that holds `ADEChallengeData2016`.
            split: The split.
            quirks: Whether to use the original LSeg's label texts, which reproduce its figures: only the first word of
                each name ('traffic' for 'traffic light', 'screen' for two labels), no synonyms.

        Raises:
            FileNotFoundError: Something is missing; names it and the layout.
        """
        folder = root / "ADEChallengeData2016"
        pairs = pair_files(folder / "images" / split, folder / "annotations" / split, LAYOUT)
        phrases = original_labels() if quirks else [line.split(";") for line in package_lines("labels/ade20k.txt")]
        ids = {value: value - 1 if value else IGNORE for value in range(len(phrases) + 1)}
        super().__init__(f"ADE20K {split}", phrases, pairs, ids)


def original_labels() -> list[list[str]]:
    """Returns the original's label texts: the last field of each line of its list, up to the first ';'."""
    lines = package_lines("labels/ade20k_objectInfo150.txt")[1:]  # the first line names the columns
    return [[line.split(",")[-1].split(";")[0]] for line in lines]
