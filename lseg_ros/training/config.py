"""A training run as data, read from YAML."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from lseg_ros.model.variants import VARIANTS


class ConfigError(ValueError):
    """A training configuration that cannot be used; the message names the file and the entry."""


@dataclass(frozen=True)
class Layer:
    """A folder of 8-bit masks and the phrases for the ids in them."""

    masks: str
    labels: dict[int, list[str]]


@dataclass(frozen=True)
class SourceConfig:
    """Images with one or more layers of masks; a pixel takes the first layer that names it."""

    images: str
    layers: list[Layer]
    weight: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """What `config/train/*.yaml` holds; see lseg_mini.yaml for the meaning of each entry. Lengths in pixels."""

    variant: str
    init: str
    licence: str
    seed: int
    steps: int
    batch: int
    crop: int
    scale: tuple[float, float]
    lr: float
    backbone_lr: float
    warmup: int
    weight_decay: float
    ema: float
    negatives: int
    templates: list[str]
    sources: dict[str, SourceConfig]


def read_config(path: Path) -> TrainConfig:
    """Reads a training run; raises ConfigError naming what is wrong."""
    raw = _read_mapping(path)
    known = {f.name for f in fields(TrainConfig)}
    wrong = [f"missing {k!r}" for k in sorted(known - raw.keys())]
    wrong += [f"unknown {k!r}" for k in sorted(raw.keys() - known)]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)}")
    if raw["variant"] not in VARIANTS:
        raise ConfigError(f"{path}: there is no variant {raw['variant']!r}; known: {', '.join(VARIANTS)}")
    sources = raw.pop("sources")
    if not isinstance(sources, dict) or not sources:
        raise ConfigError(f"{path}: 'sources' holds no data set")
    return TrainConfig(**raw, sources={name: _source(entry, path) for name, entry in sources.items()})


def read_source(path: Path) -> SourceConfig:
    """Reads one data set (`config/eval/*.yaml`); raises ConfigError naming what is wrong."""
    return _source(_read_mapping(path), path)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no mapping of entries")
    return raw


def _source(entry: dict[str, Any], path: Path) -> SourceConfig:
    try:
        layers = [Layer(**layer) for layer in entry["layers"]]
        return SourceConfig(**{**entry, "layers": layers})
    except (TypeError, KeyError) as error:
        raise ConfigError(f"{path}: a data set is not as expected (images, layers, weight): {error}") from error
