"""Few-shot episodes by the protocol of HSNet (github.com/juhongm999/hsnet), which LSeg's zero-shot figures follow.

An episode is an image and one class to find in it. Its shots are more images of that class. The original also learns
from the shots in training; in a test LSeg uses only the image and the name of the class.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lseg_ros.data.common import Sample

TEST_EPISODES = 1000

Split = Literal["trn", "val", "test"]


@dataclass(frozen=True)
class Draw:
    """The parts of an episode, as the split lists name them.

    Attributes:
        class_id: The class.
        query: File of the image.
        shots: Files of the shots.
    """

    class_id: int
    query: str
    shots: tuple[str, ...]


@dataclass(frozen=True)
class Episode:
    """An episode with its images.

    Attributes:
        image: [H,W,3] RGB.
        mask: [H,W] with 1 for the class, 0 for others, IGNORE for pixels that do not count.
        class_id: The class.
        class_name: Its name.
        shots: Images and masks of the shots.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    class_id: int
    class_name: str
    shots: tuple[Sample, ...]

    @property
    def labels(self) -> list[str]:
        """The two texts that compete. Their indices are the ids in `mask`."""
        return ["others", self.class_name]


class EpisodeSet(ABC):
    """The episodes of one split.

    Attributes:
        labels: Names of all classes.
        class_ids: The classes of this split, as indices of `labels`.
    """

    labels: list[str]
    class_ids: list[int]

    def __init__(self, split: Split, shots: int, seed: int) -> None:
        """Chooses a split.

        Args:
            split: 'trn', 'val' or 'test'. All but 'trn' have the classes that are held out.
            shots: Number of shots of an episode.
            seed: Seed of all draws. The original tests with 0.

        Raises:
            ValueError: There is no such split.
        """
        if split not in get_args(Split):
            raise ValueError(f"there is no split {split!r}; there are {', '.join(get_args(Split))}")
        self.split, self.shots, self.seed = split, shots, seed

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of episodes in a test, or in an epoch of training."""

    def draw(self, index: int) -> Draw:
        """Draws an episode without reading its images.

        The episodes of 'val' and 'test' come from one random stream and are the same as the original's. Each episode
        of 'trn' has a stream of its own; the original's depend on the number of its worker processes.

        Args:
            index: Index of the episode. In 'trn' it may exceed one epoch.
        """
        if self.split == "trn":
            return self._draw(index, np.random.RandomState((self.seed, index)))
        return self._stream[index]

    def episode(self, index: int) -> Episode:
        """Reads an episode.

        Raises:
            FileNotFoundError: A file is missing. The message names it.
            ValueError: A file cannot be used. The message names it.
        """
        draw = self.draw(index)
        image, mask = self._read(draw.query, draw.class_id)
        shots = tuple(self._read(shot, draw.class_id) for shot in draw.shots)
        return Episode(image, mask, draw.class_id, self.labels[draw.class_id], shots)

    @cached_property
    def _stream(self) -> list[Draw]:
        # The legacy generator, because the original draws with it.
        rng = np.random.RandomState(self.seed)
        return [self._draw(i, rng) for i in range(len(self))]

    @abstractmethod
    def _draw(self, index: int, rng: np.random.RandomState) -> Draw: ...

    @abstractmethod
    def _read(self, file: str, class_id: int) -> Sample: ...

    def _draw_shots(self, query: str, files: list[str], rng: np.random.RandomState) -> tuple[str, ...]:
        """Draws files other than the query's. A file may come twice. Without shots nothing is drawn."""
        if self.shots and not set(files) - {query}:
            raise ValueError(f"{query} is the only image of its class; there is none to take a shot from")
        shots: list[str] = []
        while len(shots) < self.shots:
            shot = pick(files, rng)
            if shot != query:
                shots.append(shot)
        return tuple(shots)


def pick(files: list[str], rng: np.random.RandomState) -> str:
    """Draws a file by the same call as the original. Other calls would advance the random stream differently."""
    return files[rng.choice(len(files), 1, replace=False)[0]]


def fold_classes(fold: int, held_out: list[int], classes: int, split: Split) -> list[int]:
    """Returns the classes of a split: the held-out ones for a test, the others for training.

    Args:
        fold: 0 to 3.
        held_out: Classes that the fold holds out.
        classes: Number of all classes.
        split: The split.

    Raises:
        ValueError: There is no such fold.
    """
    if fold not in range(4):
        raise ValueError(f"there is no fold {fold}; there are 0, 1, 2 and 3")
    return [c for c in range(classes) if (c in held_out) != (split == "trn")]
