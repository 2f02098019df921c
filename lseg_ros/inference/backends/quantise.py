"""Quantizes an exported encoder to int8, calibrated on pictures.

In a network with a CNN encoder, only the decoder is quantized: MobileNet's depthwise layers lose more than they save.
In a network with a transformer, its linear layers and the decoder are quantized.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.backends.base import library

_CNN = "/encoder/cnn/"  # part of the names of a CNN encoder's nodes, which are the names of modules


def quantise(source: Path, target: Path, images: Iterable[NDArray[np.float32]]) -> int:
    """Writes an ONNX with 8-bit weights and activations in the layers that tolerate it.

    Args:
        source: The float32 ONNX of `export_onnx`.
        target: The file to write.
        images: [1,3,H,W] float32, normalized. Sizes may differ.

    Returns:
        The number of quantized layers.

    Raises:
        BackendError: onnx or onnxruntime is not installed.
    """
    onnx = library("onnx", "onnx")
    tools = library("onnxruntime.quantization", "onnx")
    graph = onnx.load(str(source)).graph
    weights = {tensor.name for tensor in graph.initializer}
    # Products of two activations, as in attention, gain little and lose much.
    chosen = [
        node.name
        for node in graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm") and _CNN not in node.name and node.input[1] in weights
    ]
    logging.disable(logging.WARNING)  # ONNX Runtime twice recommends a step that changes nothing here
    try:
        tools.quantize_static(
            str(source),
            str(target),
            _reader(tools.CalibrationDataReader, images),
            quant_format=tools.QuantFormat.QDQ,  # OpenVINO and TensorRT read it too
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_quantize=chosen,
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},  # the extremes of a single picture must not stretch the range
        )
    finally:
        logging.disable(logging.NOTSET)
    return len(chosen)


def _reader(base: Any, images: Iterable[NDArray[np.float32]]) -> Any:
    """Wraps the pictures in the interface of ONNX Runtime's calibration."""

    class Reader(base):
        def __init__(self) -> None:
            self._images: Iterator[NDArray[np.float32]] = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """Returns the next input, or None at the end."""
            image = next(self._images, None)
            return None if image is None else {"images": image}

    return Reader()
