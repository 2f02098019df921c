"""Cuts an OpenVINO graph in two, so that each half can have its own precision."""

from math import prod
from typing import Any

from lseg_ros.inference.backends.base import library


def head_and_rest(model: Any) -> list[Any]:
    """Splits a graph into its first layers and all others.

    The cut goes through a tensor that every path from input to output passes. Among those with a half to a quarter of
    the image's height, it is the smallest one.

    Args:
        model: The OpenVINO model. It is cut in place.

    Returns:
        Two models; or only `model` if there is no place to cut, as in a vision transformer.
    """
    passes = library("openvino.passes", "openvino")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # else tensors with the image's size lead around every cut
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
    """Returns the output of the node behind which to cut, or None."""
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
