"""Tiny training runs: a data set of coloured blocks, its configuration, and the command line for processes of its own.

As a script it is `lseg` with the variant "tiny" added:  python test/training_run.py train --config ...
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import yaml
from safetensors.torch import save_file

from lseg_ros.model import weights
from lseg_ros.model.variants import VARIANTS
from lseg_ros.training import trainer
from lseg_ros.training.config import SourceConfig, TrainConfig

from tiny import TINY, HashText, tiny_net  # isort: skip (a script finds it in its own folder)

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]  # RGB
LABELS = {0: ["red thing"], 1: ["green thing", "lawn"], 2: ["blue thing"]}
BLOCKS = {"images": "images", "layers": [{"masks": "masks", "labels": LABELS}]}
CONFIG = TrainConfig(
    variant="tiny",
    init="init.safetensors",
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
    """Six pictures of coloured blocks with masks, an ignored corner, and an initial backbone; returns the folder."""
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
    """Writes the configuration as `read_config` takes it; returns the path."""
    raw = {key: value for key, value in json.loads(json.dumps(asdict(config))).items() if value}
    raw["sources"] = {name: {**source.data, "weight": source.weight} for name, source in config.sources.items()}
    path.write_text(yaml.safe_dump(raw))
    return path


if __name__ == "__main__":
    from lseg_ros.cli.main import main

    VARIANTS["tiny"] = TINY
    for module in (weights, trainer):
        vars(module)["build_text_encoder"] = lambda variant: HashText()
    sys.exit(main())
