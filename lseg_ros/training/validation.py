"""Measures a network during its training, on images that it does not learn from."""

import logging
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lseg_ros.data.catalogue import open_dataset
from lseg_ros.data.config_file import ConfigError
from lseg_ros.data.episodes import EpisodeSet
from lseg_ros.evaluation.metrics import Confusion
from lseg_ros.evaluation.scoring import Scorer
from lseg_ros.model.net import LSegNet
from lseg_ros.training.config import ValidationConfig
from lseg_ros.training.distributed import World

logger = logging.getLogger(__name__)


class Validation:
    """Pixel accuracy and mIoU over the labels of a data set, in a single pass through each whole image.

    Attributes:
        skip_broken: Whether files that cannot be used are skipped.
        every: Number of steps between two validations.
        data: The data set.
        indices: Indices of the images that are measured.
    """

    def __init__(self, config: ValidationConfig, data: Path, *, skip_broken: bool = False) -> None:
        """Opens the data set.

        Args:
            config: The settings.
            data: The folder that the paths in `config` are relative to.
            skip_broken: Whether to skip files that cannot be used.

        Raises:
            ConfigError: The data set is invalid, or consists of episodes.
            FileNotFoundError: Data are missing.
            ValueError: Data are damaged.
        """
        self.skip_broken = skip_broken
        opened = open_dataset(config.data, data, "the data of 'validation'")
        if isinstance(opened, EpisodeSet):
            raise ConfigError("the data of 'validation' are episodes; measure on these with `lseg eval`")
        self.every, self.data = config.every, opened
        count = min(config.images or len(opened), len(opened))
        self.indices = np.linspace(0, len(opened) - 1, count).round().astype(int).tolist()

    def measure(self, net: LSegNet, world: World) -> dict[str, float]:
        """Measures a network. Each process measures its share of the images.

        Args:
            net: A network that nobody else uses.
            world: The processes. All have to call this.

        Returns:
            mean_iou and pixel_accuracy, in [0, 1].

        Raises:
            ValueError: A file cannot be used, or no image is left. The message names it.
            OSError: A file cannot be read.
        """
        scorer = Scorer(net, str(world.device))
        text, confusion = scorer.encode_text(self.data.labels), Confusion(len(self.data.labels))
        own = self.indices[world.rank :: world.size]
        for index in tqdm(own, "validation", unit="image", leave=False, disable=not world.is_first, mininterval=5):
            try:
                image, target = self.data.sample(index)
            except (ValueError, OSError) as error:
                if not self.skip_broken:
                    raise
                logger.warning("not measured: %s", error)
                continue
            confusion.add(target, scorer.labels(scorer.embed(image), text))
        confusion.counts = world.total(torch.from_numpy(confusion.counts)).cpu().numpy()
        if not confusion.counts.any():
            raise ValueError(f"no pixel of {self.data.name}, the data of 'validation', has a label")
        metrics = confusion.metrics()
        return {"mean_iou": metrics.mean_iou, "pixel_accuracy": metrics.pixel_accuracy}
