"""Declares, checks and reads the node's parameters, which `lseg_ros.ros.parameter_table` lists."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from lseg_ros.ros.given_parameters import (
    Entry,
    ParameterError,
    declare_given,
    fitted,
    given_parameters,
    unknown_parameters,
)
from lseg_ros.ros.parameter_table import ENTRIES, LARGEST_SIDE, MASK_ENCODINGS, SIZES, TABLE, NodeParams


def declare(node: Node) -> NodeParams:
    """Declares all parameters and returns their values.

    Raises:
        ParameterError: Some values cannot be used. The message names all of them.
    """
    wrong = []
    for entry in TABLE:
        try:
            declare_given(node, entry)
        except ParameterError as error:
            wrong.append(str(error))
    if not wrong:
        wrong = problems(_values(node))
    if wrong:
        raise ParameterError("; ".join(wrong))
    return read(node)


def read(node: Node) -> NodeParams:
    """Returns the current values of the declared parameters."""
    values = _values(node)
    for name, value in values.items():
        if isinstance(ENTRIES[name].default, list):
            values[name] = list(value or [])
    for name in SIZES:
        values[name] = tuple(reversed(values[name])) or None
    if values["unknown_id"] < 0:
        values["unknown_id"] = MASK_ENCODINGS[values["mask_encoding"]][1]
    return NodeParams(**values)


def with_decimals(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Returns changes in which whole numbers are decimal where the parameter is."""
    return [
        Parameter(p.name, value=float(p.value)) if _is_decimal(p.name) and type(p.value) is int else p
        for p in parameters
    ]


def _is_decimal(name: str) -> bool:
    return name in ENTRIES and isinstance(ENTRIES[name].default, float)


def problems_of_change(node: Node, parameters: Sequence[Parameter], *, configured: bool) -> list[str]:
    """Returns one sentence for each reason to refuse these changes together.

    Args:
        node: A node that has declared all parameters.
        parameters: The changes, from `with_decimals`.
        configured: Whether the node is configured, so that some parameters are fixed.
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
    """Returns one sentence for each value that cannot be used."""
    wrong = [sentence for entry in TABLE if (sentence := _problem(entry, values[entry.name]))]
    return wrong or _contradictions(values)


def _problem(entry: Entry, value: Any) -> str:
    try:
        value = fitted(entry, value)
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
    for name in SIZES:
        size = list(values[name] or [])
        if size and (len(size) != 2 or not all(1 <= n <= LARGEST_SIDE for n in size)):
            wrong.append(f"parameter {name!r} is {size}; it must be {ENTRIES[name].kind}")
    cameras = list(values["cameras"] or [])
    for name in cameras:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*_?", name):
            wrong.append(f"parameter 'cameras' has {name!r}; names are of letters, digits and single underscores")
    if len(set(cameras)) < len(cameras):
        wrong.append(f"parameter 'cameras' is {cameras}; name each camera once")
    if len(cameras) > 1 and values["camera_info_topic"].startswith("/"):
        wrong.append("parameter 'camera_info_topic' is one topic for several cameras; give a relative name")
    return wrong


def changed_parameters(node: Node) -> list[Parameter]:
    """Returns the parameters whose values are not those of the start.

    Args:
        node: A node that has declared all parameters.
    """
    given = given_parameters(node)
    first = {entry.name: given[entry.name].value if entry.name in given else entry.default for entry in TABLE}
    return [parameter for name in first if (parameter := node.get_parameter(name)).value != first[name]]


def _values(node: Node) -> dict[str, Any]:
    return {entry.name: node.get_parameter(entry.name).value for entry in TABLE}
