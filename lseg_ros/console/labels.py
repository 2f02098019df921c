"""Labels as JSON for the page, and back; label files to load and to save."""

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

import lseg_ros
from lseg_ros.inference.label_file import labels_from_entries, labels_from_text
from lseg_ros.inference.labels import LabelSpec


def label_set_json(message: Any) -> dict[str, Any]:
    """Returns a lseg_ros/LabelSet for the page."""
    labels = [{**_json(label), "score_topic": label.score_topic} for label in message.labels]
    return {"version": message.version, "labels": labels}


def _json(label: Any) -> dict[str, Any]:
    return {
        "name": label.name,
        "class_id": label.class_id,
        "prompts": list(label.prompts),
        "threshold": round(float(label.threshold), 6),  # of a float32
        "background": label.background,
        "color": [round(255 * c) for c in (label.color.r, label.color.g, label.color.b)],
    }


def specs_from_json(entries: Any) -> list[LabelSpec]:
    """Returns the labels that the page asks for; raises LabelError for what cannot be one."""
    return labels_from_entries(entries, "the request")


def spec_json(spec: LabelSpec) -> dict[str, Any]:
    """Returns a label that is not in force yet for the page; what the node chooses is None."""
    return {
        "name": spec.name,
        "class_id": spec.class_id,
        "prompts": list(spec.prompts),
        "threshold": spec.threshold,
        "background": spec.background,
        "color": None if spec.color is None else list(spec.color),
    }


def specs_from_upload(text: str) -> list[LabelSpec]:
    """Returns the labels of a file that was loaded in the page; raises LabelError."""
    return labels_from_text(text, "the loaded file")


def label_set_yaml(message: Any) -> str:
    """Returns a lseg_ros/LabelSet as the text of a label file."""
    entries = []
    for label in message.labels:
        entry = _json(label)
        if entry["prompts"] == [entry["name"]]:
            del entry["prompts"]
        if not entry["threshold"]:
            del entry["threshold"]
        if entry["background"]:
            del entry["class_id"]
        else:
            del entry["background"]
        entries.append(entry)
    return yaml.safe_dump({"labels": entries}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def packaged_files() -> dict[str, Path]:
    """Returns the label files that come with the package, by name."""
    folder = Path(lseg_ros.__file__).resolve().parents[1] / "config" / "labels"
    if not folder.is_dir():  # installed
        share = import_module("ament_index_python.packages").get_package_share_directory("lseg_ros")
        folder = Path(share, "config", "labels")
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}
