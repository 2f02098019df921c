"""Fills the answer of ~/query."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from lseg_ros.inference.protocol import PhraseMatch
from lseg_ros.ros.image_msgs import image_msg

if TYPE_CHECKING:
    from lseg_ros.srv import Query

_OF_BEST = 0.5  # a region ends where the score falls below this share of the best one


def fill_answer(
    response: "Query.Response", header: Header, matches: Sequence[PhraseMatch], *, with_scores: bool
) -> None:
    """Fills a response of ~/query with the matches of its phrases, in their order.

    Args:
        response: The response to fill.
        header: Header of the image.
        matches: One match for each phrase.
        with_scores: Whether the response has score images.
    """
    response.success, response.header = True, header
    for match in matches:
        v, u = np.unravel_index(int(match.score.argmax()), match.score.shape)
        if with_scores:
            response.scores.append(image_msg(match.score, "32FC1", header))
        response.best_score.append(float(match.score[v, u]))
        response.best_cosine.append(float(match.cosine[v, u]))
        response.best_region.append(region(match.score, int(v), int(u)))
        response.best_u.append(int(u))
        response.best_v.append(int(v))
    response.message = f"{len(matches)} phrases scored"


def region(score: NDArray[np.float32], v: int, u: int) -> RegionOfInterest:
    """Returns the box around the connected pixels that score at least half as much as (v, u).

    Args:
        score: [H,W] scores.
        v: Row of the pixel.
        u: Column of the pixel.
    """
    high = (score >= _OF_BEST * score[v, u]).astype(np.uint8)
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(high, connectivity=8)
    left, top, width, height = (int(n) for n in boxes[parts[v, u]][:4])
    return RegionOfInterest(x_offset=left, y_offset=top, width=width, height=height)
