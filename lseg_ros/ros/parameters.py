"""The node's parameters: one table, from which they are declared, checked and read.

`config/lseg.yaml` repeats the defaults for users to edit; a test holds it to this table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

DEFAULT_MODEL = "lseg_mini"
DEFAULT_LABELS = ["sky", "building", "tree", "grass", "road", "sidewalk", "floor", "wall", "person", "car"]
# mask_encoding -> (largest id, default unknown id)
MASK_ENCODINGS = {"mono8": (255, 255), "16UC1": (65535, 65535), "16SC1": (32767, 32767), "32SC1": (65535, 65535)}


@dataclass(frozen=True)
class Entry:
    """One parameter. `limits`: inclusive, of a number. `choices`: of a string. `live`: may change while running."""

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


TABLE = (
    Entry("model", DEFAULT_MODEL, "Named variant; `lseg models` lists them."),
    Entry("checkpoint", "", "Weights file instead of the model's own; `model` names its variant if the file cannot."),
    Entry("device", "auto", "auto, cpu, or a CUDA device such as cuda:0."),
    Entry("precision", "auto", "Of the image encoder.", choices=("auto", "float32", "float16", "bfloat16")),
    Entry("input_size", 0, "Longest side in pixels that the network sees; 0 for the model's own.", limits=(0, 4096)),
    Entry("labels", DEFAULT_LABELS, "Labels, as a list of strings; same as the service set_labels.", live=True),
    Entry("label_file", "", "YAML file with labels, read at start; `labels` wins where both are set."),
    Entry("threshold", 0.0, "Pixels with less confidence than this are unknown.", limits=(0.0, 1.0), live=True),
    Entry("contrast", ["other"], "Phrases that compete unseen with a label that is alone; empty: it wins everywhere."),
    Entry("mask_encoding", "mono8", "Encoding of ~/mask.", choices=tuple(MASK_ENCODINGS)),
    Entry("unknown_id", -1, "Value of unknown pixels; -1 for the encoding's largest.", limits=(-1, 65535)),
    Entry("confidence_encoding", "mono8", "mono8 is 0..255, 32FC1 is 0..1.", choices=("mono8", "32FC1")),
    Entry("score_encoding", "32FC1", "mono8 is 0..255, 32FC1 is 0..1.", choices=("mono8", "32FC1")),
    Entry("id_quarantine", 30.0, "Seconds for which a removed label's id is refused to another.", limits=(0.0, 3600.0)),
)
ENTRIES = {entry.name: entry for entry in TABLE}


class ParameterError(ValueError):
    """A parameter that the node cannot start with."""


@dataclass(frozen=True)
class NodeParams:
    """What the node starts with. Live ones (labels, threshold) are read again when they change."""

    model: str
    checkpoint: str
    device: str
    precision: str
    input_size: int
    labels: list[str]
    label_file: str
    threshold: float
    contrast: list[str]
    mask_encoding: str
    unknown_id: int
    confidence_encoding: str
    score_encoding: str
    id_quarantine: float

    @property
    def max_id(self) -> int:
        """The largest id that the mask's encoding holds."""
        return MASK_ENCODINGS[self.mask_encoding][0]


def declare(node: Node) -> NodeParams:
    """Declares all parameters and returns their values; raises ParameterError naming the first that is wrong."""
    values: dict[str, Any] = {}
    for entry in TABLE:
        try:
            parameter = node.declare_parameter(entry.name, entry.default, _descriptor(entry))
        except Exception as error:  # rclpy has one exception for each way in which an override can be wrong
            raise ParameterError(f"parameter {entry.name!r} cannot be used: {error}") from error
        reason = check(parameter)
        if reason:
            raise ParameterError(reason)
        values[entry.name] = parameter.value if entry.name != "contrast" else list(parameter.value or [])
    max_id, unknown_id = MASK_ENCODINGS[values["mask_encoding"]]
    if values["unknown_id"] < 0:
        values["unknown_id"] = unknown_id
    if values["unknown_id"] > max_id:
        raise ParameterError(
            f"parameter 'unknown_id' is {values['unknown_id']}, and {values['mask_encoding']} holds 0 to {max_id}"
        )
    return NodeParams(**values)


def check(parameter: Parameter) -> str:
    """Why a value is refused, in a sentence; empty if it is fine. Ranges are rclpy's to check."""
    entry = ENTRIES.get(parameter.name)
    if entry is None:
        return ""
    if isinstance(entry.default, list):
        return _check_list(parameter, may_be_empty=entry.name != "labels")
    if entry.choices and parameter.value not in entry.choices:
        return f"parameter {entry.name!r} is {parameter.value!r}; it must be one of {', '.join(entry.choices)}"
    return ""


def _check_list(parameter: Parameter, *, may_be_empty: bool) -> str:
    value = parameter.value
    if parameter.type_ == Parameter.Type.STRING_ARRAY:
        return ""
    # An empty list has no type of its own and arrives as bytes, or not at all.
    if value is None or (not isinstance(value, (str, bool, int, float)) and len(value) == 0):
        return "" if may_be_empty else f"parameter {parameter.name!r} is empty; give at least one label"
    return f"parameter {parameter.name!r} is {value!r}, of type {parameter.type_.name}; it must be a list of strings"


def was_given(node: Node, name: str) -> bool:
    """Whether a parameter was set from outside when the node started."""
    return name in node._parameter_overrides  # rclpy has no public way to ask


def _descriptor(entry: Entry) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=entry.description, read_only=not entry.live)
    if entry.choices:
        descriptor.additional_constraints = "one of " + ", ".join(entry.choices)
    # An empty list comes with another type, so the type of lists is checked here.
    descriptor.dynamic_typing = isinstance(entry.default, list)
    if entry.limits is not None:
        low, high = entry.limits
        if isinstance(entry.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor


def on_change(
    node: Node, validate: Callable[[list[Parameter]], SetParametersResult], apply: Callable[[list[Parameter]], None]
) -> None:
    """Calls `validate` before parameters change and `apply` after they have."""
    node.add_on_set_parameters_callback(validate)
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(apply)
        return
    # Humble has no such callback; there, all changes from outside come through this method.
    change = node.set_parameters_atomically

    def change_and_apply(parameters: list[Parameter]) -> SetParametersResult:
        result = change(parameters)
        if result.successful:
            apply(parameters)
        return result

    vars(node)["set_parameters_atomically"] = change_and_apply
