"""The segmenter that the node builds from its parameters."""

from pathlib import Path
from typing import Any

import pytest
from tiny import HashText, tiny_net

from lseg_ros.inference.segmenter import Segmenter
from lseg_ros.model import weights
from lseg_ros.model.weights import save_model
from lseg_ros.ros.main import build_segmenter
from lseg_ros.ros.parameter_table import TABLE, NodeParams


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    save_model(tiny_net(), tmp_path / "tiny.safetensors", "MIT")
    return tmp_path / "tiny.safetensors"


def built(checkpoint: Path, **changes: Any) -> Segmenter:
    values = {entry.name: entry.default for entry in TABLE}
    values |= {"unknown_id": 255, "device": "cpu", "backend": "torch", "checkpoint": str(checkpoint)}
    segmenter = build_segmenter(NodeParams(**(values | changes)))
    assert isinstance(segmenter, Segmenter)
    return segmenter


def test_sizes_of_the_networks_input(checkpoint: Path) -> None:
    segmenter = built(checkpoint)
    assert (segmenter.input_size, segmenter.window) == (96, None)
    segmenter = built(checkpoint, input_size=128, window=64)
    assert (segmenter.input_size, segmenter.window) == (128, 64)


def test_a_window_that_cannot_be_used_is_said(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="window is 64 and input_size is 64"):
        built(checkpoint, input_size=64, window=64)
