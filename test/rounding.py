"""Compares masks that were computed in two ways, and allows for rounding but nothing else.

Other processor instructions, another batch or another order of sums change the last bits of a score. If the two best
labels of a pixel are equally good within those bits, it may get either of them. All other pixels must get the same
label, and there must be few ties. So a wrong rule about pixels fails on every processor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.postprocess import Segmentation

TIE = 2e-5  # least difference of two shares that counts; the largest seen between instruction sets is 3e-6
FEW = 2e-3  # largest share of pixels that may be ties


def ties(shares: NDArray[Any], margin: float = TIE) -> NDArray[np.bool_]:
    """Maps [N,H,W] shares of N >= 2 labels to [H,W]: whether rounding may decide which label is the best."""
    second, best = np.partition(shares, -2, axis=0)[-2:]
    return best - second < margin


def ties_of(result: Segmentation, margin: float = TIE) -> NDArray[np.bool_]:
    """Returns `ties` of all labels of a result."""
    return ties(np.stack([result.scores(label.name) for label in result.labels.labels]), margin)


def assert_same_mask(found: NDArray[Any], expected: NDArray[Any], tied: NDArray[np.bool_]) -> None:
    """Fails unless two masks differ only at pixels of `tied`, and these are few."""
    assert found.shape == expected.shape
    different = (found != expected) & ~tied
    assert not different.any(), f"{different.sum()} of {different.size} pixels differ, where one label is clearly best"
    assert tied.mean() < FEW, f"{tied.sum()} of {tied.size} pixels could have either of two labels"
