"""~/query: phrases on the last image. The labels do not change."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes import COLORS, FakeSegmenter
from graph import Graph, image, pixels, stripes
from lseg_ros.srv import GetLabels, Query, SetLabels
from sensor_msgs.msg import Image, RegionOfInterest
from std_srvs.srv import SetBool

from lseg_ros.ros import camera as camera_module
from lseg_ros.ros.query_msgs import region

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]


def ask(graph: Graph, *phrases: str) -> Any:
    """Starts a query, and returns its future."""
    client = graph.client_of(Query, "lseg/query")
    return client.call_async(Query.Request(phrases=phrases))


def test_where_things_are(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(labels=["blue", "white"])
    masks = graph.collect(Image, "lseg/mask")
    sent = image(stripes(BLUE, RED, BLUE, GREEN, height=8, width=5))
    graph.send(sent)
    graph.next(masks)
    before = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    answer = graph.call(Query, "lseg/query", Query.Request(phrases=["green", " red ", "purple"]))
    assert answer.success and answer.header == sent.header
    assert [score.encoding for score in answer.scores] == ["32FC1"] * 3
    np.testing.assert_array_equal(pixels(answer.scores[1])[0], [0] * 5 + [1] * 5 + [0] * 10)
    assert list(answer.best_score) == [1, 1, 0] and list(answer.best_cosine) == [0.5, 0.5, -0.5]
    assert (answer.best_u[0], answer.best_v[0]) == (15, 0) and (answer.best_u[1], answer.best_v[1]) == (5, 0)
    assert answer.best_region[0] == RegionOfInterest(x_offset=15, y_offset=0, width=5, height=8)
    assert graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set == before
    assert not masks  # nothing was published for it


@pytest.mark.parametrize("enabled", [True, False])
def test_without_an_image_one_is_fetched(graph: Graph, lseg: Callable[..., None], enabled: bool) -> None:
    lseg()
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=enabled)).success
    answer = ask(graph, "red")
    graph.send(image(stripes(RED), stamp=5))  # once it is subscribed to
    graph.until(answer.done, "the answer")
    assert answer.result().success and answer.result().header.stamp.sec == 5
    graph.until(lambda: not graph.client.count_subscribers("image"), "the end of the subscription")
    assert graph.call(Query, "lseg/query", Query.Request(phrases=["red"])).header.stamp.sec == 5  # of the cache


def test_no_image_yet(graph: Graph, lseg: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "_FETCH_TIMEOUT", 0.3)
    lseg()
    answer = graph.call(Query, "lseg/query", Query.Request(phrases=["red"]))
    assert not answer.success and not answer.scores
    assert answer.message.startswith("no image yet: nobody publishes /image and /image/compressed")


def test_no_image_yet_since_one_is_in_work(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "_FETCH_TIMEOUT", 0.3)
    lseg()
    graph.collect(Image, "lseg/mask")
    segmenter.gate.clear()
    graph.send(image(stripes(RED)))
    graph.until(segmenter.entered.is_set, "the frame to be in flight")
    answer = graph.call(Query, "lseg/query", Query.Request(phrases=["red"]))
    segmenter.gate.set()
    assert not answer.success and answer.message.startswith("no image yet: images arrive; the frame in work takes ")


def test_an_image_that_is_too_old_is_not_used(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(cache_max_age=0.0)
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED), stamp=1))
    graph.next(masks)
    answer = ask(graph, "red")
    while not answer.done():
        graph.send(image(stripes(RED), stamp=2))
        graph.spin_once()
    assert answer.result().success and answer.result().header.stamp.sec == 2


@pytest.mark.parametrize(
    ("phrases", "reason"),
    [([], "list of phrases is empty"), (["red", " "], "phrase 2 of 2 is empty"), (["a\tb"], "control character")],
)
def test_bad_phrases(graph: Graph, lseg: Callable[..., None], phrases: list[str], reason: str) -> None:
    lseg()
    answer = graph.call(Query, "lseg/query", Query.Request(phrases=phrases))
    assert not answer.success and reason in answer.message
    assert not graph.client.count_subscribers("image")


def test_labels_change_while_a_query_waits_for_an_image(
    graph: Graph, lseg: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    lseg()
    answer = ask(graph, "red")
    graph.until(lambda: graph.client.count_subscribers("image"), "a subscription")
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["blue"])).success
    graph.send(image(stripes(RED)))
    graph.until(answer.done, "the answer")
    assert answer.result().success
    assert len(segmenter.threads) == 1 and threading.get_ident() not in segmenter.threads


def test_a_region_ends_at_half_of_the_best_score() -> None:
    score = np.zeros((6, 7), np.float32)
    score[1, 1], score[2, 2], score[2, 3] = 0.8, 0.5, 0.3
    score[5, 6] = 0.8  # as good, elsewhere
    assert region(score, 1, 1) == RegionOfInterest(x_offset=1, y_offset=1, width=2, height=2)
    assert region(np.zeros((3, 4), np.float32), 0, 0) == RegionOfInterest(width=4, height=3)


def test_a_phrase_given_as_single_letters_is_refused(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    answer = ask(graph, *"door")
    graph.send(image(stripes(RED)))
    graph.until(answer.done, "the answer")
    end = "each of them is one letter: did you mean {phrases: [door]}, with brackets?"
    assert answer.result().success and answer.result().message.endswith(end)
