"""A plain folder of images, masks and label names."""

from pathlib import Path

from lseg_ros.data.common import IGNORE, PairedFiles, existing, pair_files

LAYOUT = "a folder with images/, masks/ (8-bit .png of the same names) and labels.txt (line n, from 0, names id n)"


class Folder(PairedFiles):
    """A user's own data. 255 in the masks is ignored."""

    def __init__(self, root: Path, upright: bool = True) -> None:
        """Lists the files.

        Args:
            root: The folder with `images`, `masks` and `labels.txt`.
            upright: Whether the masks belong to upright images, as those of `lseg segment` and most tools do. Otherwise
                they belong to images as they are stored.

        Raises:
            FileNotFoundError: Something is missing. The message names it and the layout.
            ValueError: labels.txt has an empty line, or more lines than there are ids.
        """
        path = existing(root / "labels.txt", LAYOUT)
        labels = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        if "" in labels:
            raise ValueError(f"{path}, line {labels.index('') + 1} is empty; each line names the label of one id")
        if len(labels) > IGNORE:
            raise ValueError(f"{path} has {len(labels)} lines; 8-bit masks have room for {IGNORE} labels")
        ids = {i: i for i in range(len(labels))} | {IGNORE: IGNORE}
        pairs = pair_files(root / "images", root / "masks", LAYOUT)
        super().__init__(root.resolve().name, [[label] for label in labels], pairs, ids, upright=upright)
