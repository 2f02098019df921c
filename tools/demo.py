"""Runs the package's main task for real; `make demo` calls it.

It plays photographs as a camera, segments them with the installed node in its own process, changes the labels by
service half-way, and writes the results to demo_out/. It fails and says why if the pictures do not show what they
should.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lseg_ros.msg import FrameInfo
from lseg_ros.srv import GetLabels, SetLabels
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image

from lseg_ros.images.photos import read_photo

OUT = Path("demo_out")
BEFORE = ["sky", "building", "tree", "person", "cat", "table", "cup", "wall"]
AFTER = ["sky", "palace", "bushes", "woman", "kitten", "wooden table", "mug", "wall"]
SCORE = ("cat", "cat")  # label and photo of the score picture
RATE, HOLD = 8.0, 1.5  # frames a second, seconds for each photo
STEP_TIMEOUT = 60.0  # seconds


Stamp = tuple[int, int]  # seconds, nanoseconds


@dataclass(frozen=True)
class Box:
    """A part of a photo, in fractions of its height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def cut(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = mask.shape
        rows = slice(int(self.top * height), int(self.bottom * height))
        return mask[rows, int(self.left * width) : int(self.right * width)]


# What the photos must show under BEFORE: (photo, part, where, label); more than half of the part is enough.
EXPECTED = [
    ("temple", "top", Box(0.0, 0.1, 0.0, 1.0), "sky"),
    ("temple", "middle", Box(0.4, 0.6, 0.2, 0.4), "building"),
    ("astronaut", "centre", Box(0.4, 0.6, 0.35, 0.6), "person"),
    ("cat", "face", Box(0.2, 0.7, 0.2, 0.6), "cat"),
    ("coffee", "cup", Box(0.3, 0.6, 0.35, 0.6), "cup"),
]
# What each photo shows, of BEFORE and of AFTER. Everything else is wrong there.
SHOWN = {
    "temple": {"sky", "building", "tree", "palace", "bushes"},
    "astronaut": {"person", "woman", "wall"},
    "cat": {"cat", "kitten", "wall"},
    "coffee": {"cup", "mug", "table", "wooden table"},
}
MOST_WRONG = 0.05  # largest share of a photo for one label that it does not show
MOST = 0.98  # largest share of a photo for one label


class DemoError(Exception):
    """The results are not as expected."""


@dataclass(frozen=True)
class Frame:
    """The node's outputs for one image under one label set."""

    mask: Image
    overlay: Image
    score: Image | None
    latency_ms: float  # from the stamp to the mask
    rescored: bool


class Client(Node):
    """Listens to the camera and to the node.

    An image that was scored again keeps its stamp. So the n-th mask of a stamp belongs to the n-th FrameInfo of that
    stamp, which names the label set.
    """

    def __init__(self, photos: dict[str, NDArray[np.uint8]]) -> None:
        super().__init__("demo")
        self._photos = photos
        self._photo_at: dict[Stamp, str] = {}
        self._infos: dict[Stamp, list[FrameInfo]] = defaultdict(list)
        self._outputs: dict[tuple[str, Stamp], list[tuple[Image, float]]] = defaultdict(list)
        self.counts: dict[str, str] = {}
        self.labels: Any = self.create_client(GetLabels, "get_labels")
        self.change: Any = self.create_client(SetLabels, "set_labels")
        self.create_subscription(Image, "image", self._on_image, 10)
        self.create_subscription(FrameInfo, "lseg/frame_info", self._on_info, 10)
        for kind in ("mask", "overlay"):
            self.create_subscription(Image, f"lseg/{kind}", partial(self._on_output, kind), 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Image, f"lseg/score/{SCORE[0]}", partial(self._on_output, "score"), latched)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_image(self, message: Image) -> None:
        image = rgb(message)
        for name, photo in self._photos.items():
            if photo.shape == image.shape and np.array_equal(photo, image):
                self._photo_at[stamp(message)] = name

    def _on_info(self, message: FrameInfo) -> None:
        self._infos[stamp(message)].append(message)

    def _on_output(self, kind: str, message: Image) -> None:
        age = self.get_clock().now() - Time.from_msg(message.header.stamp)
        self._outputs[kind, stamp(message)].append((message, age.nanoseconds / 1e6))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.counts = {v.key: v.value for v in message.status[0].values}

    def frames(self, version: int) -> list[tuple[str, Frame]]:
        """Returns (photo, frame) of all complete frames under a label set, in the order of their stamps."""
        found = []
        for at, infos in sorted(self._infos.items()):
            masks, overlays = self._outputs["mask", at], self._outputs["overlay", at]
            if at not in self._photo_at or not len(masks) == len(overlays) == len(infos):
                continue
            score = next((message for message, _ in self._outputs["score", at]), None)
            for info, (mask, latency_ms), (overlay, _) in zip(infos, masks, overlays, strict=True):
                if info.label_version == version:
                    found.append((self._photo_at[at], Frame(mask, overlay, score, latency_ms, info.rescored)))
        return found


def stamp(message: Any) -> Stamp:
    return message.header.stamp.sec, message.header.stamp.nanosec


def rgb(message: Image) -> NDArray[np.uint8]:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def photo_files() -> dict[str, Path]:
    """Returns photographs that come with scikit-learn and scikit-image."""

    def folder(package: str) -> Path:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise DemoError(f"the demo's photographs come with {package}, which is not installed; run: make env")
        return Path(spec.origin).parent

    learn, image = folder("sklearn") / "datasets" / "images", folder("skimage") / "data"
    files = {
        "temple": learn / "china.jpg",
        "astronaut": image / "astronaut.png",
        "cat": image / "chelsea.png",
        "coffee": image / "coffee.png",
    }
    for name, path in files.items():
        if not path.is_file():
            raise DemoError(
                f"the photograph of the {name} is not at {path}; install scikit-learn and scikit-image again"
            )
    return files


@contextmanager
def process(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs an installed executable with its log in demo_out/, and ends it as Ctrl-C would."""
    with (OUT / f"{name}.log").open("wb") as log:
        running = subprocess.Popen([name, "--ros-args", *arguments], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
        try:
            status = running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            status = running.wait()
    if status != 0:
        raise DemoError(f"{name} ended with status {status}; see {OUT / name}.log")


@dataclass(frozen=True)
class Run:
    """The frames while one label set was in force: (photo, frame), oldest first."""

    when: str
    labels: Any
    frames: list[tuple[str, Frame]]

    @property
    def photos(self) -> dict[str, Frame]:
        """Returns the newest frame of each photo."""
        return dict(self.frames)

    def score(self) -> Image | None:
        """Returns the newest score image of its photo. The topic keeps only one image, so some are missed."""
        return next((f.score for name, f in reversed(self.frames) if name == SCORE[1] and f.score), None)


def play(files: dict[str, Path]) -> tuple[Client, Run, Run]:
    """Runs camera and node and changes the labels. Returns the client and the runs before and after the change."""
    photos = {name: read_photo(path) for name, path in files.items()}
    client = Client(photos)
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    sources = "[" + ", ".join(f"'{path}'" for path in files.values()) + "]"
    labels = "[" + ", ".join(f"'{label}'" for label in BEFORE) + "]"
    with (
        process("lseg_node", "-p", f"labels:={labels}") as node,
        process("image_player", "-p", f"sources:={sources}", "-p", f"rate:={RATE}", "-p", f"hold:={HOLD}") as player,
    ):

        def wait(condition: Callable[[], bool], what: str) -> None:
            end = time.monotonic() + STEP_TIMEOUT
            while not condition():
                executor.spin_once(timeout_sec=0.1)
                for name, running in (("lseg_node", node), ("image_player", player)):
                    if running.poll() is not None:
                        raise DemoError(f"{name} ended early, with status {running.returncode}; see {OUT / name}.log")
                if time.monotonic() > end:
                    raise DemoError(f"waited {STEP_TIMEOUT:g} s for {what}; see {OUT}/*.log")

        def run(labels: Any, when: str) -> Run:
            def made() -> Run:
                return Run(when, labels, client.frames(labels.version))

            wait(lambda: len(made().photos) == len(files), f"masks of all photos {when} the change")
            if SCORE[0] in [label.name for label in labels.labels]:
                wait(lambda: made().score() is not None, f"a score image of {SCORE[0]!r}")
            return made()

        def set_labels(labels: list[str]) -> Any:
            answer = client.change.call_async(SetLabels.Request(labels=labels))
            wait(answer.done, "an answer of set_labels")
            if not answer.result().success:
                raise DemoError(f"the labels were not changed: {answer.result().message}")
            return answer.result().label_set

        print("  starting the node and the camera", flush=True)
        wait(client.change.service_is_ready, "the node")
        in_force = client.labels.call_async(GetLabels.Request())
        wait(in_force.done, "an answer of get_labels")
        before = run(in_force.result().label_set, "before")
        print("  changing the labels", flush=True)
        after = run(set_labels(AFTER), "after")
        segmented = client.counts.get("segmented", "")
        wait(lambda: client.counts.get("segmented", "") != segmented, "a report of the node's counts")
    return client, before, after


def shares(mask: NDArray[np.uint8], labels: Any) -> dict[str, float]:
    """Returns the share of a mask that each label has, largest first. Unknown pixels count as `unknown`."""
    names = {label.class_id: label.name for label in labels.labels}
    ids, counts = np.unique(mask, return_counts=True)
    found = {names.get(int(i), "unknown"): int(n) / mask.size for i, n in zip(ids, counts, strict=True)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def ids_of(frame: Frame) -> NDArray[np.uint8]:
    return np.frombuffer(frame.mask.data, np.uint8).reshape(frame.mask.height, frame.mask.width)


def check(before: Run, after: Run) -> list[str]:
    """Returns a sentence for each result that is not as expected."""
    problems = []
    for photo, part, box, label in EXPECTED:
        share = shares(box.cut(ids_of(before.photos[photo])), before.labels).get(label, 0.0)
        if share <= 0.5:
            problems.append(f"the {part} of the {photo} photo should be {label}, and {share:.0%} of it is")
    for run in (before, after):
        for photo, frame in run.photos.items():
            label, share = next(iter(shares(ids_of(frame), run.labels).items()))
            if share > MOST:
                problems.append(f"{label!r} covers {share:.0%} of the {photo} photo {run.when} the change")
    for photo, frame in before.photos.items():
        for label, share in shares(ids_of(frame), before.labels).items():
            if label not in SHOWN[photo] and share > MOST_WRONG:
                problems.append(f"{label!r} covers {share:.0%} of the {photo} photo, which does not show it")
    for photo, frame in before.photos.items():
        if np.array_equal(ids_of(frame), ids_of(after.photos[photo])):
            problems.append(f"the mask of the {photo} photo is the same after the change of labels")
    return problems


def write(client: Client, runs: tuple[Run, Run]) -> dict[str, Any]:
    """Writes the pictures and demo.json. Returns the figures in it."""
    for run in runs:
        for photo, frame in run.photos.items():
            cv2.imwrite(str(OUT / f"{photo}_{run.when}.png"), rgb(frame.overlay)[..., ::-1])
    label, photo = SCORE
    score = runs[0].score()
    assert score is not None
    values = np.frombuffer(score.data, np.float32).reshape(score.height, score.width)
    picture = cv2.applyColorMap((255 * values).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    cv2.imwrite(str(OUT / f"{photo}_score_{label}.png"), picture)
    latency = [frame.latency_ms for run in runs for _, frame in run.frames if not frame.rescored]
    p50, p95 = np.percentile(latency, (50, 95))
    figures = {
        "frames_in": int(client.counts["received"]),
        "frames_segmented": int(client.counts["segmented"]),
        "frames_dropped": int(client.counts["dropped"]),
        "latency_ms": {"p50": round(p50, 1), "p95": round(p95, 1)},
        "labels": {run.when: {x.name: x.class_id for x in run.labels.labels} for run in runs},
        "shares": {
            run.when: {photo: rounded(shares(ids_of(frame), run.labels)) for photo, frame in run.photos.items()}
            for run in runs
        },
    }
    (OUT / "demo.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def report(figures: dict[str, Any]) -> None:
    """Returns the figures as a short table."""
    print(f"\n  {'photo':<10} {'labels':<7} what is there")
    for when, photos in figures["shares"].items():
        for photo, found in photos.items():
            text = ", ".join(f"{label} {share:.0%}" for label, share in found.items() if share >= 0.02)
            print(f"  {photo:<10} {when:<7} {text}")
    latency = figures["latency_ms"]
    print(
        f"\n  {figures['frames_in']} frames in, {figures['frames_segmented']} segmented, "
        f"{figures['frames_dropped']} dropped for newer ones; stamp to mask {latency['p50']} ms (p50), "
        f"{latency['p95']} ms (p95)\n  Look at {OUT}/*.png; all figures are in {OUT}/demo.json"
    )


def main() -> int:
    """Runs the demo. Returns the exit status."""
    # In its own domain and on this machine only, so that the photographs reach no robot.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", "101")
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*"):
        old.unlink()
    rclpy.init()
    try:
        client, before, after = play(photo_files())
        report(write(client, (before, after)))
        problems = check(before, after)
    except DemoError as error:
        problems = [str(error)]
    finally:
        rclpy.try_shutdown()
    for problem in problems:
        print(f"demo failed: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
