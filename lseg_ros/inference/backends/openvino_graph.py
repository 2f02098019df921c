"""Cutting an OpenVINO graph in two, so that each half gets a precision of its own."""

from math import prod
from typing import Any

from lseg_ros.inference.backends.base import library


def head_and_rest(model: Any) -> list[Any]:
    """The first layers and all others, or the model alone where it has no place to cut, as a vision transformer.

    The cut goes through the smallest of the tensors of half to a quarter of the image's size that alone lead from input
    to output.
    """
    passes = library("openvino.passes", "openvino")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # else the sizes of the image, as tensors, lead around every cut
    manager.run_passes(model)
    cut = _cut(model)
    if cut is None:
        return [model]
    openvino = library("openvino", "openvino")
    parameter = openvino.opset13.parameter(list(cut.shape), cut.element_type)
    consumers = list(cut.get_target_inputs())
    head = openvino.Model([openvino.opset13.result(cut)], model.get_parameters(), "head")
    for consumer in consumers:
        consumer.replace_source_output(parameter.output(0))
    return [head, openvino.Model(model.get_results(), [parameter], "rest")]


def _cut(model: Any) -> Any:
    """The output of a node to cut behind, or None."""
    value, best = model.input(0), None
    height = value.shape[2]
    while len(value.get_target_inputs()) == 1:
        node = next(iter(value.get_target_inputs())).get_node()
        if node.get_output_size() != 1 or len(node.output(0).shape) != 4 or node.output(0).shape[2] < height // 4:
            break
        value = node.output(0)
        if value.shape[2] <= height // 2 and (best is None or prod(value.shape) <= prod(best.shape)):
            best = value
    return best
