"""A camera that sends what no camera should: the node refuses it by name and goes on."""

import random
import signal
from pathlib import Path

import numpy as np
from faults.onlooker import Onlooker, Report, filled
from graph import Graph
from lseg_ros.srv import SetLabels
from processes import Start, stop
from sensor_msgs.msg import Image

WIDTH, HEIGHT = 64, 48
NOISE = {n: np.random.default_rng(n).integers(0, 256, WIDTH * HEIGHT * n, np.uint8).tobytes() for n in (1, 2, 3, 4)}
BYTES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "mono16": 2, "8UC1": 1, "8UC3": 3, "bayer_rggb8": 1}
BYTES |= {"bayer_gbrg16": 2, "uyvy": 2, "yuyv": 2, "yuv422": 2, "yuv422_yuy2": 2}


def noise(encoding: str = "rgb8", **changes: object) -> Image:
    """A good message of 64x48 pixels, but for the changes."""
    size = BYTES.get(encoding, 4)
    fields = {"height": HEIGHT, "width": WIDTH, "encoding": encoding, "step": WIDTH * size, "data": NOISE[size]}
    return filled(**{**fields, **changes})


def black(height: int, width: int) -> Image:
    return filled(height=height, width=width, encoding="rgb8", step=3 * width, data=bytes(3 * height * width))


def stamped(seconds: int, nanoseconds: int = 0) -> Image:
    message = noise()
    message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    return message


def framed(frame_id: str) -> Image:
    message = noise()
    message.header.frame_id = frame_id
    return message


REFUSED = {
    "encodings that there are not": [noise(e) for e in ("", "RGB8", "32FC1", "8UC4", "jpeg", "x" * 5000, "ü", "64FC3")],
    "no pixels": [noise(height=h, width=w, step=3 * w, data=b"") for h, w in ((0, 0), (0, 64), (48, 0))],
    "too little data": [noise(data=NOISE[3][:n]) for n in (0, 1, 5000, HEIGHT * WIDTH * 3 - 1)],
    "impossible steps": [noise(step=n) for n in (0, 1, 191, 2**32 - 1)],
    "sizes without their data": [
        noise(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1, data=b""),
        noise("mono8", height=100_000, width=100_000, step=100_000, data=b""),
    ],
}
TAKEN = {
    "every encoding in turn": [noise(encoding) for encoding in BYTES]
    + [noise("nv12", step=WIDTH, data=bytes(WIDTH * HEIGHT * 3 // 2))],
    "stamps that jump, repeat and are negative": [stamped(s) for s in (0, 1, 2**31 - 1, 5, 5, 5, 10, -5, -(2**31))]
    + [stamped(7, 4 * 10**9)],
    "odd names of frames": [framed(name) for name in ("", "a b", "ü" * 300, "/x/")],
    "extreme shapes": [black(1, 1), black(1, 500), black(500, 1), black(3, 3)],
    "data behind the image": [noise(data=NOISE[3] + b"x" * 100)],
}


def number_of(onlooker: Onlooker, key: str) -> int:
    return int(onlooker.values()[key])


def test_garbage_is_refused_and_the_node_goes_on(
    graph: Graph,
    start_node: Start,
    onlooker: Onlooker,
    report: Report,
    tmp_path: Path,
    *,
    full: bool,
) -> None:
    reliable = {"qos_overrides./image.subscription.reliability": "reliable"}
    node = start_node(**reliable)
    graph.client_of(SetLabels, "set_labels")
    onlooker.wait_for_node()
    onlooker.more_masks(3, "before the garbage")
    graph.until(onlooker.values, "diagnostics")
    for name, messages in REFUSED.items():
        chosen = messages if full else messages[-2:]
        for message in chosen:  # each once the one before was counted: only the newest image waits for the node
            refused = number_of(onlooker, "refused") + 1
            onlooker.camera.publish(message)
            graph.until(lambda n=refused: number_of(onlooker, "refused") == n, f"{name} to be refused")  # type: ignore[misc]
        report(f"{name}: {len(chosen)} refused, the last with: {onlooker.values()['last_error'][:100]}")
        assert onlooker.last is not None and onlooker.last.header not in [m.header for m in chosen], name
    choose = random.Random(0)
    sizes = [(choose.randint(8, 400), choose.randint(8, 400)) for _ in range(40 if full else 3)]
    changing = {"another size every time": [black(height, width) for height, width in sizes]}
    for name, messages in (TAKEN | changing).items():
        chosen = messages if full else messages[:3]
        for message in chosen:
            masks = onlooker.masks + 1
            onlooker.camera.publish(message)

            def came(count: int = masks, sent: Image = message) -> bool:
                return onlooker.masks >= count and onlooker.last is not None and onlooker.last.header == sent.header

            graph.until(came, f"a mask for {name}")
            assert onlooker.last is not None
            assert (onlooker.last.height, onlooker.last.width) == (message.height, message.width), name
        report(f"{name}: {len(chosen)} masks")
    assert graph.call(SetLabels, "set_labels", SetLabels.Request(labels=["sky", "road"])).success
    onlooker.more_masks(3, "after the garbage")
    graph.until(lambda: onlooker.message() == "segmenting", "diagnostics that all is well")
    assert number_of(onlooker, "failed") == 0 and onlooker.wrong == {}
    assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
    assert "Traceback" not in (tmp_path / "lseg_node.log").read_text()
