"""~/probe: the labels that compete at one pixel of the last image."""

from collections.abc import Callable

import pytest
from fakes import COLORS
from graph import Graph, image, pixels, stripes
from lseg_ros.srv import Probe
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]


def test_what_competes_at_a_pixel(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(labels=["blue", "green", "red"])
    masks, confidences = graph.collect(Image, "lseg/mask"), graph.collect(Image, "lseg/confidence")
    sent = image(stripes(BLUE, RED, GREEN, height=8, width=5))
    graph.send(sent)
    mask, confidence = pixels(graph.next(masks)), pixels(graph.next(confidences))
    for u, v in [(0, 0), (7, 3), (14, 7)]:
        answer = graph.call(Probe, "lseg/probe", Probe.Request(u=u, v=v))
        assert answer.success and answer.header == sent.header and answer.label_version == 1
        assert list(answer.names) == ["blue", "green", "red"]
        winner = max(range(3), key=lambda i: answer.shares[i])
        assert winner + 1 == mask[v, u]
        assert 255 * answer.shares[winner] == pytest.approx(confidence[v, u], abs=1)
        assert sum(answer.shares) == pytest.approx(1, abs=1e-5)
        assert list(answer.cosines) == [float(i == winner) for i in range(3)]
    assert not masks  # nothing was published for it


def test_a_pixel_outside_of_the_image(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED, height=8, width=5)))
    answer = graph.call(Probe, "lseg/probe", Probe.Request(u=5, v=0))
    assert not answer.success and "there is no pixel (5, 0) in 5x8" in answer.message
    assert not answer.names


def test_without_an_image_one_is_fetched(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg()
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=False)).success
    answer = graph.client_of(Probe, "lseg/probe").call_async(Probe.Request(u=2, v=2))
    graph.send(image(stripes(GREEN), stamp=5))  # once it is subscribed to
    graph.until(answer.done, "the answer")
    assert answer.result().success and answer.result().header.stamp.sec == 5


def test_each_camera_has_one(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(cameras=["front", "rear"], autostart=False)
    answer = graph.call(Probe, "lseg/rear/probe", Probe.Request())
    assert not answer.success and "unconfigured" in answer.message
