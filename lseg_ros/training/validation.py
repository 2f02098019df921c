"""Figures on images that are not learned from, while a run goes on."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lseg_ros.model.net import LSegNet
from lseg_ros.training.config import ValidationConfig
from lseg_ros.training.datasets.catalogue import ConfigError, open_dataset
from lseg_ros.training.datasets.episodes import EpisodeSet
from lseg_ros.training.distributed import World
from lseg_ros.training.evaluation.scoring import Scorer
from lseg_ros.training.metrics import Confusion


class Validation:
    """Pixel accuracy and mIoU over the labels of a data set, a single pass through each whole image."""

    def __init__(self, config: ValidationConfig, data: Path) -> None:
        """`data` is what paths in `config` are relative to; raises as `open_dataset` does."""
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
        """
        scorer = Scorer(net, str(world.device))
        text, confusion = scorer.encode_text(self.data.labels), Confusion(len(self.data.labels))
        own = self.indices[world.rank :: world.size]
        for index in tqdm(own, "validation", unit="image", leave=False, disable=not world.is_first, mininterval=5):
            image, target = self.data.sample(index)
            confusion.add(target, scorer.labels(scorer.embed(image), text))
        confusion.counts = world.total(torch.from_numpy(confusion.counts)).cpu().numpy()
        metrics = confusion.metrics()
        return {"mean_iou": metrics.mean_iou, "pixel_accuracy": metrics.pixel_accuracy}
