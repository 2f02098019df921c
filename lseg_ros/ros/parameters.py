"""The node's parameters: one table, from which they are declared, checked and read.

`config/lseg.yaml` repeats the defaults for users to edit; a test holds it to this table.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.node import Node
from rclpy.parameter import Parameter

from lseg_ros.ros.given_parameters import ParameterError, declare_given, fitted, unknown_parameters

DEFAULT_MODEL = "lseg_mini"
# As in lseg_ros.inference.backends.base, which imports torch: a wrong parameter is to be told before that.
BACKENDS = ("auto", "torch", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("auto", "float32", "tf32", "float16", "bfloat16", "int8")
DEFAULT_LABELS = ["sky", "building", "tree", "grass", "road", "sidewalk", "floor", "wall", "person", "car"]
# mask_encoding -> (largest id, default unknown id)
MASK_ENCODINGS = {"mono8": (255, 255), "16UC1": (65535, 65535), "16SC1": (32767, 32767), "32SC1": (65535, 65535)}
_LARGEST_SIDE = 16384  # pixels
_SIZES = ("build_size", "output_size", "score_size")


@dataclass(frozen=True)
class Entry:
    """One parameter.

    limits: inclusive, of a number. choices: of a string. items: type of a list's items. changes: whether it may change
    at any time (live), only while the node is unconfigured, or never after the start.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    items: type = str
    changes: Literal["live", "unconfigured", "never"] = "unconfigured"


TABLE = (
    Entry("autostart", True, "Configure and activate at start; false where a lifecycle manager does.", changes="never"),
    Entry("model", DEFAULT_MODEL, "Named variant; `lseg models` lists them."),
    Entry("checkpoint", "", "Weights file instead of the model's own; `model` names its variant if the file cannot."),
    Entry("device", "auto", "auto, cpu, or a CUDA device such as cuda:0."),
    Entry("precision", "auto", "Of the image encoder.", choices=PRECISIONS),
    Entry("backend", "auto", "What runs the image encoder; auto is what was measured fastest.", choices=BACKENDS),
    Entry("exported", "", "File of `lseg export` for the backend to run; empty: made of the model."),
    Entry("build_only", False, "Make what the backend keeps on disk, then end.", changes="never"),
    Entry("build_size", [640, 480], "Width and height of the images that build_only prepares.", items=int),
    Entry("input_size", 0, "Longest side in pixels that the network sees; 0 for the model's own.", limits=(0, 4096)),
    Entry("cameras", [], "Names of several cameras; each has its own topics. Empty: one camera.", changes="never"),
    Entry("image_transport", "auto", "auto prefers raw if both are there.", choices=("auto", "raw", "compressed")),
    Entry("camera_info_topic", "", "Topic of CameraInfo; empty: camera_info beside the image."),
    Entry("max_rate", 0.0, "Images per second and camera, at most; 0 for all.", limits=(0.0, 1000.0), changes="live"),
    Entry("feature_rate", 1.0, "Images per second in ~/features; 0 for all.", limits=(0.0, 1000.0), changes="live"),
    Entry("cache_max_age", 10.0, "Seconds for which the last image is kept.", limits=(0.0, 86400.0), changes="live"),
    Entry("no_image_warning", 5.0, "Seconds until a warning says why; 0: never.", limits=(0.0, 3600.0), changes="live"),
    Entry("labels", DEFAULT_LABELS, "Labels, as a list of strings; same as the service set_labels.", changes="live"),
    Entry("label_file", "", "YAML file with labels; `labels` wins where both are set at start.", changes="live"),
    Entry("threshold", 0.0, "Pixels with less confidence than this are unknown.", limits=(0.0, 1.0), changes="live"),
    Entry("contrast", ["other"], "Phrases that compete unseen with a label that is alone; empty: it wins everywhere."),
    Entry("id_quarantine", 30.0, "Seconds for which a removed label's id is refused to another.", limits=(0.0, 3600.0)),
    Entry("output_size", [], "Width and height of what is published; empty: the image's.", items=int, changes="live"),
    Entry("mask_encoding", "mono8", "Encoding of ~/mask.", choices=tuple(MASK_ENCODINGS)),
    Entry("unknown_id", -1, "Value of unknown pixels; -1 for the encoding's largest.", limits=(-1, 65535)),
    Entry("confidence_encoding", "mono8", "mono8 is 1..255, 32FC1 is 0..1.", choices=("mono8", "32FC1")),
    Entry("score_encoding", "32FC1", "Of ~/score/*: mono8 is 0..255, 32FC1 is 0..1.", choices=("mono8", "32FC1")),
    Entry("score_labels", [], "Labels in ~/scores; empty: all of them.", changes="live"),
    Entry("score_size", [], "Width and height of ~/scores; empty: the mask's.", items=int, changes="live"),
)
ENTRIES = {entry.name: entry for entry in TABLE}


@dataclass(frozen=True)
class NodeParams:
    """The parameters at one moment; see `TABLE`. Sizes are (height, width), or None."""

    autostart: bool
    model: str
    checkpoint: str
    device: str
    precision: str
    backend: str
    exported: str
    build_only: bool
    build_size: tuple[int, int] | None
    input_size: int
    cameras: list[str]
    image_transport: str
    camera_info_topic: str
    max_rate: float
    feature_rate: float
    cache_max_age: float
    no_image_warning: float
    labels: list[str]
    label_file: str
    threshold: float
    contrast: list[str]
    id_quarantine: float
    output_size: tuple[int, int] | None
    mask_encoding: str
    unknown_id: int
    confidence_encoding: str
    score_encoding: str
    score_labels: list[str]
    score_size: tuple[int, int] | None

    @property
    def max_id(self) -> int:
        """The largest id that the mask's encoding holds."""
        return MASK_ENCODINGS[self.mask_encoding][0]


def declare(node: Node) -> NodeParams:
    """Declares all parameters and returns their values; raises ParameterError naming all that are wrong."""
    wrong = []
    for entry in TABLE:
        try:
            declare_given(
                node,
                entry.name,
                entry.default,
                description=entry.description,
                limits=entry.limits,
                items=entry.items,
                read_only=entry.changes == "never",
                constraints=_constraints(entry),
            )
        except ParameterError as error:
            wrong.append(str(error))
    if not wrong:
        wrong = problems(_values(node))
    if wrong:
        raise ParameterError("; ".join(wrong))
    return read(node)


def read(node: Node) -> NodeParams:
    """The values that declared parameters have now."""
    values = _values(node)
    for name, value in values.items():
        if isinstance(ENTRIES[name].default, list):
            values[name] = list(value or [])
    for name in _SIZES:
        values[name] = tuple(reversed(values[name])) or None
    if values["unknown_id"] < 0:
        values["unknown_id"] = MASK_ENCODINGS[values["mask_encoding"]][1]
    return NodeParams(**values)


def with_decimals(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Returns changes with a decimal for each whole number that was given where a decimal belongs."""
    return [
        Parameter(p.name, value=float(p.value)) if _is_decimal(p.name) and type(p.value) is int else p
        for p in parameters
    ]


def _is_decimal(name: str) -> bool:
    return name in ENTRIES and isinstance(ENTRIES[name].default, float)


def problems_of_change(node: Node, parameters: Sequence[Parameter], *, configured: bool) -> list[str]:
    """Returns why these changes are refused together, one sentence each.

    Args:
        node: A node that has declared all parameters.
        parameters: The changes, with decimals where they belong.
        configured: Whether the node is past `configure`, so that some parameters are fixed.
    """
    unknown = unknown_parameters(node, [p.name for p in parameters])
    deleted = [p.name for p in parameters if p.name in ENTRIES and p.type_ == Parameter.Type.NOT_SET]
    if unknown or deleted:
        return unknown + [f"parameter {name!r} cannot be deleted; set it to its default" for name in deleted]
    before = _values(node)
    changed = {p.name: p.value for p in parameters if p.name in ENTRIES}
    fixed = []
    for name, value in changed.items():
        when = ENTRIES[name].changes
        if when == "never":
            fixed.append(f"parameter {name!r} is fixed at the start; start the node again to change it")
        elif configured and when == "unconfigured" and value != before[name]:
            fixed.append(f"parameter {name!r} can only change while the node is unconfigured")
    return fixed + problems(before | changed)


def problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of all parameters, one sentence each."""
    wrong = [sentence for entry in TABLE if (sentence := _problem(entry, values[entry.name]))]
    return wrong or _contradictions(values)


def _problem(entry: Entry, value: Any) -> str:
    try:
        value = fitted(entry.name, value, entry.default, limits=entry.limits, items=entry.items)
    except ParameterError as error:
        return str(error)
    if entry.name == "labels" and not value:
        return "parameter 'labels' is empty; give at least one label"
    if entry.choices and value not in entry.choices:
        return f"parameter {entry.name!r} is {value!r}; it must be one of {', '.join(entry.choices)}"
    return ""


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    wrong = []
    max_id = MASK_ENCODINGS[values["mask_encoding"]][0]
    if values["unknown_id"] > max_id:
        wrong.append(
            f"parameter 'unknown_id' is {values['unknown_id']}, and {values['mask_encoding']} holds 0 to {max_id}"
        )
    for name in _SIZES:
        size = list(values[name] or [])
        if size and (len(size) != 2 or not all(1 <= n <= _LARGEST_SIDE for n in size)):
            wrong.append(f"parameter {name!r} is {size}; it must be [width, height], each from 1 to {_LARGEST_SIDE}")
    cameras = list(values["cameras"] or [])
    for name in cameras:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*_?", name):
            wrong.append(f"parameter 'cameras' has {name!r}; names are of letters, digits and single underscores")
    if len(set(cameras)) < len(cameras):
        wrong.append(f"parameter 'cameras' is {cameras}; name each camera once")
    if len(cameras) > 1 and values["camera_info_topic"].startswith("/"):
        wrong.append("parameter 'camera_info_topic' is one topic for several cameras; give a relative name")
    return wrong


def _values(node: Node) -> dict[str, Any]:
    return {entry.name: node.get_parameter(entry.name).value for entry in TABLE}


def _constraints(entry: Entry) -> str:
    constraints = ["one of " + ", ".join(entry.choices)] if entry.choices else []
    if entry.changes == "unconfigured":
        constraints.append("changes only while the node is unconfigured")
    return "; ".join(constraints)
