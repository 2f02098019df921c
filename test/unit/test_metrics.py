"""Figures from a confusion matrix, against ones made by hand."""

import math

import numpy as np
import pytest

from lseg_ros.training.metrics import Confusion


def test_by_hand() -> None:
    confusion = Confusion(3)
    target = np.array([[0, 0, 1, 1, 255, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 1, 0, 200]])
    confusion.add(target, predicted)
    metrics = confusion.metrics()
    assert metrics.pixel_accuracy == pytest.approx(3 / 5)
    assert metrics.iou[:2] == pytest.approx([1 / 2, 2 / 4])  # 1: two right, one taken from 0, one lost
    assert math.isnan(metrics.iou[2])  # neither there nor predicted
    assert metrics.mean_iou == pytest.approx(0.5)


def test_counts_add_up_over_images() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 4, (2, 10, 10)), rng.integers(0, 4, (2, 10, 10))
    apart, together = Confusion(4), Confusion(4)
    for t, p in zip(target, predicted, strict=True):
        apart.add(t, p)
    together.add(target, predicted)
    assert apart.metrics() == together.metrics()


def test_nothing_seen() -> None:
    assert math.isnan(Confusion(2).metrics().mean_iou)
