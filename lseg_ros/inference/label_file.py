"""Label lists as YAML files.

labels:
  - sky
  - {name: plant, prompts: [bush, tree], class_id: 7, threshold: 0.4, color: [0, 200, 0]}
  - {name: other, background: true}
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from lseg_ros.inference.labels import LabelError, LabelSpec, as_specs

_KEYS = {f.name for f in fields(LabelSpec)}


def read_label_file(path: Path) -> list[LabelSpec]:
    """Reads a label file; raises LabelError naming the file and what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LabelError(f"the label file {path} cannot be read: {' '.join(str(error).split())}") from error
    entries = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise LabelError(f"the label file {path} needs a list under 'labels'")
    return as_specs([_spec(entry, path) for entry in entries])


def _spec(entry: Any, path: Path) -> LabelSpec:
    if isinstance(entry, str):
        return LabelSpec(entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise LabelError(f"the label file {path} has the entry {entry!r}; expected a string or a mapping with 'name'")
    unknown = sorted(str(key) for key in entry.keys() - _KEYS)
    if unknown:
        raise LabelError(f"the label {entry['name']!r} in {path} has the unknown key {unknown[0]!r}; known: {_known()}")
    try:
        return LabelSpec(
            name=entry["name"],
            class_id=None if entry.get("class_id") is None else int(entry["class_id"]),
            prompts=tuple(str(p) for p in entry.get("prompts", ())),
            threshold=float(entry.get("threshold", 0.0)),
            background=bool(entry.get("background", False)),
            color=_color(entry.get("color")),
        )
    except (TypeError, ValueError) as error:
        raise LabelError(f"the label {entry['name']!r} in {path} has a value that cannot be used: {error}") from error


def _color(value: Any) -> tuple[int, int, int] | None:
    if value is None:
        return None
    red, green, blue = (int(c) for c in value)
    if not all(0 <= c <= 255 for c in (red, green, blue)):
        raise ValueError(f"color {value} is not three numbers from 0 to 255")
    return red, green, blue


def _known() -> str:
    return ", ".join(sorted(_KEYS))
