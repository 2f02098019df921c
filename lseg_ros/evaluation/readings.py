"""Scores the same embedded images with other text features: other words, templates, or text encoders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.evaluation.metrics import Confusion, Metrics
from lseg_ros.evaluation.scoring import Scorer
from lseg_ros.evaluation.text_features import (
    ensemble,
    fill,
    in_chunks,
    shuffled,
)
from lseg_ros.inference.embedding import ImageEmbedding


@dataclass(frozen=True)
class Reading:
    """The result under one set of text features.

    Attributes:
        name: Name of the set.
        words: The text of each label.
        metrics: The figures.
        kept: Its mean IoU divided by the mean IoU under the words of the main measurement. NaN where that is 0.
    """

    name: str
    words: list[str]
    metrics: Metrics
    kept: float


class ReadingMeter:
    """Sums up images under one set of text features."""

    def __init__(
        self, name: str, words: Sequence[str], text: Tensor, classes: int, places: Sequence[int] | None = None
    ) -> None:
        """Prepares for one set.

        Args:
            name: Name of the set, for people.
            words: N texts.
            text: [N,D] their features, unit rows.
            classes: Number of classes in the data.
            places: The class of each text, None where text i is of class i.
        """
        self.name, self.words, self.text = name, list(words), text
        self.confusion = Confusion(classes)
        self._places = np.arange(classes) if places is None else np.array(places)

    def add(self, scorer: Scorer, image: ImageEmbedding, target: NDArray[np.uint8]) -> None:
        """Adds an image.

        Args:
            scorer: Scores the network under test.
            image: The image's embedding.
            target: [H,W] true classes.
        """
        self.confusion.add(target, self._places[scorer.labels(image, self.text)])

    def result(self, base: Metrics) -> Reading:
        """Returns the figures so far, compared with those of the main measurement."""
        metrics = self.confusion.metrics()
        kept = metrics.mean_iou / base.mean_iou if base.mean_iou else float("nan")
        return Reading(self.name, self.words, metrics, kept)


def synonym_meters(scorer: Scorer, lists: dict[str, list[str]]) -> list[ReadingMeter]:
    """Makes a meter for each list of other words."""
    return [ReadingMeter(name, words, scorer.encode_text(words), len(words)) for name, words in lists.items()]


def template_meters(scorer: Scorer, templates: Sequence[str], words: Sequence[str]) -> list[ReadingMeter]:
    """Makes a meter for each template, and one for the mean of all if there are several.

    Args:
        scorer: Scores the network under test.
        templates: Phrases with {} for the word.
        words: The word of each label.
    """
    net = scorer.net
    features = [in_chunks(net.text_encoder, [fill(template, word) for word in words]) for template in templates]
    named = list(zip(templates, features, strict=True))
    if len(named) > 1:
        named.append((f"mean of all {len(templates)}", ensemble(features)))
    with torch.inference_mode():
        return [
            ReadingMeter(name, words, net.project_text(text).to(scorer.segmenter.device), len(words))
            for name, text in named
        ]


def encoder_meters(scorer: Scorer, words: Sequence[str], text: Tensor) -> list[ReadingMeter]:
    """Makes meters for the model's own text features, those without its trained map, and chance.

    Args:
        scorer: Scores the network under test.
        words: The N words of the labels, N > 1.
        text: [N,D] their features.
    """
    classes, net = len(words), scorer.net
    meters = [ReadingMeter("the model's text encoder", words, text, classes)]
    if net.text_projection is not None:
        meters.append(ReadingMeter("without its projection", words, net.embed_text(words), classes))
    meters.append(ReadingMeter("shuffled: each label has another's text", words, shuffled(text), classes))
    return meters
