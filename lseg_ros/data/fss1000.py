"""FSS-1000: ten images of each of a thousand classes."""

from pathlib import Path

import numpy as np
from PIL import Image

from lseg_ros.data.common import Sample, existing, package_lines, read_image
from lseg_ros.data.episodes import Draw, EpisodeSet, Split

LAYOUT = "FSS-1000/<class>/{1..10}.jpg with {1..10}.png beside them"
# The splits as ranges of the list of names.
CLASSES: dict[Split, range] = {"trn": range(520), "val": range(520, 760), "test": range(760, 1000)}


class Fss1000(EpisodeSet):
    """520 classes to train, 240 to validate and 240 to test. Each image is the query of one episode.

    In a test with one shot, the first image of a class is the shot of all its episodes and no query. A mask is the
    pixels of at least 128. Source: HSNet's data/fss.py and its split lists, which are joined in
    labels/fewshot_fss.txt.
    """

    def __init__(self, root: Path, split: Split, shots: int = 0, seed: int = 0) -> None:
        """Lists the images of a split.

        Args:
            root: The folder that holds `FSS-1000`.
            split: As in `EpisodeSet`.
            shots: As in `EpisodeSet`.
            seed: As in `EpisodeSet`.

        Raises:
            FileNotFoundError: A class or its images are missing; names the folder and the layout.
        """
        super().__init__(split, shots, seed)
        self.labels = package_lines("labels/fewshot_fss.txt")
        self.class_ids = list(CLASSES[split])
        self._root = existing(root / "FSS-1000", LAYOUT)
        self._queries: list[tuple[str, int]] = []
        for class_id in self.class_ids:
            label = self.labels[class_id]
            images = sorted(p.name for p in existing(self._root / label, LAYOUT).glob("*.jpg"))
            if not images:
                raise FileNotFoundError(f"{self._root / label} holds no images; expected is {LAYOUT}")
            self._queries += [(f"{label}/{image}", class_id) for image in images if not self._one_shot_test(image)]

    def _one_shot_test(self, image: str) -> bool:
        """Returns whether the image is the one shot of its class in a test."""
        return self.split == "test" and self.shots == 1 and image == "1.jpg"

    def __len__(self) -> int:
        return len(self._queries)

    def _draw(self, index: int, rng: np.random.RandomState) -> Draw:
        query, class_id = self._queries[index % len(self._queries)]
        label = self.labels[class_id]
        if self.split == "test" and self.shots == 1:
            return Draw(class_id, query, (f"{label}/1.jpg",))
        return Draw(class_id, query, self._draw_shots(query, [f"{label}/{i}.jpg" for i in range(1, 11)], rng))

    def _read(self, file: str, class_id: int) -> Sample:
        image_path = existing(self._root / file, LAYOUT)
        mask_path = existing(image_path.with_suffix(".png"), LAYOUT)
        image = read_image(image_path)
        try:
            with Image.open(mask_path) as picture:
                mask = (np.array(picture.convert("L")) >= 128).astype(np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{mask_path} cannot be decoded as a mask; replace or remove it") from error
        if mask.shape != image.shape[:2]:
            raise ValueError(f"{mask_path} is {mask.shape} pixels and its image {image.shape[:2]}; they must be equal")
        return image, mask
