"""An exported encoder in int8, calibrated on pictures.

Of a CNN encoder only the decoder is quantised: MobileNet's depthwise layers lose more than they save. Of a transformer
its linear layers are, and the decoder.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lseg_ros.inference.backends.base import library

_CNN = "/encoder/cnn/"  # how the names of a CNN encoder's nodes go on; they are the modules' names


def quantise(source: Path, target: Path, images: Iterable[NDArray[np.float32]]) -> int:
    """Writes the ONNX with weights and activations of 8 bits where that keeps the labels; returns of how many layers.

    Args:
        source: float32 ONNX of `export_onnx`.
        target: the file to write.
        images: [1,3,H,W] float32 normalised, sizes may differ.

    Raises:
        BackendError: onnx or onnxruntime is not there.
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
    logging.disable(logging.WARNING)  # it recommends a step that changes nothing here, twice
    try:
        tools.quantize_static(
            str(source),
            str(target),
            _reader(tools.CalibrationDataReader, images),
            quant_format=tools.QuantFormat.QDQ,  # which OpenVINO and TensorRT read too
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_quantize=chosen,
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},  # no single picture's extremes stretch the range
        )
    finally:
        logging.disable(logging.NOTSET)
    return len(chosen)


def _reader(base: Any, images: Iterable[NDArray[np.float32]]) -> Any:
    """The pictures in the form that ONNX Runtime's calibration asks for."""

    class Reader(base):
        def __init__(self) -> None:
            self._images: Iterator[NDArray[np.float32]] = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """The next input, or None at the end."""
            image = next(self._images, None)
            return None if image is None else {"images": image}

    return Reader()
