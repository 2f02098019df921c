"""Reads requests of ~/teach."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest

from lseg_ros import msg as lseg_msgs
from lseg_ros.images.encodings import ImageError, packed_pixels
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.lessons import Marks

if TYPE_CHECKING:
    from lseg_ros.srv import Teach

_MOST = {"points": 256, "boxes": 32, "masks": 8}  # most marks in each of toward and against


@dataclass(frozen=True)
class TeachRequest:
    """A request of ~/teach.

    Attributes:
        label: The label's name.
        toward: Pixels that belong to the label.
        against: Pixels that do not.
        alone: Whether the label competes without its words.
        forget: Whether earlier lessons are dropped.
    """

    label: str
    toward: Marks
    against: Marks
    alone: bool
    forget: bool

    @property
    def marks(self) -> bool:
        """Whether any pixels are marked."""
        return self.toward.number + self.against.number > 0


def teach_request(request: "Teach.Request") -> TeachRequest:
    """Reads a request.

    Args:
        request: The request.

    Returns:
        Its content.

    Raises:
        LabelError: It has too many marks, or a mask cannot be read.
    """
    return TeachRequest(
        request.label.strip(), _marks(request.toward), _marks(request.against), request.alone, request.forget
    )


def _marks(message: lseg_msgs.Marks) -> Marks:
    if len(message.u) != len(message.v):
        raise LabelError(f"the marks have {len(message.u)} columns and {len(message.v)} rows; give one row for each")
    for name, count in (("points", len(message.u)), ("boxes", len(message.boxes)), ("masks", len(message.masks))):
        if count > _MOST[name]:
            raise LabelError(f"{count} {name} are marked at once; {_MOST[name]} are the most, so mark fewer")
    return Marks(
        np.array([message.u, message.v], np.int64).T,
        [(box.x_offset, box.y_offset, box.width, box.height) for box in message.boxes],
        [_mask(image) for image in message.masks],
    )


def _mask(image: Any) -> NDArray[np.bool_]:
    try:
        pixels, encoding = packed_pixels(image)
    except ImageError as error:
        raise LabelError(f"a mask of marked pixels cannot be read: {error}") from error
    if encoding not in ("mono8", "8UC1"):
        raise LabelError(f"a mask of marked pixels has the encoding {encoding}; it must be mono8")
    return pixels.reshape(pixels.shape[:2]) != 0


def marks_msg(marks: Marks) -> lseg_msgs.Marks:
    """Returns points and boxes as a message."""
    points = np.asarray(marks.points, np.int64).reshape(-1, 2)
    boxes = [RegionOfInterest(x_offset=x, y_offset=y, width=w, height=h) for x, y, w, h in marks.boxes]
    return lseg_msgs.Marks(u=points[:, 0].tolist(), v=points[:, 1].tolist(), boxes=boxes)
