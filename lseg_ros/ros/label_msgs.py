"""Labels as messages, and back."""

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import LabelInfo, VisionClass

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import Color, LabelError, LabelSet, LabelSpec, as_specs

if TYPE_CHECKING:
    from lseg_ros.srv import SetLabels

_LONGEST_SLUG = 100  # characters; a topic's whole name may have 247


def specs_from_request(request: "SetLabels.Request") -> list[LabelSpec]:
    """What a set_labels request asks for; raises LabelError unless exactly one of its forms is used, and rightly."""
    given = [name for name in ("labels", "full", "label_file") if len(getattr(request, name)) > 0]
    if len(given) != 1:
        found = f"it has {' and '.join(given)}" if given else "all three are empty"
        raise LabelError(f"a request needs exactly one of labels, full and label_file; {found}")
    if len(request.class_ids) > 0 and not len(request.labels):
        raise LabelError(f"class_ids go with labels only; put the ids into {given[0]}")
    if request.label_file:
        return read_label_file(request.label_file)
    if len(request.full) > 0:
        return as_specs([_spec(label) for label in request.full])
    return as_specs(list(request.labels), list(request.class_ids))


def _spec(label: Any) -> LabelSpec:
    channels = (label.color.r, label.color.g, label.color.b)
    if not all(0.0 <= c <= 1.0 for c in channels):
        raise LabelError(f"the color of {label.name!r} is {channels}; each channel must be between 0 and 1")
    red, green, blue = (round(255 * c) for c in channels)
    return LabelSpec(
        name=label.name,
        class_id=label.class_id or None,
        prompts=tuple(label.prompts),
        threshold=float(label.threshold),
        background=label.background,
        color=(red, green, blue) if any((*channels, label.color.a)) else None,
    )


def label_msg(spec: LabelSpec) -> lseg_msgs.Label:
    """A label to ask for, as in a set_labels request.

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
    )


def label_set_msg(labels: LabelSet, topics: Mapping[str, str], stamp: Time) -> lseg_msgs.LabelSet:
    """The labels in force; `topics` has the score topic of each name."""
    message = lseg_msgs.LabelSet(version=labels.version)
    message.header.stamp = stamp
    message.labels = [
        lseg_msgs.Label(
            **label.message_fields(),
            color=_color(label.color),
            score_topic=topics.get(label.name, ""),
        )
        for label in labels.labels
    ]
    return message


def _color(color: Color) -> ColorRGBA:
    red, green, blue = (c / 255 for c in color)
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)


def label_info_msg(labels: LabelSet, threshold: float, stamp: Time) -> LabelInfo:
    """Returns the ids and names for costmaps, as `LabelSet.ids_and_names` lists them."""
    message = LabelInfo(threshold=threshold)
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=class_id, class_name=name) for class_id, name in labels.ids_and_names()]
    return message


def slugs(labels: LabelSet, before: Mapping[str, str]) -> dict[str, str]:
    """A topic name part for each label; those in `before` keep theirs."""
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
