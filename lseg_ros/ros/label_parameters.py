"""The parameters `labels`, `label_file` and `threshold`: which change they request, and how they follow the labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelError, LabelSet, LabelSpec, as_specs


@dataclass(frozen=True)
class LabelChange:
    """A requested change: other labels, another threshold, or both at once.

    Attributes:
        specs: The labels; None if they do not change.
        label_file: The file that they come from, or empty.
        threshold: The threshold of all labels; None if it does not change.
        force: Whether ids may move to other labels, and be used again within the quarantine.
    """

    specs: list[LabelSpec] | None = None
    label_file: str = ""
    threshold: float | None = None
    force: bool = False


def change_of(values: Mapping[str, Any], labels: LabelSet, threshold: float) -> LabelChange | None:
    """Returns the change that new values of parameters request, or None if they match what is in force.

    Args:
        values: The new values by name.
        labels: The labels in force.
        threshold: The threshold in force.

    Raises:
        LabelError: The file cannot be read, or labels and a file are set together.
    """
    specs = specs_of(values)
    label_file = values.get("label_file") or ""
    if not label_file and specs is not None and not _asks_for_others(values["labels"], labels):
        specs = None
    new_threshold = values.get("threshold", threshold)
    if specs is None and new_threshold == threshold:
        return None
    return LabelChange(specs, label_file, None if new_threshold == threshold else new_threshold)


def specs_of(values: Mapping[str, Any]) -> list[LabelSpec] | None:
    """Returns the labels among new values of parameters, or None if there are none.

    Args:
        values: The new values by name.

    Raises:
        LabelError: The file cannot be read, or labels and a file are set together.
    """
    if "labels" in values and values.get("label_file"):
        raise LabelError("labels and label_file are set together; set one of them")
    if values.get("label_file"):
        return read_label_file(values["label_file"])
    return as_specs(values["labels"]) if "labels" in values else None


def _asks_for_others(names: list[str], labels: LabelSet) -> bool:
    """Returns whether a list of names differs from the labels in force, prompts included."""
    plain = all(
        x.prompts == (x.name,) and not x.threshold and not x.background and x.taught is None for x in labels.labels
    )
    return not (plain and list(names) == labels.names)


def store_labels(node: Node, labels: LabelSet, label_file: str) -> None:
    """Writes the labels in force into the parameters.

    This bypasses the node's own `set_parameters_atomically`, which handles changes from outside, and so changes nothing
    else.

    Args:
        node: The node that has the parameters.
        labels: The labels in force.
        label_file: The file that they come from, or empty.
    """
    values = {"labels": labels.names, "label_file": label_file}
    changed = [Parameter(name, value=value) for name, value in values.items() if _differs(node, name, value)]
    if changed:
        node.set_parameters(changed)


def _differs(node: Node, name: str, value: Any) -> bool:
    before = node.get_parameter(name).value
    return (list(before or []) if isinstance(value, list) else before) != value
