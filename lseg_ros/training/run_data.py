"""Opens and checks the data sets of a run, and recognizes them when the run continues."""

from collections.abc import Mapping
from pathlib import Path

from lseg_ros.data.catalogue import labels_of, open_dataset
from lseg_ros.data.config_file import ConfigError
from lseg_ros.data.episodes import EpisodeSet
from lseg_ros.training.batches import Source
from lseg_ros.training.config import TrainConfig

Contents = dict[str, tuple[int, list[str]]]
"""Number of images or episodes, and labels, by the source's name."""


def open_sources(config: TrainConfig, root: Path) -> dict[str, Source]:
    """Opens the data sets that a run learns from.

    Args:
        config: The run.
        root: The folder that the paths in `config` are relative to.

    Returns:
        The data sets by their names in `config`.

    Raises:
        ConfigError: An entry is invalid, or nothing can be learned from it.
        FileNotFoundError: Data are missing.
        ValueError: Data are damaged.
    """
    sources = {}
    for name, entry in config.sources.items():
        source = open_dataset(entry.data, root, f"the source {name!r}", config.words, config.without)
        if isinstance(source, EpisodeSet):
            if source.split != "trn":
                raise ConfigError(f"the source {name!r} is the split {source.split!r}, which tests; train on 'trn'")
        elif len(source.labels) < 2:
            raise ConfigError(
                f"the source {name!r} has one label alone, {source.labels}, which would win everywhere and teach "
                "nothing; add a label for everything else, such as other"
            )
        sources[name] = source
    named = set().union(*(labels_of(entry.data) for entry in config.sources.values()))
    for label in config.without:
        if label not in named:
            raise ConfigError(f"'without' has {label!r}, and no source has this label; there are: {sorted(named)}")
    return sources


def contents(sources: Mapping[str, Source]) -> Contents:
    """Returns the facts about sources that are stored with a run's state."""
    return {name: (len(source), _labels(source)) for name, source in sources.items()}


def check_contents(before: Contents, now: Contents, path: Path) -> None:
    """Checks that sources have not changed since a state was written.

    Args:
        before: The stored facts.
        now: The current facts.
        path: The file of the state, for the message.

    Raises:
        ValueError: A source has changed.
    """
    for name, (count, labels) in now.items():
        count_before, labels_before = before[name]
        what = "labels" if labels != labels_before else "images" if count != count_before else None
        if what is not None:
            raise ValueError(
                f"the source {name!r} has other {what} ({count} images, {len(labels)} labels) than when {path} was "
                f"written ({count_before}, {len(labels_before)}); give the data that the run was begun with, or "
                "another folder"
            )


def _labels(source: Source) -> list[str]:
    if isinstance(source, EpisodeSet):
        return [source.labels[class_id] for class_id in source.class_ids]
    return source.labels
