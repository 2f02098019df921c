"""Comparisons of masks that two ways of computing gave, as rounding allows and no more.

Other instructions of a processor, another batch or another order of sums change the last bits of a score. A pixel whose
two best labels are equally good to within those bits may then get either label. All other pixels must get the same one,
and pixels of the first kind must be few: so a wrong rule about pixels fails, whatever the processor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.postprocess import Segmentation

TIE = 2e-5  # between two shares of a softmax; the largest difference seen between instruction sets is 3e-6
FEW = 2e-3  # of all pixels


def ties(shares: NDArray[Any], margin: float = TIE) -> NDArray[np.bool_]:
    """[N,H,W] shares of N >= 2 labels -> HxW, where rounding may decide which label is the best."""
    second, best = np.partition(shares, -2, axis=0)[-2:]
    return best - second < margin


def ties_of(result: Segmentation, margin: float = TIE) -> NDArray[np.bool_]:
    """`ties` of all labels of a result."""
    return ties(np.stack([result.scores(label.name) for label in result.labels.labels]), margin)


def assert_same_mask(found: NDArray[Any], expected: NDArray[Any], tied: NDArray[np.bool_]) -> None:
    """Fails unless two masks differ in nothing but the pixels of `tied`, and these are few."""
    assert found.shape == expected.shape
    different = (found != expected) & ~tied
    assert not different.any(), f"{different.sum()} of {different.size} pixels differ, where one label is clearly best"
    assert tied.mean() < FEW, f"{tied.sum()} of {tied.size} pixels could have either of two labels"
