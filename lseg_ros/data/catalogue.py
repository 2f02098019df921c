"""Opens the data sets that configurations describe."""

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from lseg_ros.data.ade20k import Ade20k
from lseg_ros.data.camvid import CamVid
from lseg_ros.data.coco import CocoInstances
from lseg_ros.data.coco20i import Coco20i
from lseg_ros.data.common import Dataset
from lseg_ros.data.config_file import ConfigError
from lseg_ros.data.episodes import EpisodeSet
from lseg_ros.data.folder import Folder
from lseg_ros.data.fss1000 import Fss1000
from lseg_ros.data.layers import Layers
from lseg_ros.data.pascal5i import Pascal5i
from lseg_ros.files import from_home

Words = Mapping[str, list[str]]
"""All phrases of each label, the label itself first."""

KINDS: dict[str, Callable[..., Dataset | EpisodeSet]] = {
    "ade20k": Ade20k,
    "camvid": CamVid,
    "coco": CocoInstances,
    "folder": Folder,
    "pascal5i": Pascal5i,
    "coco20i": Coco20i,
    "fss1000": Fss1000,
}

_KINDS_OF_VALUES = {int: "a whole number", str: "a text, in quotes if it looks like a number", bool: "true or false"}


def open_dataset(
    entry: Mapping[str, Any], root: Path, where: str, words: Words | None = None, without: Collection[str] = ()
) -> Dataset | EpisodeSet:
    """Opens the data set that an entry of a configuration describes.

    Args:
        entry: Either `images` and `layers` (see `Layers`; a label is a phrase or a list of phrases), optionally with
            `only`, `leave_out` and `upright`. Or `dataset`, one of KINDS, with `root` and the other arguments of its
            class.
        root: Folder that paths in the entry are relative to.
        where: Name of the entry, for messages.
        words: More phrases for labels.
        without: Labels whose pixels become IGNORE. For `images` and `layers` only.

    Returns:
        The data set.

    Raises:
        ConfigError: The entry is not as described.
        FileNotFoundError: Data are missing.
        ValueError: Data are damaged.
    """
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: a data set is a mapping of entries, and here is {entry!r}")
    if "dataset" in entry:
        if without:
            raise ConfigError(f"{where}: 'without' is for data sets given by images and layers")
        dataset = _by_name(dict(entry), root, where)
        if words and not isinstance(dataset, EpisodeSet):
            dataset.phrases = [[*_more(phrases, words)] for phrases in dataset.phrases]
        return dataset
    return _by_layers(dict(entry), root, where, words or {}, without)


def _by_name(entry: dict[str, Any], root: Path, where: str) -> Dataset | EpisodeSet:
    kind = entry.pop("dataset")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{where}: there is no data set {kind!r}; known: {', '.join(KINDS)}")
    folder = root / _path(str(entry.pop("root", ".")), where)
    signature = inspect.signature(KINDS[kind])
    try:
        signature.bind(folder, **entry)
    except TypeError as error:
        raise ConfigError(f"{where}: the data set {kind!r} does not take this: {error}") from error
    for key, value in entry.items():
        expected = signature.parameters[key].annotation
        options = get_args(expected)  # of a Literal
        if value not in options if options else type(value) is not expected:
            wanted = f"one of {', '.join(options)}" if options else _KINDS_OF_VALUES[expected]
            raise ConfigError(f"{where}: {key!r} is {value!r}, and should be {wanted}")
    return KINDS[kind](folder, **entry)


def _by_layers(entry: dict[str, Any], root: Path, where: str, words: Words, without: Collection[str]) -> Layers:
    unknown = entry.keys() - {"images", "layers", "only", "leave_out", "upright"}
    missing = {"images", "layers"} - entry.keys()
    if unknown or missing:
        problem = f"unknown {sorted(unknown)[0]!r}" if unknown else f"missing {sorted(missing)[0]!r}"
        raise ConfigError(
            f"{where}: {problem}; a data set has images, layers, and optionally only, leave_out and upright"
        )
    layers = []
    for layer in _list(entry["layers"], where, "layers"):
        if not isinstance(layer, Mapping) or layer.keys() != {"masks", "labels"}:
            raise ConfigError(f"{where}: a layer has masks and labels, and here is {layer!r}")
        if not isinstance(layer["labels"], Mapping) or not layer["labels"]:
            raise ConfigError(f"{where}: 'labels' gives ids their labels, as in 0: sky; here is {layer['labels']!r}")
        labels = {}
        for mask_id, given in layer["labels"].items():
            phrases = [given] if isinstance(given, str) else given
            if not isinstance(mask_id, int) or not 0 <= mask_id <= 255:
                raise ConfigError(f"{where}: {mask_id!r} is no id of an 8-bit mask")
            if (
                not isinstance(phrases, list)
                or not phrases
                or not all(isinstance(p, str) and p.strip() for p in phrases)
            ):
                raise ConfigError(f"{where}: the label of id {mask_id} is {given!r}, and not a phrase or phrases")
            if phrases[0] not in without:
                labels[mask_id] = _more(phrases, words)
        layers.append((root / _path(_text(layer["masks"], where, "masks"), where), labels))
    if not layers:
        raise ConfigError(f"{where}: there are no layers")
    patterns = {key: [str(p) for p in _list(entry[key], where, key)] for key in ("only", "leave_out") if key in entry}
    upright = entry.get("upright", False)
    if not isinstance(upright, bool):
        raise ConfigError(f"{where}: 'upright' is {upright!r}, and should be {_KINDS_OF_VALUES[bool]}")
    images = root / _path(_text(entry["images"], where, "images"), where)
    return Layers(images, layers, **patterns, upright=upright)


def labels_of(entry: Mapping[str, Any]) -> set[str]:
    """Returns the labels that `images` and `layers` name, with or without pixels. Other data sets give none."""
    given = [label for layer in entry.get("layers", []) for label in layer["labels"].values()]
    return {label if isinstance(label, str) else label[0] for label in given}


def _more(phrases: list[str], words: Words) -> list[str]:
    """Adds the phrases that `words` has for the first phrase, without duplicates."""
    return list(dict.fromkeys([*phrases, *words.get(phrases[0], [])]))


def _text(value: Any, where: str, key: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key!r} is a folder, and here is {value!r}")
    return value


def _path(text: str, where: str) -> Path:
    """Returns a path as `from_home` does; raises ConfigError if there is no home folder."""
    try:
        return from_home(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _list(value: Any, where: str, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {key!r} is a list, and here is {value!r}")
    return value
