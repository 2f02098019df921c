"""~/features, ~/feature_basis and ~/encode_text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, stripes
from lseg_ros.msg import FeatureBasis, Features
from lseg_ros.srv import EncodeText
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lseg_ros.ros.rate_limit import RateLimit

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]


def cells(message: Features) -> NDArray[np.float32]:
    return np.frombuffer(message.data, "<f2").reshape(message.channels, message.rows, message.columns)


def encode(graph: Graph, *phrases: str) -> EncodeText.Response:
    return graph.call(EncodeText, "lseg/encode_text", EncodeText.Request(phrases=phrases))


def test_features_and_text_have_the_same_basis(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg(feature_rate=0.0)
    bases = graph.collect(FeatureBasis, "lseg/feature_basis", LATCHED)
    found = graph.collect(Features, "lseg/features")
    sent = image(stripes(RED, BLUE, height=8, width=4))
    graph.send(sent)
    message = graph.next(found)
    basis = graph.next(bases)
    assert message.header == sent.header
    assert message.basis_version == basis.version != 0
    assert (basis.dimensions, basis.channels) == (3, 2)
    np.testing.assert_array_equal(np.array(basis.basis).reshape(3, 2), segmenter.basis)
    assert (message.image_height, message.image_width) == (8, 8)
    assert (message.channels, message.rows, message.columns) == (2, 4, 4)
    assert list(message.scale) == [0.5, 0.5] and list(message.offset) == [0, 0]
    answer = encode(graph, "red", "blue")
    assert answer.success and answer.basis_version == basis.version
    text = np.array(answer.coordinates).reshape(2, 2)
    np.testing.assert_array_equal(np.array(answer.vectors).reshape(2, 3) @ segmenter.basis, text)
    best = np.einsum("nr,rhw->nhw", text, cells(message)).argmax(0)
    np.testing.assert_array_equal(best, [[0, 0, 1, 1]] * 4)
    assert len(segmenter.threads) == 1  # all that touches the model


def test_nothing_is_computed_while_nobody_listens(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lseg(feature_rate=0.0)
    graded: list[str] = []

    def watched(name: str) -> Callable[[Any], Any]:
        work = getattr(segmenter, name)

        def note(seen: Any) -> Any:
            graded.append(name)
            return work(seen)

        return note

    for name in ("feature_grid", "score"):
        monkeypatch.setattr(segmenter, name, watched(name))
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED)))
    graph.next(masks)
    assert "feature_grid" not in graded
    for subscription in list(graph.client.subscriptions):
        if subscription.topic_name == "/lseg/mask":
            graph.client.destroy_subscription(subscription)
    node = graph.node
    assert node is not None
    graph.until(lambda: not node.count_subscribers("lseg/mask"), "the end of the subscription")
    graded.clear()
    found = graph.collect(Features, "lseg/features")
    graph.send(image(stripes(BLUE), stamp=9))
    while graph.next(found).header.stamp.sec != 9:
        pass
    assert "feature_grid" in graded and "score" not in graded


def test_the_rate_is_limited_and_other_images_are_not_embedded(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg(feature_rate=0.001)
    found = graph.collect(Features, "lseg/features")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(found)
    embedded = segmenter.embedded
    masks = None
    for stamp in (2, 3):
        graph.send(image(stripes(RED), stamp=stamp))
    assert encode(graph, "red").success  # by the worker, behind those images
    assert segmenter.embedded == embedded and not found
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED), stamp=4))
    graph.next(masks)
    assert not found


def test_refusals(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    for phrases, reason in (([], "is empty"), (["red", " "], "phrase 2 of 2 is empty or blank")):
        answer = encode(graph, *phrases)
        assert not answer.success and reason in answer.message


def test_due_counts_nothing() -> None:
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    assert limit.due(2) and limit.due(2) and limit.admit(2)
    assert not limit.due(2)
    now[0] = 0.5
    assert limit.due(2) and limit.admit(2)
