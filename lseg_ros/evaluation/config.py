"""What `config/eval/*.yaml` hold."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lseg_ros.data.common import package_lines
from lseg_ros.data.config_file import ConfigError, read_mapping
from lseg_ros.evaluation.subset import check_labels
from lseg_ros.evaluation.text_features import TEMPLATES


def ade20k_words() -> list[str]:
    """The 150 names of ADE20K."""
    return [line.split(";")[0] for line in package_lines("labels/ade20k.txt")]


@dataclass(frozen=True)
class EvalConfig:
    """A measurement.

    data: the data set, as in training. labels: those of the data's labels to measure, None for all; the others' pixels
    do not count and their names do not compete. words: by name, lists of other words for these labels in their order.
    unseen: labels that training left out, None where that is not known; it had the others then. seen: words that
    training had beside them. vocabulary: words that may lie nearest to a pixel beside the labels. templates: phrases
    in which {} is the word.
    """

    data: dict[str, Any]
    labels: list[str] | None = None
    words: dict[str, list[str]] = field(default_factory=dict)
    unseen: list[str] | None = None
    seen: list[str] = field(default_factory=list)
    vocabulary: list[str] = field(default_factory=ade20k_words)
    templates: list[str] = field(default_factory=lambda: list(TEMPLATES))


def read_eval_config(path: Path) -> EvalConfig:
    """Reads a measurement; raises ConfigError naming the file and what is wrong in it."""
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
    """Raises ConfigError where the config does not fit the labels measured; `where` is the config's name."""
    if len(labels) < 2:
        raise ConfigError(f"{where}: there is one label alone, which would win everywhere; measure at least two")
    try:
        for name, words in config.words.items():
            check_words(words, labels, f"the list {name!r}")
        check_labels(config.unseen or [], labels, "that are measured")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def with_training(config: EvalConfig, labels: Sequence[str], words: Collection[str]) -> EvalConfig:
    """The config with what training had: `words`, and of the labels measured those that are among them."""
    return replace(config, unseen=[label for label in labels if label not in words], seen=sorted(words))


def check_words(words: Sequence[str], labels: Sequence[str], what: str) -> None:
    """Raises ValueError unless there is one word for each label, each another; `what` names the list."""
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
            # As with `no` and `on`, which YAML takes for truth values.
            raise ConfigError(f"{what} holds {text!r}, which is no text; put it in quotes")
