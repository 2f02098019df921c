"""The references that speeds are compared with say the same as `Segmenter`."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from reference import TINY_VIT
from tiny import tiny_net

from benchmarks.plain import Baseline, Plain
from lseg_ros import Segmenter
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import build_text_encoder

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
LABELS = ["road", "grass", "sky", "car"]


def vit_net() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(TINY_VIT, build_text_encoder(TINY_VIT)).eval()


@pytest.mark.parametrize("make", [tiny_net, vit_net])
@pytest.mark.parametrize("reference", [Plain, Baseline])
def test_references_give_what_the_segmenter_gives(make: Callable[[], LSegNet], reference: type[Plain]) -> None:
    net = make()
    mask, confidence, stages = reference(copy.deepcopy(net), LABELS).segment(RGB)
    segmenter = Segmenter(net, "cpu", "float32")
    segmenter.set_labels(LABELS)
    result = segmenter.segment(RGB)
    assert (result.mask == mask).mean() > 0.999
    np.testing.assert_allclose(result.confidence, confidence, atol=1e-4)
    assert list(stages) == ["preprocess", "text", "encode", "score"]
