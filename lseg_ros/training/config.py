"""A training run as data, read from YAML. docs/training.md says what each entry means."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from lseg_ros.data.config_file import ConfigError, read_mapping
from lseg_ros.model.net import SIZE_STEP
from lseg_ros.model.variants import variant_named


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a run. weight: how often a batch is drawn from it. data: as `open_dataset` takes it."""

    data: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class ValidationConfig:
    """data: as `open_dataset` takes it. every: steps. images: how many at most, evenly spread; 0 for all."""

    data: dict[str, Any]
    every: int
    images: int = 0


@dataclass(frozen=True)
class Run:
    """A run that another one begins with. name: of its file, without the suffix."""

    name: str
    config: "TrainConfig"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What `config/train/*.yaml` holds; the table in docs/training.md has the meaning of each entry.

    Made by `read_config`, which checks everything. There are either `steps` or `epochs`, and either `base_lr` or both
    `lr` and `backbone_lr`.
    """

    variant: str
    licence: str
    seed: int
    batch: int
    crop: int
    sources: dict[str, SourceConfig]

    init: tuple[str | Run, ...] = ()
    text_init: str | None = None
    frozen: tuple[str, ...] = ()
    batch_norm: str = "frozen"

    steps: int = 0
    epochs: int = 0
    stop_after: int = 0
    accumulate: int = 1

    optimizer: str = "adamw"
    schedule: str = "cosine"
    restarts: tuple[int, ...] = ()
    warmup: int = 0
    lr: float = 0.0
    backbone_lr: float | None = None
    base_lr: float = 0.0
    text_lr: float = 0.0
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "bfloat16"
    ema: float = 0.0

    augmentation: str = "ours"
    scale: tuple[float, float] = (0.5, 2.0)
    colour: float = 1.0
    paste: float = 0.0
    long_side: tuple[int, int] = (260, 1040)

    negatives: int | str = "all"
    words: dict[str, list[str]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    text_noise: float = 0.0
    balance: float = 0.0
    jaccard: float = 0.0
    pixel_step: int = 1

    validation: ValidationConfig | None = None
    broken_files: str = "stop"
    workers: int = 1
    save_every: int = 100

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of the image encoder and of what is new, the decoder and any head block.

        From `base_lr` as in the original: base_lr / 16 * batch, and ten times that.
        """
        if self.base_lr:
            encoder = self.base_lr / 16 * self.batch
            return encoder, 10 * encoder
        return self.backbone_lr or 0.0, self.lr


def read_config(path: Path, after: tuple[Path, ...] = ()) -> TrainConfig:
    """Reads a training run; raises ConfigError naming the file, the entry, its value and what it may be.

    `base` names another configuration beside it, whose entries hold where this one has none of the same name; null
    takes one away. `words` names a file beside it with more phrases for labels, or several: where two have a label, the
    later one's phrases hold. `init` may name configurations beside it, which are read as runs.

    Args:
        path: of the YAML file.
        after: the configurations whose `init` led here, the outermost first.
    """
    raw = {key: value for key, value in _with_base(path).items() if value is not None}
    known = {f.name: f for f in fields(TrainConfig)}
    wrong = [f"missing {name!r}" for name, entry in known.items() if _needed(entry) and name not in raw]
    wrong += [f"unknown {key!r}" for key in sorted(map(str, raw.keys() - known.keys()))]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)}")
    for key, value in raw.items():
        if key in _RULES and not _RULES[key][0](value):
            raise ConfigError(f"{path}: {key!r} is {value!r}, and should be {_RULES[key][1]}{_yaml_note(value)}")
    try:
        variant_named(raw["variant"])
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if "words" in raw:
        files = [raw["words"]] if isinstance(raw["words"], str) else raw["words"]
        raw["words"] = {label: more for file in files for label, more in read_words(path.parent / file).items()}
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
    """What an entry of `init` stands for in the last of the files `above`."""
    if not name.endswith(".yaml"):
        return name
    path = above[-1].parent / name
    if path in above:
        raise ConfigError(f"{path} begins with its own weights: 'init' of {above[-1]} leads back to it")
    return Run(path.stem, read_config(path, above))


def read_words(path: Path) -> dict[str, list[str]]:
    """Reads phrases for labels, each label itself first; raises ConfigError naming what is wrong."""
    words = read_mapping(path)
    for label, phrases in words.items():
        good = isinstance(phrases, list) and phrases and all(isinstance(p, str) and p.strip() for p in phrases)
        if not good or phrases[0] != label:
            raise ConfigError(f"{path}: {label!r} is to have a list of phrases with {label!r} first")
    return words


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


Rule = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _whole(least: int) -> Rule:
    return lambda value: _is_whole(value, least), f"a whole number, {least} or more"


def _between(least: float, most: float) -> Rule:
    if most == float("inf"):
        return lambda value: _number(value) and least <= value < most, f"a number, {least:g} or more"
    return lambda value: _number(value) and least <= value <= most, f"a number from {least:g} to {most:g}"


def _one_of(*names: str) -> Rule:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and 0 < value[0] <= value[1]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)


_TEXT: Rule = (lambda value: isinstance(value, str) and bool(value.strip()), "a text")
_TEXTS: Rule = (_is_texts, "a list of texts")
_MANY = float("inf")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("variant", "licence", "text_init"), _TEXT),
    "init": (lambda v: _TEXT[0](v) or (_is_texts(v) and bool(v)), "a text, or a list of texts"),
    **dict.fromkeys(("frozen", "without"), _TEXTS),
    "words": (lambda v: _TEXT[0](v) or (_is_texts(v) and bool(v)), "a file, or a list of files"),
    **dict.fromkeys(("seed", "warmup"), _whole(0)),
    **dict.fromkeys(
        ("steps", "epochs", "stop_after", "batch", "accumulate", "pixel_step", "workers", "save_every"), _whole(1)
    ),
    **dict.fromkeys(("backbone_lr", "text_lr", "weight_decay", "clip", "text_noise", "jaccard"), _between(0, _MANY)),
    **dict.fromkeys(("colour", "balance"), _between(0, 2)),
    **dict.fromkeys(("base_lr", "lr"), (lambda value: _number(value) and 0 < value < _MANY, "a number above 0")),
    "paste": _between(0, 1),
    "ema": (lambda value: _number(value) and 0 <= value < 1, "a number from 0 (none) to below 1"),
    "crop": (lambda v: _is_whole(v, 1) and v % SIZE_STEP == 0, f"a multiple of {SIZE_STEP} pixels"),
    "batch_norm": _one_of("frozen", "trained"),
    "optimizer": _one_of("adamw", "adam", "sgd"),
    "schedule": _one_of("cosine", "poly"),
    "precision": _one_of("float32", "bfloat16", "float16"),
    "augmentation": _one_of("ours", "original"),
    "broken_files": _one_of("stop", "skip"),
    "scale": (_is_range, "two factors above 0, the smaller first"),
    "long_side": (
        lambda v: _is_range(v) and all(_is_whole(n, 1) for n in v),
        "two whole numbers of pixels, the smaller first",
    ),
    "negatives": (lambda v: v == "all" or _is_whole(v, 0), "a whole number, 0 or more, or all"),
    "restarts": (
        lambda v: isinstance(v, list) and all(_is_whole(n, 1) for n in v) and v == sorted(set(v)),
        "a list of steps, each 1 or more, ascending",
    ),
    "sources": (lambda v: isinstance(v, dict) and bool(v), "a mapping from names to data sets, at least one"),
}


def _yaml_note(value: Any) -> str:
    """Says why a text that looks like a number is none."""
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
    elif not any(source.weight for source in config.sources.values()):
        problem = "all sources have the weight 0"
    if problem:
        raise ConfigError(f"{path}: {problem}")


def _source(entry: Any, where: str) -> SourceConfig:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry!r}")
    weight = entry.get("weight", 1.0)
    if not _number(weight) or not 0 <= weight < _MANY:
        raise ConfigError(f"{where}: the weight is {weight!r}; it is a number, 0 or more")
    return SourceConfig({k: v for k, v in entry.items() if k != "weight"}, weight)


def _validation(entry: Any, where: str) -> ValidationConfig:
    if not isinstance(entry, dict) or not entry.keys() >= {"data", "every"} or not entry.keys() <= _VALIDATION:
        raise ConfigError(f"{where}: it has the entries data and every, and at will images; here is {entry!r}")
    if not isinstance(entry["data"], dict):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry['data']!r}")
    for key, least in (("every", 1), ("images", 0)):
        if not _is_whole(entry.get(key, least), least):
            raise ConfigError(f"{where}: {key!r} is {entry[key]!r}, and should be a whole number, {least} or more")
    return ValidationConfig(**entry)


_VALIDATION = {"data", "every", "images"}
