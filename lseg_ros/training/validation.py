"""Figures on images that are not learned from, while a run goes on."""

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
    """Pixel accuracy and mIoU over the labels of a data set, a single pass through each whole image."""

    def __init__(self, config: ValidationConfig, data: Path, *, skip_broken: bool = False) -> None:
        """`data` is what paths in `config` are relative to; raises as `open_dataset` does."""
        self.skip_broken = skip_broken
        found = open_dataset(config.data, data, "the data of 'validation'")
        if isinstance(found, EpisodeSet):
            raise ConfigError("the data of 'validation' are episodes; measure on these with `lseg eval`")
        self.every, self.data = config.every, found
        count = min(config.images or len(found), len(found))
        self.indices = np.linspace(0, len(found) - 1, count).round().astype(int).tolist()

    def measure(self, net: LSegNet, world: World) -> dict[str, float]:
        """mean_iou and pixel_accuracy in [0, 1]; each process measures its share of the images.

        Args:
            net: a copy that nobody else uses.
            world: the processes, which all have to call this.

        Raises:
            ValueError, OSError: a file cannot be used, names it; or no image is left.
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
