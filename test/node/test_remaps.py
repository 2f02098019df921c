"""Remaps that change no name of the node are reported."""

import pytest
from fakes import FakeSegmenter
from graph import Graph

from lseg_ros.ros.remaps import remaps_without_effect


@pytest.mark.parametrize(
    ("rules", "sentences"),
    [
        (["image:=/cam/image", "~/mask:=/mask", "set_labels:=~/set_labels", "__ns:=/robot"], []),
        (["image/compressed:=/cam/jpeg", "camera_info:=/calib", "lseg:~/color:=/color", "other:image:=/x"], []),
        (["image:=image"], []),
        (["imgae:=/cam"], ["the remap imgae:=/cam changes no name of /lseg; did you mean 'image'?"]),
        (["~/maks:=/mask"], ["the remap ~/maks:=/mask changes no name of /lseg; did you mean '~/mask'?"]),
        (["set_label:=/words"], ["the remap set_label:=/words changes no name of /lseg; did you mean 'set_labels'?"]),
        (["/camera/color:=/x"], ["the remap /camera/color:=/x changes no name of /lseg"]),
    ],
)
def test_remaps(graph: Graph, rules: list[str], sentences: list[str]) -> None:
    arguments = [argument for rule in rules if not rule.startswith("__") for argument in ("-r", rule)]
    node = graph.start(lambda params: FakeSegmenter(), "", arguments, labels=["red"])
    assert node.pipeline is not None
    all_arguments = [argument for rule in rules for argument in ("-r", rule)]
    found = remaps_without_effect(["lseg_node", "--ros-args", *all_arguments], node, node.pipeline.input_topics)
    assert [sentence[: len(expected)] for sentence, expected in zip(found, sentences, strict=True)] == sentences
