"""The subjects beside the two references: every backend in every precision that runs here."""

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.inputs import photos
from benchmarks.plain import Result
from lseg_ros import Segmenter
from lseg_ros.files import replacing
from lseg_ros.inference.backends.base import BackendError
from lseg_ros.inference.backends.cache import cache_folder
from lseg_ros.inference.backends.names import BACKENDS
from lseg_ros.inference.backends.onnx_files import export_onnx, weights_key
from lseg_ros.inference.backends.quantise import quantise
from lseg_ros.inference.preprocess import geometry, to_input
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet

# Short names of precisions.
SHORT = {"float32": "fp32", "tf32": "tf32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8"}


class Product:
    """`Segmenter`, from an image to mask and confidence, with known labels."""

    def __init__(self, segmenter: Segmenter, labels: Sequence[str]) -> None:
        self.segmenter = segmenter
        self.segmenter.set_labels(labels, range(1, len(labels) + 1), force=True)

    def segment(self, rgb: NDArray[np.uint8]) -> Result:
        start = time.perf_counter()
        image = self.segmenter.embed(rgb)
        result = self.segmenter.score(image)
        mask, confidence = result.mask, result.confidence
        taken = 1e3 * (time.perf_counter() - start)
        # A GPU still computes while Python goes on. All time outside of its own stages counts as scoring.
        stages = image.stage_ms
        return mask.astype(np.uint8, copy=False), confidence, {**stages, "score": taken - sum(stages.values())}


def segmenters(net: LSegNet, backends: Sequence[str] = BACKENDS) -> Iterator[tuple[str, Segmenter]]:
    """Yields every way to run a network on this machine. They share a copy of it."""
    own = copy.deepcopy(net)
    for backend in backends:
        for precision, short in SHORT.items():
            if backend == "auto" or (precision in ("float16", "tf32") and not torch.cuda.is_available()):
                continue
            if precision == "int8" and sum(p.numel() for p in net.encoder.parameters()) > 1e8:
                continue  # ONNX Runtime takes more than 20 GB to calibrate it
            exported = _int8(own) if precision == "int8" and backend != "torch" else None
            try:
                yield f"{backend} {short}", Segmenter(own, "auto", precision, backend=backend, exported=exported)
            except BackendError:
                continue  # this machine cannot run it


def _int8(net: LSegNet) -> Path:
    """Returns the encoder in int8, from the user's cache or calibrated on the photographs and parts of them."""
    encoder = FusedEncoderDecoder(net).eval()
    path = cache_folder() / f"{weights_key(encoder)}-benchmark-int8.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            source = part.with_name("float32.onnx")
            export_onnx(encoder, source)
            quantise(source, part, _calibration(net))
    return path


def _calibration(net: LSegNet) -> Iterator[NDArray[np.float32]]:
    for rgb in photos(640, 480):
        parts = [rgb, rgb[:240, :320], rgb[240:, :320], rgb[:240, 320:], rgb[240:, 320:]]
        for part in parts:
            sizes = geometry((part.shape[0], part.shape[1]), net.variant.input_size, net.variant.size_step)
            yield np.ascontiguousarray(to_input(part, sizes, net.variant, net.device).cpu().numpy())
