"""Few-shot episodes by the protocol of HSNet (github.com/juhongm999/hsnet), which LSeg's zero-shot figures follow.

An episode is an image and one class: where is it? The few shots, more images of the class, are of use in training,
where the original learns from them too; at test, LSeg looks at the image and the class's name alone.
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
    """What an episode is made of: a class, the query's file and those of the shots, as the split lists name them."""

    class_id: int
    query: str
    shots: tuple[str, ...]


@dataclass(frozen=True)
class Episode:
    """One episode with its pictures.

    image: HxWx3 RGB. mask: HxW, 1 the class, 0 others, IGNORE what does not count. shots: such (image, mask) pairs.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    class_id: int
    class_name: str
    shots: tuple[Sample, ...]

    @property
    def labels(self) -> list[str]:
        """The texts that compete; their places are the ids in `mask`."""
        return ["others", self.class_name]


class EpisodeSet(ABC):
    """The episodes of one split. `labels`: the names of all classes, `class_ids`: places there of this split's."""

    labels: list[str]
    class_ids: list[int]

    def __init__(self, split: Split, shots: int, seed: int) -> None:
        """
        Args:
            split: 'trn', 'val' or 'test'.
            shots: how many further images of the class an episode has.
            seed: of all draws; the original tests with 0.

        Raises:
            ValueError: there is no such split. All but 'trn' would be the classes held out.
        """
        if split not in get_args(Split):
            raise ValueError(f"there is no split {split!r}; there are {', '.join(get_args(Split))}")
        self.split, self.shots, self.seed = split, shots, seed

    @abstractmethod
    def __len__(self) -> int:
        """Episodes of a test, or of an epoch of training."""

    def draw(self, index: int) -> Draw:
        """The episode at a place, without its pictures.

        Those of 'val' and 'test' come out of one random stream, as in the original, so they are the same ones. Those of
        'trn', which there depend on the number of worker processes, each have their own; `index` may go on beyond the
        first epoch.
        """
        if self.split == "trn":
            return self._draw(index, np.random.RandomState((self.seed, index)))
        return self._stream[index]

    def episode(self, index: int) -> Episode:
        """Reads an episode; raises ValueError or FileNotFoundError naming the file that cannot be used."""
        draw = self.draw(index)
        image, mask = self._read(draw.query, draw.class_id)
        shots = tuple(self._read(shot, draw.class_id) for shot in draw.shots)
        return Episode(image, mask, draw.class_id, self.labels[draw.class_id], shots)

    @cached_property
    def _stream(self) -> list[Draw]:
        # The old generator, for its draws are the original's.
        rng = np.random.RandomState(self.seed)
        return [self._draw(i, rng) for i in range(len(self))]

    @abstractmethod
    def _draw(self, index: int, rng: np.random.RandomState) -> Draw: ...

    @abstractmethod
    def _read(self, file: str, class_id: int) -> Sample: ...

    def _draw_shots(self, query: str, files: list[str], rng: np.random.RandomState) -> tuple[str, ...]:
        """Files other than the query's, possibly one of them twice; without shots nothing is drawn."""
        if self.shots and not set(files) - {query}:
            raise ValueError(f"{query} is the only image of its class; there is none to take a shot from")
        shots: list[str] = []
        while len(shots) < self.shots:
            shot = pick(files, rng)
            if shot != query:
                shots.append(shot)
        return tuple(shots)


def pick(files: list[str], rng: np.random.RandomState) -> str:
    """One of them, by the same call as the original's: other ways to draw one use up the random stream differently."""
    return files[rng.choice(len(files), 1, replace=False)[0]]


def fold_classes(fold: int, held_out: list[int], classes: int, split: Split) -> list[int]:
    """The classes of a split: those held out in testing, the rest in training; raises ValueError for a bad fold."""
    if fold not in range(4):
        raise ValueError(f"there is no fold {fold}; there are 0, 1, 2 and 3")
    return [c for c in range(classes) if (c in held_out) != (split == "trn")]
