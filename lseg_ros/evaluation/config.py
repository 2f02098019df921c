"""The configuration of a measurement, as in `config/eval/*.yaml`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lseg_ros.data.common import package_lines
from lseg_ros.data.config_file import ConfigError, read_mapping
from lseg_ros.evaluation.subset import check_labels
from lseg_ros.evaluation.text_features import TEMPLATES


def ade20k_words() -> list[str]:
    """Returns the 150 names of ADE20K."""
    return [line.split(";")[0] for line in package_lines("labels/ade20k.txt")]


@dataclass(frozen=True)
class EvalConfig:
    """A measurement.

    Attributes:
        data: The data set, as in a training configuration.
        labels: The labels of the data set to measure, None for all. Pixels of other labels do not count, and their
            names do not compete.
        words: Lists of other words for these labels, in the labels' order, by the list's name.
        unseen: Labels that training left out. None where that is not known. Training had all other labels then.
        seen: Words that training had beside the labels.
        vocabulary: Words beside the labels that may be nearest to a pixel.
        templates: Phrases with {} for the word.
    """

    data: dict[str, Any]
    labels: list[str] | None = None
    words: dict[str, list[str]] = field(default_factory=dict)
    unseen: list[str] | None = None
    seen: list[str] = field(default_factory=list)
    vocabulary: list[str] = field(default_factory=ade20k_words)
    templates: list[str] = field(default_factory=lambda: list(TEMPLATES))


def read_eval_config(path: Path) -> EvalConfig:
    """Reads a measurement.

    Raises:
        ConfigError: An entry is missing, unknown or of the wrong kind. The message names the file and the entry.
    """
    raw = read_mapping(path)
    known = [f.name for f in fields(EvalConfig)]
    for key in raw:
        if key not in known:
            raise ConfigError(f"{path}: unknown entry {key!r}; known are {', '.join(known)}")
    if not isinstance(raw.get("data"), dict):
        raise ConfigError(f"{path}: 'data' is missing or no mapping; it names the data set to measure on")
    for key in ("labels", "unseen", "seen", "vocabulary", "templates"):
        if key in raw:
            _check_texts(raw[key], f"{path}: {key!r}")
    if not isinstance(raw.get("words", {}), dict):
        raise ConfigError(f"{path}: 'words' holds no mapping from a name to a list of words")
    for name, words in raw.get("words", {}).items():
        _check_texts(words, f"{path}: 'words', {name!r}")
    for key in ("labels", "templates"):
        if raw.get(key) == []:
            raise ConfigError(f"{path}: {key!r} is empty; leave it out for the default")
    config = EvalConfig(**raw)
    for template in config.templates:
        if "{}" not in template:
            raise ConfigError(f"{path}: the template {template!r} has no {{}}, which stands for the word")
    return config


def check_against(config: EvalConfig, labels: Sequence[str], where: str) -> None:
    """Checks a measurement against the labels that it is for.

    Args:
        config: The measurement.
        labels: The labels that are measured.
        where: The configuration's name, for the message.

    Raises:
        ConfigError: They do not go together.
    """
    if len(labels) < 2:
        raise ConfigError(f"{where}: there is one label alone, which would win everywhere; measure at least two")
    try:
        for name, words in config.words.items():
            check_words(words, labels, f"the list {name!r}")
        check_labels(config.unseen or [], labels, "that are measured")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def with_training(config: EvalConfig, labels: Sequence[str], words: Collection[str]) -> EvalConfig:
    """Returns the measurement with the words of the training filled in.

    Args:
        config: The measurement.
        labels: The labels that are measured.
        words: All words of the training.
    """
    return replace(config, unseen=[label for label in labels if label not in words], seen=sorted(words))


def check_words(words: Sequence[str], labels: Sequence[str], what: str) -> None:
    """Checks that a list has one word for each label and no word twice.

    Args:
        words: The list.
        labels: The labels.
        what: Name of the list, for the message.

    Raises:
        ValueError: It has not.
    """
    if len(words) != len(labels):
        raise ValueError(
            f"{what} has {len(words)} words and the data {len(labels)} labels; give one for each of: "
            f"{', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}"
        )
    for place, word in enumerate(words):
        if not word.strip():
            raise ValueError(f"{what} has nothing for {labels[place]!r}; give a word")
        if word in words[:place]:
            raise ValueError(f"{what} has {word!r} twice, and the second would never win; give each label its own word")


def _check_texts(texts: object, what: str) -> None:
    if not isinstance(texts, list):
        raise ConfigError(f"{what} is no list of texts")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            # YAML reads words such as `no` and `on` as booleans.
            raise ConfigError(f"{what} holds {text!r}, which is no text; put it in quotes")
