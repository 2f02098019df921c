"""Measures the speed of training on the card, with images that are read and augmented as in a real run."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.inputs import photos
from lseg_ros.training.config import SourceConfig, TrainConfig
from lseg_ros.training.distributed import World
from lseg_ros.training.loading import prepared, workers_beside_gpu
from lseg_ros.training.trainer import Trainer

PICTURES, STEPS, BEFORE = 64, 120, 30
LABELS = {0: ["sky"], 1: ["road"], 2: ["tree"], 3: ["car"]}


def steps_a_second() -> dict[str, Any]:
    """Returns the steps of `lseg_mini` per second, with 8 crops of 320 pixels in float16, and how many processes."""
    with TemporaryDirectory() as folder:
        data = Path(folder)
        _write(data)
        config = TrainConfig(
            variant="lseg_mini",
            licence="none",
            seed=0,
            batch=8,
            crop=320,
            steps=BEFORE + STEPS,
            lr=1e-3,
            backbone_lr=1e-4,
            precision="float16",
            ema=0.999,
            sources={"pictures": SourceConfig({"images": "images", "layers": [{"masks": "masks", "labels": LABELS}]})},
        )
        trainer = Trainer(config, data, data / "out", World(torch.device("cuda", 0)))
        batches = prepared(trainer.batches, range(config.steps), 1, trainer.world.device)
        start = 0.0
        for step in range(config.steps):
            if step == BEFORE:
                torch.cuda.synchronize()
                start = time.perf_counter()
            trainer._train(trainer.objective, batches)
        torch.cuda.synchronize()
        rate = STEPS / (time.perf_counter() - start)
    return {"steps_per_s": round(rate, 2), "workers": workers_beside_gpu(config.workers)}


def _write(folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    pictures = photos(480, 360)
    for i in range(PICTURES):
        picture = np.roll(pictures[i % len(pictures)], 7 * i, axis=1)
        cv2.imwrite(str(folder / "images" / f"{i:02}.jpg"), picture[..., ::-1])
        mask = rng.integers(0, len(LABELS), (6, 8)).astype(np.uint8).repeat(60, 0).repeat(60, 1)
        cv2.imwrite(str(folder / "masks" / f"{i:02}.png"), mask)
