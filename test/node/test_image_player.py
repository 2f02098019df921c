"""The image player over real DDS. Each test has its own domain."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

rclpy = pytest.importorskip("rclpy")

from processes import PATIENCE, stop  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.task import Future  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

import lseg_ros.ros.image_player as module  # noqa: E402
from lseg_ros.images.messages import to_rgb  # noqa: E402
from lseg_ros.images.photos import SourceError  # noqa: E402

RELIABLE = QoSProfile(depth=100)
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Listener:
    """A node that keeps all messages in its own domain."""

    def __init__(self, domain: int) -> None:
        self.domain = domain
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = Node("listener", context=self.context)
        self.executor.add_node(self.node)
        self._wanted: tuple[Callable[[], bool], Future] | None = None

    def hear(self, message_type: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        heard: list[Any] = []

        def take(message: Any) -> None:
            heard.append(message)
            if self._wanted is not None and self._wanted[0]() and not self._wanted[1].done():
                self._wanted[1].set_result(None)

        self.node.create_subscription(message_type, topic, take, qos)
        return heard

    def wait(self, wanted: Callable[[], bool]) -> None:
        """Spins until the messages are as wanted."""
        future: Future = Future(executor=self.executor)
        self._wanted = (wanted, future)
        if not wanted():
            self.executor.spin_until_future_complete(future, timeout_sec=PATIENCE)
        assert wanted(), "timed out"

    def wait_until_connected(self, player: module.ImagePlayer) -> None:
        """Waits until no message of the player is lost. A change of the graph wakes `spin_once`."""
        deadline = time.monotonic() + PATIENCE
        while not (player.count_subscribers("image") and self.node.count_publishers("image")):
            assert time.monotonic() < deadline, "not connected"
            self.executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
        self.context.destroy()


@pytest.fixture
def listener(domain: int) -> Iterator[Listener]:
    listener = Listener(domain)
    yield listener
    listener.close()


@pytest.fixture
def player(listener: Listener) -> Iterator[Callable[..., module.ImagePlayer]]:
    """Makes image players in the listener's process and executor."""
    players: list[module.ImagePlayer] = []

    def make(**parameters: Any) -> module.ImagePlayer:
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        players.append(module.ImagePlayer(context=listener.context, parameter_overrides=overrides))
        listener.wait_until_connected(players[-1])
        listener.executor.add_node(players[-1])
        return players[-1]

    yield make
    for made in players:
        made.destroy_node()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), picture()[..., ::-1])
    return path


def picture() -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 5, columns * 3, np.full_like(rows, 60)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("qos", [RELIABLE, BEST_EFFORT], ids=["reliable", "best effort"])
def test_a_photo_comes_as_rgb8_with_fresh_stamps(
    listener: Listener, player: Callable[..., module.ImagePlayer], photo: Path, qos: QoSProfile
) -> None:
    images = listener.hear(Image, "image", qos)
    node = player(sources=[str(photo)], rate=50.0, frame_id="front")
    before = node.get_clock().now().nanoseconds
    listener.wait(lambda: len(images) >= 3)
    after = node.get_clock().now().nanoseconds
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in images]
    assert before < stamps[0] < stamps[1] < stamps[2] < after
    for message in images:
        assert (message.encoding, message.step, message.header.frame_id) == ("rgb8", 3 * 64, "front")
        np.testing.assert_array_equal(to_rgb(message), picture())


def test_camera_info_has_the_header_of_its_image_and_a_pinhole(
    listener: Listener, player: Callable[..., module.ImagePlayer], photo: Path
) -> None:
    images, infos = listener.hear(Image, "image"), listener.hear(CameraInfo, "camera_info")
    player(sources=[str(photo)], rate=50.0, width=32, fov_deg=90.0)
    listener.wait(lambda: bool(images) and images[-1].header in [info.header for info in infos])
    info = next(info for info in infos if info.header == images[-1].header)
    assert (info.width, info.height) == (32, 24) == (images[-1].width, images[-1].height)
    # At 90 degrees the focal length is half the width.
    np.testing.assert_allclose(info.k, [16, 0, 15.5, 0, 16, 11.5, 0, 0, 1])
    np.testing.assert_allclose(np.reshape(info.p, (3, 4))[:, :3], np.reshape(info.k, (3, 3)))
    assert list(info.d) == [0.0] * 5


def test_every_photo_of_a_folder_comes_once_without_loop(
    listener: Listener, player: Callable[..., module.ImagePlayer], tmp_path: Path
) -> None:
    for value in range(5):
        assert cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((4, 6), 40 * value, np.uint8))
    (tmp_path / "2.png").write_bytes(b"broken")
    images = listener.hear(Image, "image")
    node = player(sources=[str(tmp_path)], rate=20.0, hold=0.0, loop=False)
    listener.executor.spin_until_future_complete(node.finished, timeout_sec=PATIENCE)
    assert node.finished.done()
    listener.wait(lambda: len(images) == 4)
    assert [message.data[0] for message in images] == [0, 40, 120, 160]


def test_nothing_to_play_is_refused_on_construction(player: Callable[..., module.ImagePlayer], photo: Path) -> None:
    with pytest.raises(SourceError, match="nothing to play"):
        player()
    photo.write_bytes(b"broken")
    with pytest.raises(SourceError, match="none of the files can be read"):
        player(sources=[str(photo)])


def start(listener: Listener, *parameters: str, file: Path | None = None) -> subprocess.Popen[str]:
    root = str(Path(module.__file__).parents[2])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    arguments = [argument for parameter in parameters for argument in ("-p", parameter)]
    arguments += [] if file is None else ["--params-file", str(file)]
    return subprocess.Popen(
        [sys.executable, "-m", "lseg_ros.ros.image_player", "--ros-args", *arguments],
        env={**os.environ, "PYTHONPATH": search, "ROS_DOMAIN_ID": str(listener.domain)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_quietly_and_soon(listener: Listener, photo: Path, number: signal.Signals) -> None:
    images = listener.hear(Image, "image")
    process = start(listener, f"sources:=['{photo}']", "rate:=200.0")
    try:
        listener.wait(lambda: len(images) >= 3)
        assert stop(process, number) < 1
        output, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(("error", "hidden"), [(RuntimeError, True), (TypeError, False)])
def test_only_what_rclpy_raises_is_taken_for_a_signal(
    monkeypatch: pytest.MonkeyPatch, domain: int, error: type[Exception], hidden: bool
) -> None:
    def fail() -> None:
        rclpy.shutdown()
        raise error("publisher's context is invalid")

    monkeypatch.setattr(module, "ImagePlayer", fail)
    if hidden:
        assert module.main([]) == 0
    else:
        with pytest.raises(error):
            module.main([])


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (["sources:=['{folder}/missing.jpg']"], "missing.jpg does not exist"),
        (["sources:=['{folder}/broken.jpg']"], "none of the files can be read"),
        ([], "nothing to play"),
        (["sources:=['{folder}/photo.png']", "rate:=0.0"], "rate"),
        (
            ["sources:=['{folder}/photo.png']", "rate:=fast"],
            "parameter 'rate' is 'fast'; it must be a number from 0.01",
        ),
        (["sources:={folder}/photo.png"], "it must be a list of strings, such as [{folder}/photo.png]"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    listener: Listener, photo: Path, parameters: list[str], sentence: str
) -> None:
    (photo.parent / "broken.jpg").write_bytes(b"broken")
    process = start(listener, *(parameter.format(folder=photo.parent) for parameter in parameters))
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    fatal = [line for line in output.splitlines() if "[FATAL]" in line]
    assert len(fatal) == 1 and sentence.format(folder=photo.parent) in fatal[0], output
    assert "Traceback" not in output


def test_whole_numbers_are_taken_and_what_nobody_reads_is_named(
    listener: Listener, photo: Path, tmp_path: Path
) -> None:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("player:\n  ros__parameters:\n    rate: 5.0\n")
    arguments = [f"sources:=['{photo}']", "rate:=20", "hold:=0", "loop:=false", "fps:=3", "lop:=false"]
    process = start(listener, *arguments, file=parameters)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "at 20 Hz" in output, output
    assert "the parameter 'lop' was given, and is not known and not used; did you mean 'loop'?" in output
    assert "the parameter 'fps' was given" in output
    assert "parameters.yaml are for /image_player; it has some for /player" in output


def test_the_process_ends_by_itself_without_loop(listener: Listener, photo: Path) -> None:
    process = start(listener, f"sources:=['{photo}']", "rate:=20.0", "loop:=false", "hold:=0.2")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "Traceback" not in output
