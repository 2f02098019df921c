"""Rules for the values of a configuration, and the declaration of its entries."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

_UNBOUNDED = float("inf")


@dataclass(frozen=True)
class Rule:
    """A rule for a value.

    Attributes:
        allows: Returns whether a value follows the rule.
        says: The rule in words, as at the end of "'steps' is -1, and should be ...".
    """

    allows: Callable[[Any], bool]
    says: str


def entry(rule: Rule, meaning: str, *, default: Any = MISSING, factory: Any = MISSING, shown: str | None = None) -> Any:
    """Declares an entry of a configuration as a dataclass field.

    Args:
        rule: The rule for its value.
        meaning: Its meaning, for the table in the documents.
        default: Its default value. Without `default` and `factory` it is required.
        factory: Makes the default value if that is mutable.
        shown: The default in the table, if the value itself says little.
    """
    if shown is None:
        shown = "" if default is MISSING else str(default)
    metadata = {"rule": rule, "meaning": meaning, "shown": shown}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def is_number(value: Any) -> bool:
    """Returns whether a value is an integer or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any, least: int) -> bool:
    """Returns whether a value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def whole(least: int) -> Rule:
    """Returns the rule "an integer of at least `least`"."""
    return Rule(lambda value: is_whole(value, least), f"a whole number, {least} or more")


def at_least(least: float) -> Rule:
    """Returns the rule "a finite number of at least `least`"."""
    return Rule(lambda value: is_number(value) and least <= value < _UNBOUNDED, f"a number, {least:g} or more")


def between(least: float, most: float) -> Rule:
    """Returns the rule "a number from `least` to `most`, both included"."""
    return Rule(lambda value: is_number(value) and least <= value <= most, f"a number from {least:g} to {most:g}")


def one_of(*names: str) -> Rule:
    """Returns the rule "one of some texts"."""
    return Rule(lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text_or_texts(value: Any) -> bool:
    return _is_text(value) or (_is_texts(value) and bool(value))


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and 0 < value[0] <= value[1]


ABOVE_ZERO = Rule(lambda value: is_number(value) and 0 < value < _UNBOUNDED, "a number above 0")
TEXT = Rule(_is_text, "a text")
TEXTS = Rule(_is_texts, "a list of texts")
TEXT_OR_TEXTS = Rule(_is_text_or_texts, "a text, or a list of texts")
FILE_OR_FILES = Rule(_is_text_or_texts, "a file, or a list of files")
FACTORS = Rule(_is_range, "two factors above 0, the smaller first")
PIXEL_RANGE = Rule(
    lambda value: _is_range(value) and all(is_whole(n, 1) for n in value),
    "two whole numbers of pixels, the smaller first",
)
STEPS = Rule(
    lambda v: isinstance(v, list) and all(is_whole(n, 1) for n in v) and v == sorted(set(v)),
    "a list of steps, each 1 or more, ascending",
)
WHOLE_OR_ALL = Rule(lambda value: value == "all" or is_whole(value, 0), "a whole number, 0 or more, or all")
DECAY = Rule(lambda value: is_number(value) and 0 <= value < 1, "a number from 0 (none) to below 1")
DATA_SETS = Rule(
    lambda value: isinstance(value, dict) and bool(value), "a mapping from names to data sets, at least one"
)
CLASSES = Rule(
    lambda value: (
        isinstance(value, dict) and bool(value) and all(is_whole(k, 0) and _is_text(v) for k, v in value.items())
    ),
    "a mapping from numbers of outputs, 0 or more, to labels",
)
ANYTHING = Rule(lambda value: True, "")
