"""An exported encoder in float16, where the numbers themselves have that type, but for layer norms and softmax.

TensorRT 10 may be asked to compute a float32 graph in float16. TensorRT 11 may not: the types in the graph count. Both
take a graph that is in float16 already.
"""

from pathlib import Path
from typing import Any

from lseg_ros.files import replacing
from lseg_ros.inference.backends.base import library
from lseg_ros.inference.backends.onnx_files import Size, export_onnx, mark_float16
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder

# Sums over many numbers, and exponentials, which float16 would round or overflow.
IN_FLOAT32 = ("LayerNormalization", "Softmax")


def export_float16(encoder: FusedEncoderDecoder, path: Path, size: Size) -> None:
    """Writes the encoder as ONNX in float16 for one size of images, with input and output in float32.

    Args:
        encoder: in eval mode.
        path: the file, which is replaced at the end.
        size: height and width of images, multiples of 32: TensorRT builds an engine for it.

    Raises:
        BackendError: onnx or onnxruntime is not there.
    """
    with replacing(path) as part:
        source = part.with_name("float32.onnx")
        export_onnx(encoder, source, size)
        _to_float16(source, part, size)


def _to_float16(source: Path, target: Path, size: Size) -> None:
    """Writes a float32 ONNX for one size of images in float16."""
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
    """The nodes that make unit vectors of the last map: they sum squares, and stay in float32."""
    made_by = {output: node for node in graph.node for output in node.output}
    found: list[str] = []
    wanted = [graph.output[0].name]
    while wanted:
        node = made_by.get(wanted.pop())
        # Convolution, or the enlarging of its output, is what comes before.
        if node is None or node.op_type in ("Conv", "Resize") or node.name in found:
            continue
        found.append(node.name)
        wanted += node.input
    return found
