"""Exports the encoder in float16.

All numbers in the file are float16, except in layer norms, softmax, and the last normalization. TensorRT 10 can be told
to compute a float32 graph in float16. TensorRT 11 cannot: it uses the types in the graph. Both take a graph that is in
float16 already.
"""

from pathlib import Path
from typing import Any

from lseg_ros.files import replacing
from lseg_ros.inference.backends.base import library
from lseg_ros.inference.backends.onnx_files import Size, export_onnx, mark_float16
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder

# They sum many numbers or compute exponentials, which would be rounded or overflow in float16.
IN_FLOAT32 = ("LayerNormalization", "Softmax")


def export_float16(encoder: FusedEncoderDecoder, path: Path, size: Size) -> None:
    """Writes the encoder as ONNX in float16 for one image size, with input and output in float32.

    Args:
        encoder: The encoder in eval mode.
        path: The file to write. It is replaced at the end.
        size: Height and width of images, multiples of `size_step`. TensorRT builds an engine for it.

    Raises:
        BackendError: onnx or onnxruntime is not installed.
    """
    with replacing(path) as part:
        source = part.with_name("float32.onnx")
        export_onnx(encoder, source, size)
        _to_float16(source, part, size)


def _to_float16(source: Path, target: Path, size: Size) -> None:
    """Converts a float32 ONNX for one image size to float16."""
    onnx = library("onnx", "onnx")
    tools = library("onnxruntime.transformers.float16", "onnx")
    model = onnx.load(str(source))
    converted = tools.convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*tools.DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32],
        node_block_list=_normalisation(model.graph),
    )
    mark_float16(converted, size)
    onnx.save(converted, str(target))


def _normalisation(graph: Any) -> list[str]:
    """Returns the names of the nodes that normalize the last map. They sum squares and stay in float32."""
    made_by = {output: node for node in graph.node for output in node.output}
    names: list[str] = []
    pending = [graph.output[0].name]
    while pending:
        node = made_by.get(pending.pop())
        # The normalization follows a convolution, or the enlarging of a convolution's output.
        if node is None or node.op_type in ("Conv", "Resize") or node.name in names:
            continue
        names.append(node.name)
        pending += node.input
    return names
