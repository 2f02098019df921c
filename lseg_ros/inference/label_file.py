"""Label lists as YAML files.

labels:
  - sky
  - {name: plant, prompts: [bush, tree], class_id: 7, threshold: 0.4, color: [0, 200, 0]}
  - {name: other, background: true}
  - {name: gravel, taught: {weights: 5f0c..., for: [JzQ4...], alone: true}}    # see `Taught.entry`
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from lseg_ros.files import from_home
from lseg_ros.inference.labels import LabelError, LabelSpec, as_specs
from lseg_ros.inference.taught import taught_from_entry

_KEYS = {f.name for f in fields(LabelSpec)}


def read_label_file(path: str | Path) -> list[LabelSpec]:
    """Reads a label file.

    Args:
        path: The file. ~ is the home folder.

    Returns:
        Its labels.

    Raises:
        LabelError: The file cannot be used. The message names it and says what is wrong.
    """
    try:
        path = from_home(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LabelError(f"the label file {path} cannot be read: {' '.join(str(error).split())}") from error
    return labels_from_text(text, f"the label file {path}")


def labels_from_text(text: str, source: str) -> list[LabelSpec]:
    """Reads the text of a label file.

    Args:
        text: YAML.
        source: The text's origin, for messages.

    Returns:
        Its labels.

    Raises:
        LabelError: The text cannot be used. The message names its origin and says what is wrong.
    """
    try:
        content = yaml.safe_load(text)
    # YAML reads 2024-02-30 as a date, and Python's error says that there is no such date.
    except (ValueError, ArithmeticError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise LabelError(f"{source} cannot be read: {' '.join(str(error).split())}") from error
    entries = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise LabelError(f"{source} needs a list under 'labels'")
    return labels_from_entries(entries, source)


def labels_from_entries(entries: Any, source: str) -> list[LabelSpec]:
    """Reads labels from a list of texts and mappings.

    Args:
        entries: The value of `labels` in a label file.
        source: The list's origin, for messages.

    Returns:
        The labels.

    Raises:
        LabelError: The list cannot be used. The message names its origin and says what is wrong.
    """
    if not isinstance(entries, list):
        raise LabelError(f"{source} needs a list of labels")
    return as_specs([_spec(entry, source) for entry in entries])


def _spec(entry: Any, source: str) -> LabelSpec:
    if isinstance(entry, str):
        return LabelSpec(entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise LabelError(f"{source} has the entry {entry!r}; expected a string or a mapping with 'name'")
    unknown = sorted(str(key) for key in entry.keys() - _KEYS)
    if unknown:
        raise LabelError(
            f"the label {entry['name']!r} in {source} has the unknown key {unknown[0]!r}; known: {_known()}"
        )
    entry = {key: value for key, value in entry.items() if value is not None}  # an empty key counts as missing
    try:
        return LabelSpec(
            name=entry["name"],
            class_id=_typed(entry.get("class_id"), int, "a whole number"),
            prompts=tuple(_typed(p, str, "a text") for p in _typed(entry.get("prompts", []), list, "a list of texts")),
            threshold=float(_typed(entry.get("threshold", 0.0), (int, float), "a number")),
            background=_typed(entry.get("background", False), bool, "true or false"),
            color=_color(entry.get("color")),
            taught=None if "taught" not in entry else taught_from_entry(entry["taught"]),
        )
    except (TypeError, ValueError) as error:
        raise LabelError(f"the label {entry['name']!r} in {source} has a value that cannot be used: {error}") from error


def _typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Returns a value of a type, or None; raises TypeError for others, such as YAML's `no` for a text."""
    if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    raise TypeError(f"{value!r} is not {what}")


def _color(value: Any) -> tuple[int, int, int] | None:
    if value is None:
        return None
    red, green, blue = (_typed(c, int, "a whole number") for c in _typed(value, list, "a list of three numbers"))
    if not all(0 <= c <= 255 for c in (red, green, blue)):
        raise ValueError(f"color {value} is not three numbers from 0 to 255")
    return red, green, blue


def label_entry(spec: LabelSpec) -> dict[str, Any]:
    """Returns a label's entry in a label file, without values that are not set."""
    entry: dict[str, Any] = {"name": spec.name}
    if spec.class_id is not None and not spec.background:
        entry["class_id"] = spec.class_id
    if spec.prompts:
        entry["prompts"] = list(spec.prompts)
    if spec.threshold:
        entry["threshold"] = spec.threshold
    if spec.background:
        entry["background"] = True
    if spec.color is not None:
        entry["color"] = list(spec.color)
    if spec.taught is not None:
        entry["taught"] = spec.taught.entry()
    return entry


def label_file_text(specs: Sequence[LabelSpec]) -> str:
    """Returns labels as the text of a label file."""
    entries = [label_entry(spec) for spec in specs]
    return yaml.safe_dump({"labels": entries}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _known() -> str:
    return ", ".join(sorted(_KEYS))
