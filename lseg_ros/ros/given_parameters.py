"""Reads and checks the parameters that are given to a node at its start, and names those that nobody reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

# Parameters that rclpy reads in some distributions and states. Giving them is never a mistake.
_RCLPYS_OWN = ("use_sim_time", "start_type_description_service")
_RCLPYS_TOPICS = ("/clock", "/parameter_events", "/rosout")
_QOS = "qos_overrides."


@dataclass(frozen=True)
class Entry:
    """One parameter.

    Attributes:
        name: The parameter's name.
        default: Its value where none is given. The parameter has this type.
        description: What it does, for `--help`, `ros2 param describe` and the documents.
        limits: The least and the greatest number, both allowed.
        choices: The texts that are allowed; empty for any.
        items: The type of a list's items.
        kind: What a value must be, where type, limits and choices do not say it.
        changes: When it may change: at any time (live), while the node is unconfigured, or never after the start.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    items: type = str
    kind: str = ""
    changes: Literal["live", "unconfigured", "never"] = "unconfigured"

    @property
    def explained(self) -> str:
        """The description, and the choices where it does not name all of them."""
        if all(choice in self.description for choice in self.choices):
            return self.description
        return f"{self.description} One of {', '.join(self.choices)}."


class ParameterError(ValueError):
    """The node cannot start with its parameters. The message names all that are wrong."""


def given_parameters(node: Node) -> Mapping[str, Parameter]:
    """Returns the parameters that were given at the start, by name. rclpy has no public function for it."""
    return node._parameter_overrides


def declare_given(node: Node, entry: Entry) -> Any:
    """Declares one parameter, with the value that was given at the start or else its default.

    Returns:
        The value.

    Raises:
        ParameterError: The given value has another type, or is out of its limits.
    """
    given = given_parameters(node).get(entry.name)
    value = entry.default if given is None else fitted(entry, given.value)
    descriptor = ParameterDescriptor(
        description=entry.description,
        read_only=entry.changes == "never",
        additional_constraints=_constraints(entry),
        # An empty list has no item type, so rclpy would refuse to change it to a list with items.
        dynamic_typing=isinstance(entry.default, list),
    )
    if entry.limits is not None:
        low, high = entry.limits
        if isinstance(entry.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    node.declare_parameter(entry.name, value, descriptor, ignore_override=True)
    return value


def _constraints(entry: Entry) -> str:
    constraints = ["one of " + ", ".join(entry.choices)] if entry.choices else []
    if entry.kind:
        constraints.append(entry.kind)
    if entry.changes == "unconfigured":
        constraints.append("changes only while the node is unconfigured")
    return "; ".join(constraints)


def fitted(entry: Entry, value: Any) -> Any:
    """Returns a value in the type of the parameter's default. A whole number is accepted for a decimal one.

    Args:
        entry: The parameter.
        value: The value as rclpy has it.

    Raises:
        ParameterError: The value has another type, or is out of its limits.
    """
    name, default, limits = entry.name, entry.default, entry.limits
    if isinstance(default, list):
        return _fitted_list(name, value, entry.items)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise ParameterError(f"parameter {name!r} is {_shown(value)}; it must be {_kind(default, value, limits)}")
    if limits is not None and not limits[0] <= value <= limits[1]:  # this form also refuses NaN
        raise ParameterError(f"parameter {name!r} is {value:g}; it must be from {limits[0]:g} to {limits[1]:g}")
    return value


def _fitted_list(name: str, value: Any, items: type) -> list[Any]:
    is_list = not isinstance(value, (str, bool, int, float, type(None)))
    if value is None or (is_list and len(value) == 0):  # an empty list arrives as another type, or not at all
        return []
    if not is_list or any(type(item) is not items for item in value):
        kind = "a list of strings" if items is str else "a list of whole numbers"
        advice = ""
        if isinstance(value, str) and items is str:
            advice = f", such as [{value}]"
        elif items is str and is_list:
            advice = ", each in quotes where YAML would take it for something else"
        raise ParameterError(f"parameter {name!r} is {_shown(value)}; it must be {kind}{advice}")
    return list(value)


def _kind(default: Any, value: Any, limits: tuple[float, float] | None) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str):
        quotes = f" in quotes, such as '\"{_shown(value)}\"'" if isinstance(value, (bool, int, float)) else ""
        return f"a string{quotes}"
    span = "" if limits is None else f" from {limits[0]:g} to {limits[1]:g}"
    return f"a whole number{span}" if isinstance(default, int) else f"a number{span}"


def _shown(value: Any) -> str:
    """Writes a value as in YAML, not as in Python."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return repr(value)
    return f"[{', '.join(_shown(item) for item in value)}]"


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence that suggests the nearest known name, or an empty text if none is near."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unread(node: Node, *, overrides: bool) -> list[str]:
    """Returns a sentence for each parameter that was given at the start and that nobody reads.

    Args:
        node: A node that has declared its parameters.
        overrides: Whether to look at QoS overrides only, or at all other parameters only. QoS overrides are declared
            when topics are created, which may be much later.
    """
    # They include those that rclpy declares itself.
    known = [name for name in node._parameters if name.startswith(_QOS) == overrides]
    sentences = []
    for name in given_parameters(node):
        if node.has_parameter(name) or name.startswith(_QOS) != overrides or _is_rclpys(name):
            continue
        meant = nearest(name, known)
        if not meant:
            meant = f"; `ros2 param list {node.get_fully_qualified_name()}` shows those that are"
        sentences.append(f"the parameter {name!r} was given, and is not known and not used{meant}")
    return sentences


def _is_rclpys(name: str) -> bool:
    return name in _RCLPYS_OWN or name.startswith(tuple(f"{_QOS}{topic}." for topic in _RCLPYS_TOPICS))


def unknown_parameters(node: Node, names: Iterable[str]) -> list[str]:
    """Returns a sentence for each name that is no parameter of a node."""
    return [
        f"there is no parameter {name!r}{nearest(name, node._parameters)}"
        for name in names
        if not node.has_parameter(name)
    ]
