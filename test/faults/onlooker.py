"""A camera that sends photographs, and a reader that counts inconsistent answers of a node."""

import time
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from diagnostic_msgs.msg import DiagnosticArray
from graph import Graph, image
from lseg_ros.msg import FrameInfo, LabelSet
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo

WIDTH, HEIGHT = 160, 120
Report = Callable[[str], None]
LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
UNKNOWN = 255


class Onlooker:
    """Pairs each mask of the node `lseg` with its FrameInfo, and compares it with the label set that this names.

    Attributes:
        wrong: Number of inconsistencies, by kind.
        masks: Number of masks.
        rescored: Number of masks that were scored again.
        last: The newest mask.
        sets: Ids that a mask may have, by label version.
        label_set: The newest label set.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.wrong: Counter[str] = Counter()
        self.masks = self.rescored = 0
        self.last: Image | None = None
        self.sets: dict[int, set[int]] = {}
        self.label_set: LabelSet | None = None
        self.label_infos: list[LabelInfo] = []
        self.reports: list[DiagnosticArray] = []
        self._infos: defaultdict[tuple[int, int], deque[FrameInfo]] = defaultdict(deque)
        self._masks: defaultdict[tuple[int, int], deque[Image]] = defaultdict(deque)
        self._photos = photos(WIDTH, HEIGHT)
        subscribe = graph.client.create_subscription
        subscribe(LabelSet, "lseg/labels", self._on_label_set, LATCHED)
        subscribe(LabelInfo, "lseg/label_info", self.label_infos.append, LATCHED)
        subscribe(FrameInfo, "lseg/frame_info", partial(self._on_part, self._infos), 200)
        subscribe(Image, "lseg/mask", self._on_mask, 50)
        subscribe(DiagnosticArray, "/diagnostics", self._on_report, 10)
        self.camera = graph.client.create_publisher(Image, "image", 5)

    def _on_label_set(self, message: LabelSet) -> None:
        self.label_set = message
        self.sets[message.version] = {label.class_id for label in message.labels if not label.background}

    def _on_report(self, message: DiagnosticArray) -> None:
        self.reports[:] = [message]

    def _on_mask(self, message: Image) -> None:
        self.masks += 1
        self.last = message
        self._on_part(self._masks, message)

    def _on_part(self, parts: defaultdict[tuple[int, int], deque[Any]], message: Any) -> None:
        stamp = message.header.stamp.sec, message.header.stamp.nanosec
        parts[stamp].append(message)
        while self._infos[stamp] and self._masks[stamp]:
            self._check(self._infos[stamp].popleft(), self._masks[stamp].popleft())
        for waiting in (self._infos, self._masks):
            if not waiting[stamp]:
                del waiting[stamp]

    def _check(self, info: FrameInfo, mask: Image) -> None:
        self.rescored += info.rescored
        if info.label_version not in self.sets:
            self.wrong["a mask before its labels"] += 1
        elif set(np.unique(np.frombuffer(mask.data, np.uint8)).tolist()) - {UNKNOWN} - self.sets[info.label_version]:
            self.wrong["an id of another label set"] += 1

    def forget(self) -> None:
        """Drops all messages, because those of a node that ended do not belong to the next one."""
        self._infos.clear()
        self._masks.clear()
        self.sets.clear()
        self.label_set = None
        self.label_infos.clear()
        self.reports.clear()

    def wait_for_node(self) -> None:
        """Waits until the node listens to the camera and has published its labels."""
        self.graph.until(lambda: self.sets and self.camera.get_subscription_count(), "the node to listen to the camera")

    def send(self, number: int = 0, stamp_ns: int | None = None) -> None:
        """Sends one photograph, stamped now unless `stamp_ns` is given."""
        message = image(self._photos[number % len(self._photos)])
        set_stamp(message, time.time_ns() if stamp_ns is None else stamp_ns)
        self.camera.publish(message)

    def play_until(self, condition: Any, what: str, every: float = 0.1) -> None:
        """Sends photographs until the condition holds."""
        numbers = iter(range(10**9))
        timer = self.graph.client.create_timer(every, lambda: self.send(next(numbers) // 10))
        self.graph.until(condition, what)
        self.graph.client.destroy_timer(timer)

    def more_masks(self, count: int, what: str) -> None:
        """Sends photographs until `count` more masks have come."""
        wanted = self.masks + count
        self.play_until(lambda: self.masks >= wanted, f"{count} masks {what}")

    def values(self) -> dict[str, str]:
        """Returns the values of the only camera's newest diagnostics; empty before the first."""
        return {v.key: v.value for v in self.reports[-1].status[0].values} if self.reports else {}

    def message(self) -> str:
        """Returns the message of the newest diagnostics."""
        return str(self.reports[-1].status[0].message) if self.reports else ""


def photos(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Returns photographs as [H,W,3] RGB of one size."""
    found = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()]
    return [np.asarray(cv2.resize(photo, (width, height)), np.uint8) for photo in found]


def set_stamp(message: Image, nanoseconds: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)


def filled(**fields: Any) -> Image:
    """Returns an Image with any fields, stamped now."""
    message = Image()
    set_stamp(message, time.time_ns())
    message.header.frame_id = "camera"
    for name, value in fields.items():
        setattr(message, name, array("B", value) if name == "data" else value)
    return message


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def count_of(pid: int, kind: str) -> int:
    """Returns the number of threads ("task") or open files ("fd") of a process."""
    return len(list(Path(f"/proc/{pid}/{kind}").iterdir()))
