"""What is measured beside the two references. The one list of variants."""

import copy
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.plain import Result
from lseg_ros import Segmenter
from lseg_ros.model.net import LSegNet


class Product:
    """`Segmenter`: image to mask and confidence, labels known."""

    def __init__(self, segmenter: Segmenter, labels: Sequence[str]) -> None:
        self.segmenter = segmenter
        self.segmenter.set_labels(labels, range(1, len(labels) + 1), force=True)

    def segment(self, rgb: NDArray[np.uint8]) -> Result:
        start = time.perf_counter()
        image = self.segmenter.embed(rgb)
        ready = time.perf_counter()
        found = self.segmenter.score(image)
        mask, confidence = found.mask, found.confidence
        scored = 1e3 * (time.perf_counter() - ready)
        other = 1e3 * (ready - start) - sum(image.stage_ms.values())
        stages = dict(image.stage_ms)
        stages["preprocess"] += other
        return mask.astype(np.uint8, copy=False), confidence, {**stages, "score": scored}


def segmenters(net: LSegNet) -> Iterator[tuple[str, Segmenter]]:
    """Every way to run a network on this machine; the network itself is left as it is."""
    for precision, name in (("float32", "fp32"), ("bfloat16", "bf16"), ("float16", "fp16")):
        if name != "fp16" or torch.cuda.is_available():
            yield f"torch {name}", Segmenter(copy.deepcopy(net), precision=precision)
