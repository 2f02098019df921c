"""The batches that each step of a run learns from. A batch depends only on the seed and its number.

A step takes `accumulate` batches on each of the run's processes. Step s has the batches s * n .. s * n + n - 1, where n
is `accumulate` times the number of processes. It does not matter which process gets which.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lseg_ros.data.augmentation import augment_as_original, paste, random_view, recolor, resize_as_hsnet
from lseg_ros.data.common import IGNORE, Dataset, Sample
from lseg_ros.data.episodes import Episode, EpisodeSet
from lseg_ros.model.variants import Variant
from lseg_ros.training.config import TrainConfig

logger = logging.getLogger(__name__)

Source = Dataset | EpisodeSet
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """The targets of n images of a batch that come from one source.

    Attributes:
        target: [n,h,w] rows of `text` or 255, of every `pixel_step`-th pixel.
        grid: [h,w,2], the places of these pixels in the crop, as `grid_sample` needs them.
        text: [N,D] unit vectors of the labels.
    """

    target: Tensor
    grid: Tensor
    text: Tensor

    def pin_memory(self) -> "Part":
        """Returns a copy in memory that a GPU copies from without waiting."""
        return Part(self.target.pin_memory(), self.grid.pin_memory(), self.text.pin_memory())


@dataclass(frozen=True)
class Batch:
    """Images with their targets.

    Attributes:
        images: [B,3,S,S], normalized.
        parts: The parts of the batch, in the order of the images.
    """

    images: Tensor
    parts: list[Part]

    def pin_memory(self) -> "Batch":
        """Returns a copy in memory that a GPU copies from without waiting."""
        return Batch(self.images.pin_memory(), [part.pin_memory() for part in self.parts])


class Broken(NamedTuple):
    """A file that cannot be used.

    Attributes:
        name: The source's name.
        place: The file's index in the source.
        why: Why it cannot be used.
    """

    name: str
    place: int
    why: str


def phrases_of(sources: Iterable[Source]) -> list[str]:
    """Returns all phrases that batches of some sources may need, sorted."""
    phrases: set[str] = set()
    for source in sources:
        if isinstance(source, EpisodeSet):
            phrases |= {"others", *(source.labels[class_id] for class_id in source.class_ids)}
        else:
            phrases |= {phrase for label in source.phrases for phrase in label}
    return sorted(phrases)


class Batches:
    """Makes the batches of a run. It is safe to use from several threads.

    Attributes:
        config: The run.
        sources: The data sets by their names in `config`.
        text: [D] unit vector of each phrase.
        mean: [3,1,1], the mean of the normalization.
        std: [3,1,1], the standard deviation of the normalization.
    """

    def __init__(
        self, config: TrainConfig, variant: Variant, sources: Mapping[str, Source], text: Mapping[str, Tensor]
    ) -> None:
        """Prepares the batches.

        Args:
            config: The run.
            variant: Gives the mean and std of the normalization.
            sources: The data sets by their names in `config`.
            text: [D] unit vector on the CPU for each of `phrases_of(sources)`.
        """
        self.config, self.sources, self.text = config, sources, text
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (variant.mean, variant.std))
        self._broken: dict[str, set[int]] = {name: set() for name in sources}
        self._new: list[Broken] = []
        self._lock = Lock()

    def per_epoch(self, together: int) -> int:
        """Returns the number of steps that take every image once. The last step is filled up.

        Args:
            together: Number of batches in a step.
        """
        return -(-sum(map(len, self.sources.values())) // (self.config.batch * together))

    def batch(self, number: int, together: int = 1) -> Batch:
        """Makes the batch of a number: crops with the labels that they show and some that they do not.

        Labels of different sources do not compete, because a person of one source may be a pedestrian of another.

        Args:
            number: The batch's number.
            together: The number of batches in a step.

        Raises:
            ValueError: A file cannot be used, or the run skips such files and there are too many. The message names it.
            OSError: A file cannot be read.
        """
        rng = np.random.default_rng((self.config.seed, number))
        images: list[NDArray[np.uint8]] = []
        parts: list[Part] = []
        for name, indices in self._drawn(number, together, rng):
            source = self.sources[name]
            if isinstance(source, EpisodeSet):
                pairs = [self._of_episode(e, rng) for e in self._read(name, source.episode, indices, number)]
            else:
                pairs = [self._of_images(source, self._read(name, source.sample, indices, number), rng)]
            images += [pictures for pictures, _ in pairs]
            parts += [part for _, part in pairs]
        pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).float() / 255
        return Batch((pixels - self.mean) / self.std, parts)

    def _drawn(self, number: int, together: int, rng: np.random.Generator) -> Iterator[tuple[str, list[int]]]:
        """Yields name and indices of each source that has a share in the batch.

        This has to be a generator: each source's indices are drawn from `rng` after everything else was drawn for the
        source before.
        """
        config, names = self.config, list(self.sources)
        if config.steps:
            weights = np.array([config.sources[name].weight for name in names])
            counts = rng.multinomial(config.batch, weights / weights.sum())
            for name, n in zip(names, counts, strict=True):
                if n:
                    yield name, rng.integers(0, len(self.sources[name]), n).tolist()
            return
        starts = np.cumsum([0, *(len(self.sources[name]) for name in names)])
        epoch, place = divmod(number, self.per_epoch(together) * together)
        order = _shuffled(config.seed, epoch, int(starts[-1]))
        places = order[np.arange(place * config.batch, (place + 1) * config.batch) % len(order)]
        for name, start, end in zip(names, starts, starts[1:], strict=False):
            own = places[(start <= places) & (places < end)] - start
            if own.size:
                # Episodes of later epochs have other shots.
                further = epoch * (end - start) if isinstance(self.sources[name], EpisodeSet) else 0
                yield name, (own + further).tolist()

    def _read(self, name: str, read: Callable[[int], T], indices: list[int], number: int) -> Iterator[T]:
        """Reads each index. If the run skips broken files, another index of the source replaces a broken one."""
        for place, index in enumerate(indices):
            attempt = 0
            while True:
                try:
                    result = read(index)
                    break
                except (ValueError, OSError) as error:
                    if self.config.broken_files == "stop":
                        raise
                    self.note_broken(Broken(name, index % len(self.sources[name]), str(error)))
                # Not from the batch's own stream, so that all else in the batch stays the same.
                attempt += 1
                rng = np.random.default_rng((self.config.seed, number, place, attempt))
                index = int(rng.integers(0, len(self.sources[name])))
            yield result

    def note_broken(self, file: Broken) -> None:
        """Warns once about a file.

        Args:
            file: The file.

        Raises:
            ValueError: More than a tenth of the source, or all of it, is broken.
        """
        count = len(self.sources[file.name])
        with self._lock:
            broken = self._broken[file.name]
            if file.place not in broken:
                logger.warning("skipped: %s", file.why)
                self._new.append(file)
            broken.add(file.place)
            if len(broken) > max(1, count // 10) or len(broken) == count:
                raise ValueError(
                    f"{len(broken)} of the {count} files of the source {file.name!r} cannot be used, the last because "
                    f"{file.why}; more than a tenth are too many to skip"
                )

    def take_broken(self) -> list[Broken]:
        """Returns the files that were noted since the last call."""
        with self._lock:
            new, self._new = self._new, []
            return new

    def _of_images(
        self, source: Dataset, samples: Iterable[Sample], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Part]:
        config = self.config
        crops = list(self._augmented(samples, rng))
        target = np.stack([mask for _, mask in crops])
        present = np.setdiff1d(np.unique(target), [IGNORE])
        absent = np.setdiff1d(np.arange(len(source.phrases)), present)
        # There is at least one label, even if the batch shows none.
        further = None if isinstance(config.negatives, str) else max(config.negatives, 1 - len(present))
        labels = np.concatenate([present, rng.permutation(absent)[:further]])
        table = np.full(256, IGNORE, np.uint8)
        table[labels] = np.arange(len(labels))
        text = torch.stack([self.text[_phrase(source.phrases[int(label)], rng)] for label in labels])
        return np.stack([image for image, _ in crops]), self._part(table[target], text, rng)

    def _augmented(self, samples: Iterable[Sample], rng: np.random.Generator) -> Iterator[Sample]:
        config = self.config
        before: Sample | None = None
        for sample in samples:
            if config.augmentation == "original":
                yield augment_as_original(sample, rng, config.crop, config.long_side)
                continue
            view = image, mask = random_view(sample, rng, config.crop, config.scale)
            if config.paste and before is not None and rng.random() < config.paste:
                image, mask = paste(view, before, rng)
            before = view
            yield recolor(image, rng, config.color), mask

    def _of_episode(self, episode: Episode, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Part]:
        """Returns shots and query, only resized to the crop. All that is not the class is "others"."""
        samples = (*episode.shots, (episode.image, episode.mask))
        pictures = [resize_as_hsnet(sample, self.config.crop) for sample in samples]
        target = (np.stack([mask for _, mask in pictures]) == 1).astype(np.uint8)
        text = torch.stack([self.text[label] for label in episode.labels])
        return np.stack([image for image, _ in pictures]), self._part(target, text, rng)

    def _part(self, target: NDArray[np.uint8], text: Tensor, rng: np.random.Generator) -> Part:
        """Combines targets and texts. `target` has [n,crop,crop] rows of `text` or IGNORE."""
        config, step = self.config, self.config.pixel_step
        text = text + config.text_noise * torch.from_numpy(rng.standard_normal(text.shape, np.float32))
        top, left = rng.integers(0, step, 2)
        rows, columns = (torch.arange(start, config.crop, step) / (config.crop - 1) * 2 - 1 for start in (top, left))
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        seen = torch.from_numpy(target[:, top::step, left::step]).long()
        return Part(seen, grid, functional.normalize(text, dim=-1))


def _phrase(phrases: list[str], rng: np.random.Generator) -> str:
    """Returns the label itself half of the time, else any of its phrases.

    Many of the other phrases also hint at other labels.
    """
    return phrases[0] if rng.random() < 0.5 else str(rng.choice(phrases))


@lru_cache(2)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    # The 1 makes the seed differ from that of a batch, which has two numbers; NumPy reads a missing number as 0.
    return np.random.default_rng((seed, epoch, 1)).permutation(count)
