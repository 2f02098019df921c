"""Figures from a confusion matrix, compared with figures computed by hand."""

import math

import numpy as np
import pytest

from lseg_ros.evaluation.metrics import Confusion, EpisodeMeter


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
    assert metrics.mean_iou_all == pytest.approx(1 / 3)  # the class that is nowhere counts as 0
    # Foreground: 1 + 2 of 2 + 4 pixels. Background, of 5 pixels each: 3 of 4, 1 of 3 and 5 of 5.
    assert metrics.fb_iou == pytest.approx((3 / 6 + 9 / 12) / 2)


def test_a_class_without_a_pixel_only_competes() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([0, 0, 0, 0]), np.array([0, 1, 1, 0]))
    metrics = confusion.metrics()
    assert metrics.iou == [0.5, 0.0] and metrics.mean_iou == 0.5
    assert metrics.mean_iou_all == pytest.approx(0.25)


def test_counts_add_up_over_images() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 4, (2, 10, 10)), rng.integers(0, 4, (2, 10, 10))
    apart, together = Confusion(4), Confusion(4)
    for t, p in zip(target, predicted, strict=True):
        apart.add(t, p)
    together.add(target, predicted)
    assert apart.metrics() == together.metrics()


def test_no_labeled_pixels() -> None:
    assert math.isnan(Confusion(2).metrics().mean_iou)


def test_episodes_by_hand() -> None:
    meter = EpisodeMeter([4, 7, 9])
    meter.add(7, np.array([[1, 1, 0, 0, 255]], np.uint8), np.array([[1, 0, 1, 0, 1]]))
    meter.add(4, np.array([1, 0], np.uint8), np.array([1, 0]))
    meter.add(7, np.array([1, 0], np.uint8), np.array([1, 0]))
    metrics = meter.metrics()
    # Counts of a class are added up over its episodes before they are divided.
    assert metrics.iou == pytest.approx({4: 1.0, 7: 2 / 4})
    assert metrics.mean_iou == pytest.approx(0.75)
    assert (metrics.foreground, metrics.background) == pytest.approx((3 / 5, 3 / 5))
    assert metrics.fb_iou == pytest.approx(3 / 5)


def test_no_episodes() -> None:
    metrics = EpisodeMeter([0]).metrics()
    assert math.isnan(metrics.mean_iou) and metrics.iou == {}
