"""What is asked for when a label is taught by pointing, and what that makes of the labels. Needs no torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lseg_ros.inference.labels import LabelError, LabelSet, LabelSpec
from lseg_ros.inference.taught import Taught

_LONGEST_NAME = 1000  # characters


class Marks(NamedTuple):
    """Pixels of an image that mean one thing. Each point, box and mask is a mark.

    Attributes:
        points: [n,2] of (u, v), column and row.
        boxes: (left, top, width, height) of each rectangle.
        masks: [H,W] of bool for each area.
    """

    points: ArrayLike = ()
    boxes: Sequence[tuple[int, int, int, int]] = ()
    masks: Sequence[NDArray[np.bool_]] = ()

    @property
    def number(self) -> int:
        """How many marks there are."""
        return len(np.asarray(self.points)) + len(self.boxes) + len(self.masks)


class Lesson(NamedTuple):
    """What is to be changed of what a label was taught.

    Attributes:
        weights: Checksum of the weights that made the vectors.
        toward: [n,D] unit rows of marks for the label.
        against: [m,D] unit rows of marks against it.
        alone: Whether the label is to compete without its words.
        forget: Whether what it was taught before is dropped.
    """

    weights: str
    toward: NDArray[np.float32]
    against: NDArray[np.float32]
    alone: bool = False
    forget: bool = False


def with_lesson(labels: LabelSet, name: str, lesson: Lesson) -> list[LabelSpec]:
    """Adds to what a label was taught; the label comes last in the list if it is new.

    Args:
        labels: The labels in force.
        name: The label's name.
        lesson: What to change.

    Returns:
        The labels to set.

    Raises:
        LabelError: The lesson cannot be used; says why.
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
    """Checks that what labels were taught belongs to a network.

    Args:
        labels: The labels.
        weights: Checksum of the network's weights.
        width: D, of its vectors.

    Raises:
        LabelError: It belongs to another one, or a label's name is too long; names the label.
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
    """Returns the sentence for a label that was taught under other weights."""
    return (
        f"the label {name!r} was taught with other weights than those in use, under which its vectors mean nothing; "
        "use the model it was taught with, or remove what it was taught and teach it again"
    )
