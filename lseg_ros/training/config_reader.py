"""Reads the configuration of a training run from YAML."""

from collections.abc import Iterable
from dataclasses import MISSING, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from lseg_ros.data.config_file import ConfigError, read_mapping
from lseg_ros.files import from_home
from lseg_ros.model.variants import variant_named
from lseg_ros.training.config import Run, SourceConfig, TrainConfig, ValidationConfig
from lseg_ros.training.rules import at_least, is_whole

_VALIDATION = {"data", "every", "images"}


def read_config(path: Path, after: tuple[Path, ...] = ()) -> TrainConfig:
    """Reads a training run.

    `base` names another configuration beside it, whose entries are used where this one has none of the same name; null
    removes one. `words` names a file beside it with more phrases for labels, or several files. If two of them have a
    label, the later one counts. `init` may name configurations beside it, which are read as runs.

    Args:
        path: The YAML file.
        after: The configurations whose `init` led here, the outermost first.

    Raises:
        ConfigError: The file cannot be used. The message names the file, the entry, its value and the allowed values.
    """
    raw = {key: value for key, value in _with_base(path).items() if value is not None}
    known = {f.name: f for f in fields(TrainConfig)}
    wrong = [f"missing {name!r}" for name, entry in known.items() if _required(entry) and name not in raw]
    wrong += [f"unknown {key!r}{_nearest(key, known)}" for key in sorted(map(str, raw.keys() - known.keys()))]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)}")
    for key, value in raw.items():
        rule = known[key].metadata["rule"]
        if not rule.allows(value):
            raise ConfigError(f"{path}: {key!r} is {value!r}, and should be {rule.says}{_yaml_note(value)}")
    try:
        variant_named(raw["variant"])
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if "words" in raw:
        files = [raw["words"]] if isinstance(raw["words"], str) else raw["words"]
        paths = [path.parent / from_home(file) for file in files]
        raw["words"] = {label: more for file in paths for label, more in read_words(file).items()}
    for key in ("scale", "long_side", "without", "frozen", "restarts"):
        if key in raw:
            raw[key] = tuple(raw[key])
    raw["sources"] = {name: _source(entry, f"{path}, {name}") for name, entry in raw["sources"].items()}
    if "validation" in raw:
        raw["validation"] = _validation(raw["validation"], f"{path}, validation")
    if "init" in raw:
        names = [raw["init"]] if isinstance(raw["init"], str) else raw["init"]
        raw["init"] = tuple(_init(name, (*after, path)) for name in names)
    config = TrainConfig(**raw)
    _check_together(config, path)
    return config


def _init(name: str, above: tuple[Path, ...]) -> str | Run:
    """Returns the meaning of an entry of `init` in the last of the files `above`."""
    if not name.endswith(".yaml"):
        return name
    path = above[-1].parent / from_home(name)
    if path in above:
        raise ConfigError(f"{path} begins with its own weights: 'init' of {above[-1]} leads back to it")
    return Run(path.stem, read_config(path, above))


def read_words(path: Path) -> dict[str, list[str]]:
    """Reads phrases for labels, the label itself first.

    Raises:
        ConfigError: The file cannot be used. The message says why.
    """
    words = read_mapping(path)
    for label, phrases in words.items():
        good = isinstance(phrases, list) and phrases and all(isinstance(p, str) and p.strip() for p in phrases)
        if not good or phrases[0] != label:
            raise ConfigError(f"{path}: {label!r} is to have a list of phrases with {label!r} first")
    return words


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in above:
        raise ConfigError(f"{path} is its own base")
    raw = read_mapping(path)
    base = raw.pop("base", None)
    return raw if base is None else _merged(_with_base(path.parent / from_home(str(base)), (*above, path)), raw)


def _merged(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Merges two mappings, and mappings within them. If both have an entry, that of `over` counts; null removes it."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _yaml_note(value: Any) -> str:
    """Explains why a text that looks like a number is none."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ""
    return "; YAML takes 1e-3 for text, and 1.0e-3 for a number" if isinstance(value, str) else ""


def _check_together(config: TrainConfig, path: Path) -> None:
    """Raises ConfigError for entries that do not go together."""
    problem = ""
    shortest = min(end - begin for begin, end in pairwise((0, *config.restarts, config.steps)))
    if bool(config.steps) == bool(config.epochs):
        problem = "give either 'steps' or 'epochs'"
    elif bool(config.base_lr) == bool(config.lr) or bool(config.base_lr) != (config.backbone_lr is None):
        problem = "give either 'base_lr' or both 'lr' and 'backbone_lr'"
    elif config.schedule == "poly" and (not config.epochs or config.warmup):
        problem = "'schedule' poly goes by 'epochs', without 'warmup'"
    elif config.stop_after and not config.stop_after <= config.epochs:
        problem = f"'stop_after' is {config.stop_after}, and should be at most the number of 'epochs', {config.epochs}"
    elif config.restarts and (config.schedule != "cosine" or config.restarts[-1] >= config.steps):
        problem = f"'restarts' is {list(config.restarts)}; it goes with 'schedule' cosine and lies below 'steps'"
    elif config.steps and config.warmup >= shortest:
        problem = f"'warmup' is {config.warmup}, and should be less than the 'steps', {shortest}"
    elif config.epochs and any(source.weight != 1 for source in config.sources.values()):
        problem = "with 'epochs' each image comes once in each, so a source takes no 'weight'"
    elif config.classifier and (len(config.init) != 1 or not isinstance(config.init[0], str)):
        problem = "'classifier' goes with one file in 'init', which holds that classifier"
    elif config.second_classifier and config.second_init is None:
        problem = "'second_classifier' goes with 'second_init', which holds that classifier"
    elif not any(source.weight for source in config.sources.values()):
        problem = "all sources have the weight 0"
    if problem:
        raise ConfigError(f"{path}: {problem}")


def _source(entry: Any, where: str) -> SourceConfig:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry!r}")
    weight = entry.get("weight", 1.0)
    if not at_least(0).allows(weight):
        raise ConfigError(f"{where}: the weight is {weight!r}; it is a number, 0 or more")
    return SourceConfig({k: v for k, v in entry.items() if k != "weight"}, weight)


def _validation(entry: Any, where: str) -> ValidationConfig:
    if not isinstance(entry, dict) or not entry.keys() >= {"data", "every"} or not entry.keys() <= _VALIDATION:
        raise ConfigError(f"{where}: it has the entries data and every, and at will images; here is {entry!r}")
    if not isinstance(entry["data"], dict):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry['data']!r}")
    for key, least in (("every", 1), ("images", 0)):
        if not is_whole(entry.get(key, least), least):
            raise ConfigError(f"{where}: {key!r} is {entry[key]!r}, and should be a whole number, {least} or more")
    return ValidationConfig(**entry)
