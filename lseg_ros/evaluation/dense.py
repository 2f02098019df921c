"""Measures a network on images with dense masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lseg_ros.data.common import Dataset
from lseg_ros.evaluation.atlas import Atlas, MapText, PixelSample, draw_map
from lseg_ros.evaluation.calibration import Calibration, CalibrationMeter
from lseg_ros.evaluation.config import EvalConfig
from lseg_ros.evaluation.gallery import Gallery, Picture
from lseg_ros.evaluation.metrics import Confusion, Metrics
from lseg_ros.evaluation.nearest import ClassWords, NearestMeter, Origin, UnseenLabel, Word, compare_unseen
from lseg_ros.evaluation.readings import (
    Reading,
    ReadingMeter,
    encoder_meters,
    synonym_meters,
    template_meters,
)
from lseg_ros.evaluation.scoring import Scorer, target_of_cells


@dataclass(frozen=True)
class ImageFigures:
    """The figures of one image.

    Attributes:
        index: Its index in the data set.
        mean_iou: As in `Metrics`, of this image alone.
        pixel_accuracy: As in `Metrics`, of this image alone.
    """

    index: int
    mean_iou: float
    pixel_accuracy: float


@dataclass(frozen=True)
class DenseResult:
    """The result of a measurement. All figures but `multiscale` are of a single pass.

    Attributes:
        labels: The labels of the data.
        words: The word that was scored for each label.
        images: The figures of each image.
        counts: [N,N+1] pixels by true and predicted label. The last column counts predictions of no label.
        metrics: The figures over all images.
        multiscale: The same by the original's evaluation over scales, None where it was not asked for.
        calibration: The reliability curve.
        synonyms: The result under each list of other words.
        templates: The result under each template.
        encoders: The result under the model's text features and simpler ones.
        nearest: The words nearest to each class.
        unseen: The labels that training left out, against doing without them.
        atlas: The map of words and pixels. None where every labeled region is smaller than a cell of the embedding.
        worst: The images with the lowest mean IoU.
        best: The images with the highest mean IoU.
    """

    labels: list[str]
    words: list[str]
    images: list[ImageFigures]
    counts: NDArray[np.int64]
    metrics: Metrics
    multiscale: Metrics | None
    calibration: Calibration
    synonyms: list[Reading]
    templates: list[Reading]
    encoders: list[Reading]
    nearest: list[ClassWords]
    unseen: list[UnseenLabel]
    atlas: Atlas | None
    worst: list[Picture]
    best: list[Picture]


def evaluate(
    scorer: Scorer,
    data: Dataset,
    words: Sequence[str] | None = None,
    indices: Iterable[int] | None = None,
    *,
    multiscale: bool = False,
) -> Metrics:
    """Measures the plain figures only.

    Args:
        scorer: Scores the network under test.
        data: The images.
        words: A word for each label, None for the labels themselves.
        indices: Indices of the images, None for all. Any iterable, so that it can show progress.
        multiscale: Whether to use the original's evaluation over scales and mirror images.

    Returns:
        The figures over all images.

    Raises:
        ValueError: No pixel has a label, or an image or a word cannot be used.
    """
    words = data.labels if words is None else words
    text, confusion = scorer.encode_text(words), Confusion(len(words))
    for index in range(len(data)) if indices is None else indices:
        image, target = data.sample(index)
        predicted = scorer.multiscale(image, words) if multiscale else scorer.labels(scorer.embed(image), text)
        confusion.add(target, predicted)
    check_measured(confusion, data)
    return confusion.metrics()


def check_measured(confusion: Confusion, data: Dataset) -> None:
    """Checks that some pixel had a label.

    Raises:
        ValueError: None had.
    """
    if not confusion.counts.any():
        raise ValueError(f"no pixel of the images of {data.name} has one of the labels; there is nothing to measure")


def measure(
    scorer: Scorer,
    data: Dataset,
    config: EvalConfig,
    indices: Iterable[int],
    words: Sequence[str] | None = None,
    *,
    multiscale: bool = False,
) -> DenseResult:
    """Measures everything. Each image is embedded once and scored under all words.

    Args:
        scorer: Scores the network under test.
        data: The images.
        config: The measurement, checked against the data's labels.
        indices: Indices of the images, at least one. Any iterable, so that it can show progress.
        words: A word for each label, None for the labels themselves.
        multiscale: Whether to measure by the original's evaluation over scales as well.

    Returns:
        The result.

    Raises:
        ValueError: No pixel has a label, or an image or a word cannot be used.
    """
    run = _Run(scorer, data.labels, data.labels if words is None else list(words), config)
    for index in indices:
        run.add(index, *data.sample(index), multiscale=multiscale)
    check_measured(run.confusion, data)
    return run.result(multiscale)


class _Run:
    """The meters of one measurement."""

    def __init__(self, scorer: Scorer, labels: list[str], words: list[str], config: EvalConfig) -> None:
        self.scorer, self.labels, self.words, self.config = scorer, labels, words, config
        classes = len(words)
        self.text = scorer.encode_text(words)
        self.images: list[ImageFigures] = []
        self.confusion, self.thorough = Confusion(classes), Confusion(classes)
        self.calibration, self.gallery = CalibrationMeter(), Gallery()
        self.synonyms = synonym_meters(scorer, config.words)
        self.templates = template_meters(scorer, config.templates, words)
        self.encoders = encoder_meters(scorer, words, self.text)
        self.unseen = config.unseen or []
        seen = [i for i, label in enumerate(labels) if label not in self.unseen]
        # Empty where there is nothing to compare.
        self.without_unseen: list[ReadingMeter] = []
        if 0 < len(seen) < classes:
            texts = [words[i] for i in seen]
            self.without_unseen = [ReadingMeter("seen labels", texts, self.text[seen], classes, seen)]
        further = [word for word in dict.fromkeys(config.vocabulary) if word not in words]
        self.near_words = [Word(word, self._origin(word)) for word in [*words, *further]]
        self.near_text = torch.cat([self.text, scorer.encode_text(further)]) if further else self.text
        self.nearest, self.sample = NearestMeter(classes, self.near_text), PixelSample(classes)

    def _origin(self, word: str) -> Origin:
        if word in self.unseen:
            return "unseen"
        if word in self.config.seen or (word in self.labels and self.config.unseen is not None):
            return "seen"
        return "unseen" if self.config.seen else "unknown"

    def add(self, index: int, rgb: NDArray[np.uint8], target: NDArray[np.uint8], *, multiscale: bool) -> None:
        """Measures one image."""
        embedded = self.scorer.embed(rgb)
        predicted, confidence = self.scorer.best(embedded, self.text)
        known = target < len(self.words)
        self.calibration.add(confidence[known], (predicted == target)[known])
        alone = Confusion(len(self.words))
        alone.add(target, predicted)
        self.confusion.counts += alone.counts
        figures = alone.metrics()
        self.images.append(ImageFigures(index, figures.mean_iou, figures.pixel_accuracy))
        name = f"image {index}"
        self.gallery.add(Picture(name, figures.mean_iou, rgb, target, predicted, confidence, self.words))
        if multiscale:
            self.thorough.add(target, self.scorer.multiscale(rgb, self.words))
        for meter in [*self.synonyms, *self.templates, *self.encoders, *self.without_unseen]:
            meter.add(self.scorer, embedded, target)
        pixels = embedded.embedding[0]
        cells = target_of_cells(target, embedded.sizes, (pixels.shape[1], pixels.shape[2]))
        self.nearest.add(pixels, cells)
        self.sample.add(pixels, cells)

    def result(self, multiscale: bool) -> DenseResult:
        """Returns all figures."""
        metrics = self.confusion.metrics()
        unseen = [
            found
            for meter in self.without_unseen
            for found in compare_unseen(self.labels, self.unseen, self.text, metrics.iou, meter.confusion)
        ]
        worst, best = self.gallery.result()
        return DenseResult(
            labels=self.labels,
            words=self.words,
            images=self.images,
            counts=self.confusion.counts,
            metrics=metrics,
            multiscale=self.thorough.metrics() if multiscale else None,
            calibration=self.calibration.result(),
            synonyms=[meter.result(metrics) for meter in self.synonyms],
            templates=[meter.result(metrics) for meter in self.templates],
            encoders=[meter.result(metrics) for meter in self.encoders],
            nearest=self.nearest.result(self.near_words),
            unseen=unseen,
            atlas=self._atlas(),
            worst=worst,
            best=best,
        )

    def _atlas(self) -> Atlas | None:
        if self.sample.empty:
            return None
        texts = [MapText(word, place, True) for place, word in enumerate(self.words)]
        texts += [MapText(word, place, False) for m in self.synonyms for place, word in enumerate(m.words)]
        features = torch.cat([self.text, *(meter.text for meter in self.synonyms)])
        return draw_map(texts, features, self.sample)
