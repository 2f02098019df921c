"""Requests that teach a label by marked pixels, and the labels that result from them. Needs no torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lseg_ros.inference.labels import LabelError, LabelSet, LabelSpec
from lseg_ros.inference.taught import Taught

_LONGEST_NAME = 1000  # most characters of a taught label's name


class Marks(NamedTuple):
    """Pixels of an image that mean the same thing. Each point, box and mask is one mark.

    Attributes:
        points: [n,2] of (u, v), column and row.
        boxes: (left, top, width, height) of each rectangle.
        masks: A [H,W] bool array for each area.
    """

    points: ArrayLike = ()
    boxes: Sequence[tuple[int, int, int, int]] = ()
    masks: Sequence[NDArray[np.bool_]] = ()

    @property
    def number(self) -> int:
        """The number of marks."""
        return len(np.asarray(self.points)) + len(self.boxes) + len(self.masks)


class Lesson(NamedTuple):
    """A change of what a label was taught.

    Attributes:
        weights: Checksum of the weights that computed the vectors.
        toward: [n,D] unit rows of marks for the label.
        against: [m,D] unit rows of marks against it.
        alone: Whether the label competes without its words.
        forget: Whether earlier lessons are dropped.
    """

    weights: str
    toward: NDArray[np.float32]
    against: NDArray[np.float32]
    alone: bool = False
    forget: bool = False


def with_lesson(labels: LabelSet, name: str, lesson: Lesson) -> list[LabelSpec]:
    """Adds a lesson to a label. A new label becomes the last one in the list.

    Args:
        labels: The labels in force.
        name: The label's name.
        lesson: The lesson.

    Returns:
        The labels to set.

    Raises:
        LabelError: The lesson cannot be used. The message says why.
    """
    name = name.strip()
    specs = [label.spec() for label in labels.labels]
    place = next((i for i, spec in enumerate(specs) if spec.name == name), None)
    if place is None:
        if not len(lesson.toward):
            raise LabelError(f"there is no label {name!r} that this could be taught to; mark pixels for it first")
        place = len(specs)
        specs.append(LabelSpec(name))
    before = None if lesson.forget else specs[place].taught
    toward, against = lesson.toward, lesson.against
    if before is not None:
        if before.weights != lesson.weights:
            raise LabelError(other_weights(name))
        toward, against = np.concatenate([before.toward, toward]), np.concatenate([before.against, against])
    try:
        empty = not len(toward) and not len(against)
        taught = None if empty else Taught(lesson.weights, toward, against, lesson.alone)
    except ValueError as error:
        raise LabelError(f"the label {name!r} cannot be taught this: {error}") from error
    specs[place] = replace(specs[place], taught=taught)
    return specs


def check_taught(labels: LabelSet, weights: str, width: int) -> None:
    """Checks that the lessons of labels belong to a network.

    Args:
        labels: The labels.
        weights: Checksum of the network's weights.
        width: D, the width of its vectors.

    Raises:
        LabelError: They belong to another network, or a label's name is too long. The message names the label.
    """
    for label in labels.labels:
        if label.taught is None:
            continue
        if len(label.name) > _LONGEST_NAME:  # the text encoder's limit does not hold for what competes without words
            raise LabelError(
                f"the label {label.name[:40]!r} has {len(label.name)} characters; a taught one may have {_LONGEST_NAME}"
            )
        if label.taught.weights != weights:
            raise LabelError(other_weights(label.name))
        if label.taught.toward.shape[1] != width:
            raise LabelError(
                f"the label {label.name!r} was taught vectors of {label.taught.toward.shape[1]} numbers, and this "
                f"model's have {width}; teach it again"
            )


def other_weights(name: str) -> str:
    """Returns the message about a label that was taught with other weights."""
    return (
        f"the label {name!r} was taught with other weights than those in use, under which its vectors mean nothing; "
        "use the model it was taught with, or remove what it was taught and teach it again"
    )
