"""Finds the precision of `auto` on a GPU: the fastest that keeps labels as well as the original's half precision."""

import copy
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import labels, network, photos
from benchmarks.machine import now
from lseg_ros import Segmenter
from lseg_ros.inference.cuda_graphs import Recorder
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.numerics import AUTO_ON_GPU, ON_GPU, Numerics
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder

# Share of pixels that keep their label in the original's own half precision, by the number of labels.
LEAST = {7: 0.9995, 150: 0.992}
CANDIDATES = {
    "tf32": ON_GPU["tf32"],
    "float16, decoder in float32": Numerics(torch.float16, torch.float32),
    "float16": ON_GPU["float16"],
    "bfloat16": ON_GPU["bfloat16"],
}
TIMES = 15


def decide(model: str) -> dict[str, Any]:
    """Returns times of the candidates, their agreement with exact float32, and the fastest that agrees well enough."""
    net = network(model)
    fused = FusedEncoderDecoder(copy.deepcopy(net)).cuda().eval()
    exact = Segmenter(net, "cuda", "float32")
    side = net.variant.input_size
    images = photos(side, side * 3 // 4)
    expected = {}
    for count in LEAST:
        exact.set_labels(labels(count))
        expected[count] = [exact.segment(rgb).mask for rgb in images]
    found: dict[str, Any] = {"float32": {"ms": _median_ms(exact, images[0])}}
    for name, numerics in CANDIDATES.items():
        encode = DeployedEncoderDecoder(fused, numerics.encoder, numerics.decoder)
        frames = GpuFrames(net, encode, Recorder(exact.device), tf32=numerics.tf32, capture=True)
        exact._frames = frames
        agreement = {}
        for count in LEAST:
            exact.set_labels(labels(count))
            masks = [exact.segment(rgb).mask for rgb in images]
            agreement[str(count)] = round(
                float(np.mean([a == b for a, b in zip(masks, expected[count], strict=True)])), 6
            )
        found[name] = {"ms": _median_ms(exact, images[0]), "agreement": agreement}
    right = [n for n in CANDIDATES if all(found[n]["agreement"][str(c)] >= least for c, least in LEAST.items())]
    chosen = min(right, key=lambda name: found[name]["ms"], default="float32")
    return {"model": model, **now(), "candidates": found, "fastest_that_agrees": chosen, "auto": AUTO_ON_GPU}


def _median_ms(segmenter: Segmenter, rgb: Any) -> float:
    """Returns the median milliseconds from image to mask and confidence."""
    taken = []
    for turn in range(TIMES + 5):
        start = time.perf_counter()
        result = segmenter.segment(rgb)
        result.mask, result.confidence_bytes  # noqa: B018
        if turn >= 5:
            taken.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(taken), 3)
