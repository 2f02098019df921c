"""Tiny training runs: a data set of colored blocks, its configuration, and a script that trains in other processes.

As a script it is `lseg` with the additional variant "tiny": `training_run.py train --config ...`. As `training_run.py
ranks CONFIG DATA OUT`, for each process that torchrun starts, it is a run that keeps the final state of each process.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from lseg_ros.cli.main import main
from lseg_ros.model import weights
from lseg_ros.model.variants import VARIANTS
from lseg_ros.training import trainer
from lseg_ros.training.batches import Batch
from lseg_ros.training.config import SourceConfig, TrainConfig
from lseg_ros.training.config_reader import read_config
from lseg_ros.training.distributed import world
from lseg_ros.training.trainer import Stopped, Trainer

from tiny import TINY, HashText, tiny_net  # isort: skip (a script finds it in its own folder)

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]  # RGB
LABELS = {0: ["red thing"], 1: ["green thing", "lawn"], 2: ["blue thing"]}
BLOCKS = {"images": "images", "layers": [{"masks": "masks", "labels": LABELS}]}
CONFIG = TrainConfig(
    variant="tiny",
    init=("init.safetensors",),
    licence="CC0-1.0",
    seed=3,
    steps=60,
    batch=4,
    crop=32,
    scale=(0.8, 1.2),
    lr=0.02,
    backbone_lr=0.002,
    warmup=2,
    ema=0.5,
    negatives=2,
    sources={"blocks": SourceConfig(BLOCKS)},
)


def write_data(folder: Path) -> Path:
    """Writes six pictures of colored blocks with masks, an ignored corner, and an initial backbone.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(6):
        mask = rng.integers(0, 3, (3, 4)).astype(np.uint8).repeat(24, 0).repeat(24, 1)
        image = np.array(COLORS, np.uint8)[mask]
        mask[:8, :8] = 11
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask)
    state = tiny_net().encoder.state_dict()
    save_file({k.removeprefix("cnn."): v for k, v in state.items()}, folder / "init.safetensors")
    return folder


def write_config(config: TrainConfig, path: Path) -> Path:
    """Writes the configuration for `read_config`, and returns the path."""
    raw = {key: [*value] if isinstance(value, tuple) else value for key, value in asdict(config).items() if value}
    raw["sources"] = {name: {**source.data, "weight": source.weight} for name, source in config.sources.items()}
    path.write_text(yaml.safe_dump(raw))
    return path


def run_as_rank(config: Path, data: Path, out: Path) -> None:
    """Trains, and writes the weights and last gradients of this process.

    After some steps a signal to the second process stops both, and the run is resumed.
    """
    with world("cpu") as processes:
        for stop in (2, None):
            run = Trainer(read_config(config), data, out, processes)
            run.resume()
            make = run.batches.batch

            def make_or_stop(
                number: int, together: int, make: Callable[..., Batch] = make, stop: int | None = stop
            ) -> Batch:
                if number == (stop and stop * together + 1):
                    os.kill(os.getpid(), signal.SIGTERM)
                return make(number, together)

            if processes.rank == 1:
                vars(run.batches)["batch"] = make_or_stop
            stopped = False
            try:
                run.run()
            except Stopped:
                stopped = True
            assert stopped == (stop is not None)
            processes.total(torch.zeros(1))  # waits until the first process has saved
        state = {name: (p.detach(), p.grad) for name, p in run.net.named_parameters() if p.requires_grad}
        torch.save((run.step, state), out / f"rank{processes.rank}.pt")


if __name__ == "__main__":
    VARIANTS["tiny"] = TINY
    for module in (weights, trainer):
        vars(module)["build_text_encoder"] = lambda variant: HashText()
    if sys.argv[1] == "ranks":
        run_as_rank(*map(Path, sys.argv[2:5]))
    else:
        sys.exit(main())
