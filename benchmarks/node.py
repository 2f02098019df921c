"""Measures the installed node over DDS from outside, by topics and services alone."""

import os
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lseg_ros.msg import FrameInfo
from lseg_ros.srv import SetLabels
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.inputs import labels, network, photos
from benchmarks.machine import now
from benchmarks.timing import spread
from lseg_ros.model.variants import variant_named
from lseg_ros.model.weights import save_model

WIDTH, HEIGHT, LABELS, NEW = 640, 480, 20, 20
SEGMENT = ("preprocess", "encode", "score")  # stages
_TIMEOUT = 300.0  # seconds; a large model may take this long to load from a slow disk


def measure_node(model: str, frames: int, starts: int) -> dict[str, Any]:
    """Starts the node, sends it images one by one, and changes its labels.

    The node's overhead is the time from the image's callback to the last publish, with subscribers of mask and
    confidence, minus the stages of `Segmenter.segment`. Filling the two messages is counted in `score`; it takes half a
    millisecond.
    """
    words = labels(150)
    with node_arguments(model) as arguments, Client() as client:
        first = []
        with tqdm(total=starts + frames + 5, desc=f"{model}, node", unit="frame", disable=None) as bar:
            for _ in range(starts - 1):
                with running(arguments):
                    first.append(client.first_mask())
                    bar.update()
            with running(arguments):
                first.append(client.first_mask())
                bar.update()
                found = _frames(client, frames, bar.update)
                changes = []
                for turn in range(5):
                    changes.append(client.set_labels(words[LABELS + NEW * turn :][:NEW]))
                    bar.update()
    return {
        "model": model,
        **now(),
        "image": f"{WIDTH}x{HEIGHT}",
        "labels": LABELS,
        "frames": frames,
        **found,
        "first_mask_s": round(float(np.median(first)), 2),
        "set_labels_ms": round(float(np.median(changes)), 1),
    }


def _frames(client: "Client", frames: int, tick: Callable[[], object]) -> dict[str, Any]:
    pictures = photos(WIDTH, HEIGHT)
    stages: list[dict[str, float]] = []
    latency = []
    for turn in range(-3, frames):
        taken, stage_ms = client.frame(pictures[turn % len(pictures)])
        if turn >= 0:
            latency.append(taken)
            stages.append(stage_ms)
            tick()
    medians = {name: round(float(np.median([s[name] for s in stages])), 2) for name in stages[0]}
    medians["publish"] = client.publish_p50_ms()
    return {
        "latency": spread(latency),
        "stages_ms": medians,
        "overhead_ms": round(sum(ms for name, ms in medians.items() if name not in SEGMENT), 2),
    }


@contextmanager
def node_arguments(model: str) -> Iterator[list[str]]:
    """Returns the arguments of the node: a model, its own weights or random ones, and labels."""
    with TemporaryDirectory() as folder:
        source = f"model:={model}"
        if variant_named(model).weights is None:
            checkpoint = Path(folder) / "random.safetensors"
            save_model(network(model), checkpoint, "none")
            source = f"checkpoint:={checkpoint}"
        yield ["-p", source, "-p", f"labels:={labels(LABELS)}"]


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[int]:
    """Runs the node and yields the id of its process."""
    process = subprocess.Popen(
        ["lseg_node", "--ros-args", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """A camera that sends one image at a time, and a reader of masks."""

    def __enter__(self) -> "Client":
        # Of its own, on this machine only: the images should reach no robot.
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"], os.environ["ROS_DOMAIN_ID"] = "LOCALHOST", "102"
        rclpy.init()
        self._node = rclpy.create_node("benchmark")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._infos: list[FrameInfo] = []
        self._arrived: dict[str, float] = {}
        self._publish_ms: list[float] = []
        self._camera = self._node.create_publisher(Image, "image", 1)
        self._change: Any = self._node.create_client(SetLabels, "set_labels")
        self._node.create_subscription(FrameInfo, "lseg/frame_info", self._infos.append, 10)
        for name in ("mask", "confidence"):
            self._node.create_subscription(Image, f"lseg/{name}", lambda message, n=name: self._arrive(n), 10)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown()

    def subscribe(self, kind: Any, topic: str, on_message: Callable[[Any], None]) -> None:
        """Subscribes to a further topic."""
        self._node.create_subscription(kind, topic, on_message, 10)

    def stop_camera(self) -> None:
        """Removes the publisher of images."""
        self._node.destroy_publisher(self._camera)

    def first_mask(self) -> float:
        """Returns the seconds from now to a mask, with an image ten times a second."""
        start = time.monotonic()
        picture = photos(WIDTH, HEIGHT)[0]
        self._arrived.clear()
        while "mask" not in self._arrived:
            self._camera.publish(self._message(picture))
            self._spin(0.1, lambda: "mask" in self._arrived)
            if time.monotonic() - start > _TIMEOUT:
                raise TimeoutError(f"no mask came within {_TIMEOUT:g} s of the node's start")
        seconds = self._arrived["mask"] - start
        self._spin(1.0)  # what is under way may arrive
        return seconds

    def frame(self, rgb: NDArray[np.uint8]) -> tuple[float, dict[str, float]]:
        """Sends an image. Returns the milliseconds until mask and confidence arrive, and those of the node's stages."""
        self._infos.clear()
        self._arrived.clear()
        message = self._message(rgb)
        start = time.monotonic()
        self._camera.publish(message)
        self.until(lambda: len(self._arrived) == 2 and bool(self._infos), "a mask")
        info = self._infos[-1]
        return 1e3 * (max(self._arrived.values()) - start), dict(zip(info.stages, info.stage_ms, strict=True))

    def set_labels(self, names: list[str]) -> float:
        """Returns the milliseconds from the request to the answer."""
        self.until(self._change.service_is_ready, "set_labels")
        start = time.monotonic()
        future = self._change.call_async(SetLabels.Request(labels=names))
        self.until(future.done, "an answer of set_labels")
        taken = 1e3 * (time.monotonic() - start)
        if not future.result().success:
            raise RuntimeError(f"set_labels was refused: {future.result().message}")
        self._spin(1.0)  # what is under way may arrive
        return taken

    def publish_p50_ms(self) -> float:
        """Returns the time of the node's stage `publish`. FrameInfo does not have it, because it is sent earlier."""
        self._publish_ms.clear()
        self.until(lambda: bool(self._publish_ms), "diagnostics")
        return self._publish_ms[-1]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Handles messages until a condition holds; raises TimeoutError if it never does."""
        if not self._spin(_TIMEOUT, condition):
            raise TimeoutError(f"waited {_TIMEOUT:g} s for {what}")

    def _spin(self, seconds: float, condition: Callable[[], bool] = lambda: False) -> bool:
        """Handles messages until a condition holds. Returns False if it does not within `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def _message(self, rgb: NDArray[np.uint8]) -> Image:
        message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8", step=3 * rgb.shape[1])
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.data = array("B", rgb.tobytes())
        return message

    def _arrive(self, name: str) -> None:
        self._arrived[name] = time.monotonic()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {value.key: value.value for value in message.status[0].values}
        if "publish_p50_ms" in values:
            self._publish_ms.append(float(values["publish_p50_ms"]))
