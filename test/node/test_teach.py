"""~/teach: pixels of the last image teach a label."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes import COLORS, FakeSegmenter
from graph import LATCHED, Graph, image, pixels, stripes
from lseg_ros.msg import LabelSet, Marks
from lseg_ros.srv import GetLabels, SetLabels, Teach
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from lseg_ros.ros.image_msgs import image_msg

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]
GRAY = (90, 90, 80)


@pytest.fixture
def masks(graph: Graph, lseg: Callable[..., None]) -> list[Any]:
    """A node with red and green that has seen red, green and a gray, which it takes for one of them."""
    lseg(labels=["red", "green"], cache_max_age=3600.0)
    found = graph.collect(Image, "lseg/mask")
    graph.send(image(stripes(RED, GREEN, GRAY), stamp=1))
    assert pixels(graph.next(found))[0, 12] in (1, 2)
    return found


def teach(graph: Graph, label: str, toward: Marks | None = None, against: Marks | None = None, **rest: Any) -> Any:
    request = Teach.Request(label=label, toward=toward or Marks(), against=against or Marks(), **rest)
    return graph.call(Teach, "lseg/teach", request)


def test_taught_pixels_are_in_the_next_mask_and_taken_back(graph: Graph, masks: list[Any]) -> None:
    latched = graph.collect(LabelSet, "lseg/labels", LATCHED)
    answer = teach(graph, "gravel", Marks(u=[12], v=[3]), alone=True)
    assert answer.success and answer.header.stamp.sec == 1 and answer.label_version == 2, answer.message
    assert pixels(graph.next(masks))[0].tolist() == [1] * 5 + [2] * 5 + [3] * 5  # the last image, scored again
    graph.until(lambda: latched and latched[-1].version == 2)
    gravel = latched[-1].labels[2]
    assert (gravel.name, gravel.class_id, gravel.taught.alone, gravel.taught.dimensions) == ("gravel", 3, True, 3)
    assert gravel.taught.weights == FakeSegmenter.weights
    gray = np.array(GRAY) / np.linalg.norm(GRAY)
    np.testing.assert_allclose(gravel.taught.toward, gray, atol=1e-3)

    # The parameters follow, and get_labels gives what set_labels takes.
    assert graph.node is not None and graph.node.get_parameter("labels").value == ["red", "green", "gravel"]
    in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [x.name for x in answer.before.labels] == ["red", "green"]
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(full=answer.before.labels)).success
    assert 3 not in pixels(graph.next(masks))
    again = graph.call(SetLabels, "set_labels", SetLabels.Request(full=in_force.labels))
    assert again.success and again.label_set.labels == in_force.labels
    assert pixels(graph.next(masks))[0].tolist() == [1] * 5 + [2] * 5 + [3] * 5


def test_boxes_masks_and_pixels_against(graph: Graph, masks: list[Any]) -> None:
    marked = np.zeros((8, 15), np.uint8)
    marked[2:4, 11:13] = 1
    toward = Marks(masks=[image_msg(marked, "mono8", Header())])
    against = Marks(boxes=[RegionOfInterest(x_offset=0, y_offset=0, width=2, height=2)])
    assert teach(graph, "green", toward, against).success
    assert pixels(graph.next(masks))[0, [6, 12]].tolist() == [2, 2]
    taught = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels[1].taught
    np.testing.assert_allclose(taught.against, [1, 0, 0])
    assert teach(graph, "red", against=Marks(u=[0], v=[0])).success
    graph.next(masks)
    assert graph.call(SetBool, "lseg/enable", SetBool.Request(data=False)).success
    assert teach(graph, "green", forget=True).success  # which needs no image
    assert not graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set.labels[1].taught.toward


def test_an_image_is_kept_for_marks(graph: Graph, masks: list[Any]) -> None:
    kept = teach(graph, "")
    assert kept.success and kept.label_version == 1 and not kept.before.labels
    graph.send(image(stripes(RED, RED, RED), stamp=2))
    graph.next(masks)
    answer = teach(graph, "gravel", Marks(u=[12], v=[3]), stamp=kept.header.stamp, alone=True)
    assert answer.success and answer.header.stamp.sec == 1, answer.message
    assert 3 not in pixels(graph.next(masks))  # that of the second image
    of_last = teach(graph, "gravel", Marks(u=[0], v=[0]))
    assert of_last.success and of_last.header.stamp.sec == 2
    gone = teach(graph, "gravel", Marks(u=[12], v=[3]), stamp=kept.header.stamp)
    assert not gone.success and "the image of 1.123456789 s is not kept any more" in gone.message


def test_requests_that_are_refused(graph: Graph, masks: list[Any]) -> None:
    color = image_msg(np.zeros((8, 15, 3), np.uint8), "rgb8", Header())
    damaged = Image(height=8, width=15, encoding="mono8", step=15, data=array("B", bytes(3)))
    many = RegionOfInterest(width=1, height=1)
    for toward, reason in [
        (Marks(u=[1, 2], v=[1]), "2 columns and 1 rows"),
        (Marks(u=[99], v=[0]), "no such pixel"),
        (Marks(u=[0] * 257, v=[0] * 257), "257 points are marked at once; 256"),
        (Marks(boxes=[many] * 33), "33 boxes"),
        (Marks(masks=[color] * 9), "9 masks"),
        (Marks(masks=[color]), "the encoding rgb8; it must be mono8"),
        (Marks(masks=[damaged]), "a mask of marked pixels cannot be read"),
    ]:
        answer = teach(graph, "gravel", toward)
        assert not answer.success and reason in answer.message, answer.message
    answer = teach(graph, "gravel", against=Marks(u=[0], v=[0]))
    assert not answer.success and "there is no label 'gravel'" in answer.message
    answer = teach(graph, "  ", Marks(u=[0], v=[0]))
    assert not answer.success and "empty or blank" in answer.message
    in_force = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert in_force.version == 1 and not masks  # nothing has changed

    full = in_force.labels
    full[0].taught.weights, full[0].taught.dimensions = "00" * 32, 3
    full[0].taught.toward = array("f", [1, 0, 0])
    answer = graph.call(SetLabels, "set_labels", SetLabels.Request(full=full))
    assert not answer.success and "'red' was taught with other weights" in answer.message
    full[0].taught.toward = array("f", [1, 0])
    answer = graph.call(SetLabels, "set_labels", SetLabels.Request(full=full))
    assert not answer.success and "what the label 'red' was taught cannot be used" in answer.message


def test_each_camera_has_one(graph: Graph, lseg: Callable[..., None]) -> None:
    lseg(cameras=["front", "rear"], autostart=False)
    answer = graph.call(Teach, "lseg/rear/teach", Teach.Request(label="gravel"))
    assert not answer.success and "unconfigured" in answer.message
