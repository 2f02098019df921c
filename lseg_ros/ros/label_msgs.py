"""Converts labels to messages and back."""

import re
import unicodedata
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import LabelInfo, VisionClass

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import Color, LabelError, LabelSet, LabelSpec, as_specs
from lseg_ros.inference.taught import Taught, nothing_taught_fields, taught_from_message

if TYPE_CHECKING:
    from lseg_ros.srv import SetLabels

_LONGEST_SLUG = 100  # most characters; a topic's full name may have 247


def specs_from_request(request: "SetLabels.Request") -> list[LabelSpec]:
    """Reads the labels of a set_labels request.

    Args:
        request: The request.

    Returns:
        The labels.

    Raises:
        LabelError: The request does not use exactly one of its forms, or a label cannot be used.
    """
    given = [name for name in ("labels", "full", "label_file") if len(getattr(request, name)) > 0]
    if len(given) != 1:
        found = f"it has {' and '.join(given)}" if given else "all three are empty"
        raise LabelError(f"a request needs exactly one of labels, full and label_file; {found}")
    if len(request.class_ids) > 0 and not len(request.labels):
        raise LabelError(f"class_ids go with labels only; put the ids into {given[0]}")
    if request.label_file:
        return read_label_file(request.label_file)
    if len(request.full) > 0:
        return as_specs([label_spec(label) for label in request.full])
    return as_specs(list(request.labels), list(request.class_ids))


def label_spec(label: Any) -> LabelSpec:
    """Reads a lseg_ros/msg/Label.

    Args:
        label: The message.

    Returns:
        The requested label.

    Raises:
        LabelError: Its color, or what it was taught, cannot be used.
    """
    channels = (label.color.r, label.color.g, label.color.b)
    if not all(0.0 <= c <= 1.0 for c in channels):
        raise LabelError(f"the color of {label.name!r} is {channels}; each channel must be between 0 and 1")
    red, green, blue = (round(255 * c) for c in channels)
    try:
        taught = taught_from_message(label.taught)
    except ValueError as error:
        raise LabelError(f"what the label {label.name!r} was taught cannot be used: {error}") from error
    return LabelSpec(
        name=label.name,
        class_id=label.class_id or None,
        prompts=() if list(label.prompts) == [label.name] else tuple(label.prompts),
        threshold=round(float(label.threshold), 6),  # of a float32
        background=label.background,
        color=(red, green, blue) if any((*channels, label.color.a)) else None,
        taught=taught,
    )


def label_msg(spec: LabelSpec) -> lseg_msgs.Label:
    """Returns a requested label as a message, for a set_labels request.

    Args:
        spec: The label.

    Raises:
        LabelError: It has class id 0, which a request reads as "choose one".
    """
    if spec.class_id == 0:
        raise LabelError(f"the label {spec.name!r} asks for class id 0, which cannot be sent; choose another id")
    return lseg_msgs.Label(
        name=spec.name,
        class_id=spec.class_id or 0,
        prompts=list(spec.prompts),
        threshold=spec.threshold,
        background=spec.background,
        color=ColorRGBA() if spec.color is None else _color(spec.color),
        taught=_taught(spec.taught),
    )


def label_set_msg(labels: LabelSet, topics: Mapping[str, str], stamp: Time) -> lseg_msgs.LabelSet:
    """Returns the labels in force as a message.

    Args:
        labels: The labels.
        topics: Full name of each label's score topic.
        stamp: When they came into force.
    """
    message = lseg_msgs.LabelSet(version=labels.version)
    message.header.stamp = stamp
    message.labels = [
        lseg_msgs.Label(
            **label.message_fields(),
            color=_color(label.color),
            taught=_taught(label.taught),
            score_topic=topics.get(label.name, ""),
        )
        for label in labels.labels
    ]
    return message


def _taught(taught: Taught | None) -> lseg_msgs.Taught:
    fields = nothing_taught_fields() if taught is None else taught.message_fields()
    return lseg_msgs.Taught(**{**fields, **{key: array("f", fields[key]) for key in ("toward", "against")}})


def _color(color: Color) -> ColorRGBA:
    red, green, blue = (c / 255 for c in color)
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)


def label_info_msg(labels: LabelSet, threshold: float, stamp: Time) -> LabelInfo:
    """Returns the ids and names for costmaps, from `LabelSet.ids_and_names`.

    Args:
        labels: The labels.
        threshold: The threshold of the node, in [0, 1].
        stamp: When they came into force.
    """
    message = LabelInfo(threshold=threshold)
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=class_id, class_name=name) for class_id, name in labels.ids_and_names()]
    return message


def slugs(labels: LabelSet, before: Mapping[str, str]) -> dict[str, str]:
    """Makes a part of a topic's name for each label.

    Args:
        labels: The labels.
        before: The parts that labels have already and keep.
    """
    found = {name: before[name] for name in labels.names if name in before}
    for label in labels.labels:
        if label.name in found:
            continue
        plain = unicodedata.normalize("NFKD", label.name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]", "_", plain)[:_LONGEST_SLUG]
        if not slug.strip("_") or slug[0].isdigit():
            slug = f"id{label.class_id}"
        while slug in found.values():
            slug = f"{slug}_{label.class_id}"
        found[label.name] = slug
    return found
