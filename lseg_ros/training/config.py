"""A training run as data, read from YAML."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from lseg_ros.model.variants import VARIANTS
from lseg_ros.training.datasets.catalogue import ConfigError


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a run. weight: how often a batch is drawn from it. data: as `open_dataset` takes it."""

    data: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """What `config/train/*.yaml` holds; see lseg_mini_street.yaml for the meaning of each entry. Lengths in pixels."""

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
    sources: dict[str, SourceConfig]
    words: dict[str, list[str]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    text_lr: float = 0.0
    text_noise: float = 0.0
    balance: float = 0.0
    pixel_step: int = 1
    colour: float = 1.0


def read_config(path: Path) -> TrainConfig:
    """Reads a training run; raises ConfigError naming what is wrong.

    `base` names another configuration beside it, whose entries hold where this one has none of the same name; null
    takes one away. `words` names a file beside it with more phrases for labels.
    """
    raw = _with_base(path)
    wrong = [f"missing {f.name!r}" for f in fields(TrainConfig) if _needed(f) and f.name not in raw]
    wrong += [f"unknown {k!r}" for k in sorted(raw.keys() - {f.name for f in fields(TrainConfig)})]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)}")
    if raw["variant"] not in VARIANTS:
        raise ConfigError(f"{path}: there is no variant {raw['variant']!r}; known: {', '.join(VARIANTS)}")
    sources = raw.pop("sources")
    if not isinstance(sources, dict) or not sources:
        raise ConfigError(f"{path}: 'sources' holds no data set")
    if "words" in raw:
        raw["words"] = read_words(path.parent / raw["words"])
    for key in ("scale", "without", "frozen"):
        if key in raw:
            raw[key] = tuple(raw[key])
    return TrainConfig(**raw, sources={name: _source(entry, f"{path}, {name}") for name, entry in sources.items()})


def read_words(path: Path) -> dict[str, list[str]]:
    """Reads phrases for labels, each label itself first; raises ConfigError naming what is wrong."""
    words = read_mapping(path)
    for label, phrases in words.items():
        good = isinstance(phrases, list) and phrases and all(isinstance(p, str) and p.strip() for p in phrases)
        if not good or phrases[0] != label:
            raise ConfigError(f"{path}: {label!r} is to have a list of phrases with {label!r} first")
    return words


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file of named entries; raises ConfigError naming what is wrong."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no mapping of entries")
    return raw


def _needed(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in above:
        raise ConfigError(f"{path} is its own base")
    raw = read_mapping(path)
    base = raw.pop("base", None)
    return raw if base is None else _merged(_with_base(path.parent / str(base), (*above, path)), raw)


def _merged(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Both, down to the entries of mappings in mappings; where both have one, that of `over`; null takes it away."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _source(entry: Any, where: str) -> SourceConfig:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry!r}")
    weight = entry.get("weight", 1.0)
    if not isinstance(weight, int | float) or not weight >= 0:
        raise ConfigError(f"{where}: the weight is {weight!r}; it is a number, 0 or more")
    return SourceConfig({k: v for k, v in entry.items() if k != "weight"}, weight)
