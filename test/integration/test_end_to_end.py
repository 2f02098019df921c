"""The installed executables in their own processes: camera, node and a client that changes labels."""

import signal
import subprocess
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from graph import Graph, pixels, stripes
from lifecycle_msgs.srv import ChangeState, GetState
from lseg_ros.msg import FrameInfo, LabelSet
from lseg_ros.srv import GetLabels, SetLabels
from processes import PATIENCE, Start, stop
from reference import TINY_VIT
from sensor_msgs.msg import Image

from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import build_text_encoder
from lseg_ros.model.weights import save_model

LISTS = [["red thing", "grass"], ["grass", "sky", "car"], ["car"], ["red thing", "person, dog, or cat", "sky"]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 160 x 120 pixels."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), stripes((40, 160, 40), (200, 30, 30), (120, 170, 240), (90, 90, 90), height=120, width=40))
    return path


def test_masks_belong_to_the_labels_that_their_frame_info_names(
    graph: Graph, start: Start, photo: Path, tmp_path: Path
) -> None:
    node = start("lseg_node", labels=LISTS[0])
    graph.client_of(SetLabels, "set_labels")
    first = graph.ask(GetLabels, "get_labels", GetLabels.Request()).label_set
    assert [x.name for x in first.labels] == LISTS[0]
    infos, masks = graph.collect(FrameInfo, "lseg/frame_info"), graph.collect(Image, "lseg/mask")
    camera = start("image_player", sources=[str(photo)], rate=10.0)
    sets = {first.version: first}
    for labels in LISTS[1:]:
        frames = len(masks)
        graph.until(partial(at_least, masks, frames + 3), "frames to flow")
        response = graph.call(SetLabels, "set_labels", SetLabels.Request(labels=labels))
        assert response.success, response.message
        sets[response.label_set.version] = response.label_set
    # A bad request in between is refused and changes nothing.
    assert not graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["a", ""])).success
    graph.until(lambda: any(info.label_version == len(LISTS) for info in infos), "a frame under the last labels")
    assert stop(camera, signal.SIGTERM) < 5 and camera.returncode == 0

    # If an image is published under one label set and again under the next, both have the same stamp, in this order.
    versions: dict[Any, list[int]] = defaultdict(list)
    for info in infos:
        versions[key(info)].append(info.label_version)
    checked = 0
    for mask in masks:
        if not versions[key(mask)]:
            continue  # its FrameInfo came before we listened
        labels = sets[versions[key(mask)].pop(0)]
        assert set(np.unique(pixels(mask)).tolist()) <= allowed(labels)
        assert (mask.height, mask.width) == (120, 160)
        checked += 1
    assert checked >= 3 * (len(LISTS) - 1)
    assert any(info.rescored for info in infos)

    assert stop(node, signal.SIGINT) < 2 + 1  # a frame takes less than a second
    assert node.returncode == 0
    log = (tmp_path / "lseg_node.log").read_text()
    assert "Traceback" not in log and "licence" in log


def at_least(messages: list[Any], count: int) -> bool:
    return len(messages) >= count


def key(message: Any) -> tuple[int, int]:
    """Returns the stamp."""
    return message.header.stamp.sec, message.header.stamp.nanosec


def allowed(labels: LabelSet) -> set[int]:
    """Returns the ids that a mask under these labels may have."""
    return {label.class_id for label in labels.labels} | {255}


def test_sigterm_ends_the_node_while_frames_flow(graph: Graph, start: Start, photo: Path, tmp_path: Path) -> None:
    node = start("lseg_node", labels=["sky", "grass"])
    start("image_player", sources=[str(photo)], rate=30.0)
    masks = graph.collect(Image, "lseg/mask")
    graph.until(lambda: len(masks) > 3, "frames to flow")
    assert stop(node, signal.SIGTERM) < 2 + 1
    assert node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["_rclpy_pybind11", "libtorch_cpu"])
def test_a_signal_while_loading(graph: Graph, start: Start, tmp_path: Path, how: signal.Signals, library: str) -> None:
    node = start("lseg_node")
    maps = Path(f"/proc/{node.pid}/maps")
    graph.until(lambda: library in maps.read_text(), f"{library} to be loaded")
    assert stop(node, how) < 2
    assert node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_lifecycle_manager_configures(
    graph: Graph, start: Start, tmp_path: Path, how: signal.Signals
) -> None:
    node = start("lseg_node", autostart=False)
    client = graph.client_of(ChangeState, "lseg/change_state")
    assert graph.ask(GetState, "lseg/get_state", GetState.Request()).current_state.label == "unconfigured"
    request = ChangeState.Request()
    request.transition.label = "configure"
    client.call_async(request)
    maps = Path(f"/proc/{node.pid}/maps")
    graph.until(lambda: "libtorch_cpu" in maps.read_text(), "torch to be loaded")
    assert stop(node, how) < 2
    assert node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()


def test_a_second_signal_changes_nothing(graph: Graph, start: Start, tmp_path: Path) -> None:
    node = start("lseg_node", labels=["sky"])
    graph.ask(GetLabels, "get_labels", GetLabels.Request())
    node.send_signal(signal.SIGINT)
    assert stop(node, signal.SIGINT) < 2
    assert node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()


def test_a_vision_transformer_through_the_node(graph: Graph, start: Start, photo: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(LSegNet(TINY_VIT, build_text_encoder(TINY_VIT)), tmp_path / "tiny.safetensors", "none")
    start("lseg_node", checkpoint=str(tmp_path / "tiny.safetensors"), labels=["sky", "grass"])
    start("image_player", sources=[str(photo)], rate=5.0)
    masks = graph.collect(Image, "lseg/mask")
    mask = graph.next(masks)
    assert set(np.unique(pixels(mask))) <= {1, 2} and (mask.height, mask.width) == (120, 160)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"labels": "['sky', '']"}, "label 2 of 2 is empty or blank"),
        ({"labels": "[]"}, "parameter 'labels' is empty"),
        ({"model": "lseg_maxi"}, "there is no variant 'lseg_maxi'"),
        ({"checkpoint": "/nowhere/a.safetensors"}, "there is no weights file at /nowhere/a.safetensors"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"threshold": 7.0}, "threshold"),
    ],
)
def test_a_node_that_cannot_start_says_why(
    domain: int, start: Start, tmp_path: Path, parameters: dict[str, object], reason: str
) -> None:
    node = start("lseg_node", **parameters)
    assert node.wait(PATIENCE) == 1
    log = (tmp_path / "lseg_node.log").read_text()
    assert reason in log and "Traceback" not in log
    assert "cannot start" in log


def test_the_commands_of_lseg_as_processes_of_their_own(domain: int, start: Start, photo: Path, tmp_path: Path) -> None:
    """Labels, a query and pictures, with nothing but the installed executables."""

    def lseg(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(["lseg", *arguments], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    start("lseg_node", labels=LISTS[0])
    start("image_player", sources=[str(photo)], rate=5.0)
    assert "grass" in lseg("labels", "--wait", str(PATIENCE))
    assert "person, standing" in lseg("labels", "sky", "person, standing")
    assert "empty" in lseg("labels", "sky", " ", status=1)
    assert "door" in lseg("query", "door", "--save", str(tmp_path / "maps"))
    assert cv2.imread(str(tmp_path / "maps" / "1_door.png")).shape == (120, 160, 3)  # type: ignore[union-attr]
    lseg("watch", "overlay", "-o", str(tmp_path / "pictures"), "--count", "2")
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    assert "/lseg, segmentation: " in lseg("status")
    assert "no node /other of lseg_ros was found" in lseg("enable", "on", "--node", "/other", status=3)
