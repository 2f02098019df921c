"""Converts labels to JSON for the page and back, and loads and saves label files."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import lseg_ros
from lseg_ros.inference.label_file import label_file_text, labels_from_entries, labels_from_text
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.ros.label_msgs import label_spec


def label_set_json(message: Any) -> dict[str, Any]:
    """Returns a lseg_ros/LabelSet for the page."""
    labels = [
        {**spec_json(label_spec(label)), "class_id": label.class_id, "score_topic": label.score_topic}
        for label in message.labels
    ]
    return {"version": message.version, "labels": labels}


def specs_from_json(entries: Any) -> list[LabelSpec]:
    """Reads the labels that the page requests.

    Args:
        entries: JSON values.

    Raises:
        LabelError: They cannot be used. The message says why.
    """
    return labels_from_entries(entries, "the request")


def spec_json(spec: LabelSpec) -> dict[str, Any]:
    """Returns a label for the page. Values that the node chooses are None."""
    return {
        "name": spec.name,
        "class_id": spec.class_id,
        "prompts": list(spec.prompts),
        "threshold": _decimal(spec.threshold),
        "background": spec.background,
        "color": None if spec.color is None else list(spec.color),
        "taught": None if spec.taught is None else spec.taught.entry(),
    }


def _decimal(threshold: float) -> float:
    return round(threshold, 6)  # messages have float32


def specs_from_upload(text: str) -> list[LabelSpec]:
    """Reads the labels of a file that was loaded in the page.

    Args:
        text: The file's text.

    Raises:
        LabelError: They cannot be used. The message says why.
    """
    return labels_from_text(text, "the loaded file")


def label_set_yaml(message: Any) -> str:
    """Returns a lseg_ros/LabelSet as the text of a label file."""
    specs = [label_spec(label) for label in message.labels]
    return label_file_text(
        [
            replace(x, threshold=_decimal(x.threshold), prompts=() if x.prompts == (x.name,) else x.prompts)
            for x in specs
        ]
    )


def packaged_files() -> dict[str, Path]:
    """Returns the label files that come with the package, by name."""
    folder = Path(lseg_ros.__file__).resolve().parents[1] / "config" / "labels"
    if not folder.is_dir():  # the package is installed
        share = import_module("ament_index_python.packages").get_package_share_directory("lseg_ros")
        folder = Path(share, "config", "labels")
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}
