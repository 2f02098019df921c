"""Measures a model the way the node runs it: one pass through `Segmenter`, masks at the size of the image."""

import numpy as np
from tqdm import tqdm

from lseg_ros.inference.segmenter import Segmenter
from lseg_ros.training.data import Source
from lseg_ros.training.metrics import Confusion, Metrics


def evaluate(segmenter: Segmenter, source: Source, labels: list[str] | None = None) -> tuple[list[str], Metrics]:
    """(labels, metrics) over all images of a source.

    Args:
        segmenter: its labels are replaced.
        source: its first phrase for each id is the label, unless `labels` are given.
        labels: other words, in the order of the source's ids.

    Raises:
        ValueError: the number of `labels` differs from the source's, or one of them is refused.
    """
    names = [phrases[0] for phrases in source.phrases] if labels is None else labels
    if len(names) != len(source.phrases):
        raise ValueError(f"the data has {len(source.phrases)} labels and {len(names)} were given")
    in_force = segmenter.set_labels(names)
    to_index = np.full(256, len(names), np.int64)
    for index, label in enumerate(in_force.labels):
        to_index[label.class_id] = index
    confusion = Confusion(len(names))
    for i in tqdm(range(len(source)), unit="image", leave=False, disable=None):
        image, target = source.sample(i)
        confusion.add(target, to_index[segmenter.segment(image).mask])
    return names, confusion.metrics()


def table(names: list[str], metrics: Metrics) -> str:
    """The figures as text, in per cent."""
    width = max(map(len, names))
    rows = [f"{name:<{width}}  {100 * iou:5.1f}" for name, iou in zip(names, metrics.iou, strict=True)]
    summary = f"mIoU {100 * metrics.mean_iou:.1f} %, pixel accuracy {100 * metrics.pixel_accuracy:.1f} %"
    return "\n".join([*rows, summary])
