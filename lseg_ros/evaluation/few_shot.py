"""Measures a network on episodes by the original's zero-shot protocol."""

from collections.abc import Iterable
from dataclasses import dataclass

from lseg_ros.data.augmentation import resize_as_hsnet
from lseg_ros.data.episodes import EpisodeSet
from lseg_ros.evaluation.calibration import Calibration, CalibrationMeter
from lseg_ros.evaluation.gallery import Gallery, Picture
from lseg_ros.evaluation.metrics import Confusion, EpisodeMeter, EpisodeMetrics
from lseg_ros.evaluation.scoring import Scorer

SIDE = 480
"""Height and width in pixels to which each image is resized, without regard to its aspect. Also the input size."""


@dataclass(frozen=True)
class EpisodeResult:
    """The result of a measurement on episodes.

    Attributes:
        labels: Name of each class by its id.
        episodes: Number of episodes.
        metrics: The figures.
        calibration: The reliability curve.
        worst: The episodes with the lowest mean IoU.
        best: The episodes with the highest mean IoU.
    """

    labels: dict[int, str]
    episodes: int
    metrics: EpisodeMetrics
    calibration: Calibration
    worst: list[Picture]
    best: list[Picture]


def measure_episodes(scorer: Scorer, episodes: EpisodeSet, indices: Iterable[int]) -> EpisodeResult:
    """Measures episodes: one pass for each, "others" against the name of its class, at 480x480 pixels.

    Args:
        scorer: Scores the network under test. Its input size is `SIDE`.
        episodes: The episodes.
        indices: Indices of the episodes. Any iterable, so that it can show progress.
    """
    meter, calibration, gallery = EpisodeMeter(episodes.class_ids), CalibrationMeter(), Gallery()
    count = 0
    for index in indices:
        episode = episodes.episode(index)
        image, target = resize_as_hsnet((episode.image, episode.mask), SIDE)
        predicted, confidence = scorer.best(scorer.embed(image), scorer.encode_text(episode.labels))
        meter.add(episode.class_id, target, predicted)
        known = target <= 1
        calibration.add(confidence[known], (predicted == target)[known])
        alone = Confusion(2)
        alone.add(target, predicted)
        name = f"episode {index}: {episode.class_name}"
        mean_iou = alone.metrics().mean_iou
        gallery.add(Picture(name, mean_iou, image, target, predicted, confidence, episode.labels))
        count += 1
    labels = {class_id: episodes.labels[class_id] for class_id in episodes.class_ids}
    return EpisodeResult(labels, count, meter.metrics(), calibration.result(), *gallery.result())
