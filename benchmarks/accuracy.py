"""Measures the accuracy of each way to run a model on CamVid's test frames."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.inputs import network
from benchmarks.machine import now
from benchmarks.plain import Baseline
from benchmarks.subjects import Product, segmenters
from benchmarks.timing import Subject
from lseg_ros.data.camvid import CamVid
from lseg_ros.evaluation.metrics import Confusion


def accuracy(model: str, root: Path, limit: int | None = None) -> dict[str, Any]:
    """Measures the mIoU of each subject, and the share of pixels that have the label of `baseline`.

    Args:
        model: A model with trained weights.
        root: CamVid's folder.
        limit: Number of frames to measure, evenly spread.

    Raises:
        FileNotFoundError: The data do not exist.
    """
    data = CamVid(root, "test")
    count = min(len(data), limit or len(data))
    net = network(model)
    subjects: dict[str, Subject] = {name: Product(s, data.labels) for name, s in segmenters(net)}
    subjects["baseline"] = Baseline(net, data.labels)
    confusion = {name: Confusion(len(data.labels)) for name in subjects}
    same = dict.fromkeys(subjects, 0.0)
    for i in tqdm(range(count), desc=f"{model}, CamVid test", unit="frame", disable=None):
        rgb, target = data.sample(i * len(data) // count)
        masks = {name: subject.segment(rgb)[0] for name, subject in subjects.items()}
        for name, mask in masks.items():
            confusion[name].add(target, mask - 1)
            same[name] += float((mask == masks["baseline"]).mean()) / count
    return {
        "model": model,
        **now(),
        "frames": count,
        "subjects": {
            name: {"miou": round(100 * confusion[name].metrics().mean_iou, 2), "agreement": round(same[name], 5)}
            for name in subjects
        },
    }
