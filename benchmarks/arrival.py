"""How many images of a camera in another process reach the node, and what to do where some do not.

    python -m benchmarks.arrival                        # a quarter of an hour at most
    python -m benchmarks.arrival --images 640x480 --rates 30 --seconds 3

The node segments what it can meanwhile, with `lseg_mini`. An image has arrived when the node has got it, whether it is
segmented or replaced by a newer one. As a rule one image waits in the middleware, and a newer one replaces it there,
where nobody counts; so here ten may wait. Prints a table in Markdown.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from tqdm import tqdm

from benchmarks.node import Client, node_arguments, running

IMAGES = ("640x480", "1280x720", "1920x1080")
RATES = (15.0, 30.0)
RELIABILITIES = ("reliable", "best_effort")
_ENOUGH = 0.99  # least share of a reliable camera's images that must arrive
_FRAGMENTS = 2 * 2**20  # bytes; a kernel buffer for UDP of this size holds about one image


@dataclass(frozen=True)
class Arrival:
    """What happened to the images of one camera.

    Attributes:
        image: Width and height, as in 640x480.
        rate: Requested images per second.
        reliability: What the camera offered: reliable or best_effort.
        sent: Number of images that the camera has sent.
        rate_sent: Images per second that it has sent.
        publish_ms: Longest time of a call of `publish`, in milliseconds.
        received: Number of images that reached the node.
        segmented: Number of these images that were segmented.
    """

    image: str
    rate: float
    reliability: str
    sent: int
    rate_sent: float
    publish_ms: float
    received: int
    segmented: int

    @property
    def share(self) -> float:
        """The share of the images that arrived, from 0 to 1."""
        return self.received / self.sent


class Counter:
    """Reads the node's counts from its diagnostics."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reports: list[DiagnosticArray] = []
        client.subscribe(DiagnosticArray, "/diagnostics", self._reports.append)

    def counts(self) -> tuple[int, int]:
        """Returns received and segmented images, from a report made after this call and confirmed by the next one."""
        # Old reports may still be in the queue, because nobody has taken them.
        start = time.time()

        def settled() -> bool:
            reports = self._since(start)
            return len(reports) > 1 and _counts(reports[-1]) == _counts(reports[-2])

        self._client.until(settled, "diagnostics")
        counts = _counts(self._reports[-1])
        self._reports.clear()
        return counts

    def _since(self, start: float) -> list[DiagnosticArray]:
        stamps = [(report, report.header.stamp) for report in self._reports]
        return [report for report, stamp in stamps if stamp.sec + 1e-9 * stamp.nanosec > start]


def _counts(report: DiagnosticArray) -> tuple[int, int]:
    values = {value.key: value.value for value in report.status[0].values}
    return int(values["received"]), int(values["segmented"])


def measure(counter: Counter, image: str, rate: float, reliability: str, seconds: float) -> Arrival:
    """Runs one camera, from its start to its end."""
    before = counter.counts()
    command = [sys.executable, "-m", "benchmarks.camera", *image.split("x"), str(rate), reliability, str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 120)
    sent, taken, longest = map(float, done.stdout.split())
    received, segmented = (after - b for after, b in zip(counter.counts(), before, strict=True))
    return Arrival(image, rate, reliability, int(sent), sent / taken, longest, received, segmented)


HEAD = (
    "| image | camera | rate asked | rate sent | arrived | segmented | longest `publish` |\n"
    "|---|---|---|---|---|---|---|"
)


def row(x: Arrival) -> str:
    """Returns the figures of one camera as a row of a table in Markdown, under `HEAD`."""
    return (
        f"| {x.image} | {x.reliability.replace('_', ' ')} | {x.rate:g} Hz | {x.rate_sent:.1f} Hz | "
        f"{x.received} of {x.sent} ({100 * x.share:.0f} %) | {x.segmented} | {x.publish_ms:.0f} ms |"
    )


def advice(arrivals: list[Arrival]) -> list[str]:
    """Returns what to do if images did not arrive; an empty text if all did."""
    lost = [x for x in arrivals if x.share < _ENOUGH]
    sentences = []
    if any(x.reliability == "best_effort" for x in lost):
        sentences.append(
            "Make the camera reliable: its best-effort images get lost, and the node follows what it offers."
        )
    if lost:
        transports = os.environ.get("FASTDDS_BUILTIN_TRANSPORTS", "not set")
        sentences.append(
            "Start camera and node with FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA (Fast DDS 2.14 and newer, so Jazzy and "
            f"newer), which takes large messages another way. Here it is {transports}."
        )
        rmem = int(Path("/proc/sys/net/core/rmem_max").read_text())
        if rmem < _FRAGMENTS:
            sentences.append(
                f"Between machines: sudo sysctl -w net.core.rmem_max=8388608. Here it is {rmem}, less than an image."
            )
        sentences.append("Or publish compressed images: the node reads image/compressed where it is published alone.")
    slow = [x for x in arrivals if x.rate_sent < 0.95 * x.rate]
    if slow:
        sentences.append(
            f"In {len(slow)} of {len(arrivals)} cases the camera itself did not get the time to send at its rate; the "
            "machine is too busy for it."
        )
    return sentences


def main() -> int:
    """Runs all cameras. Returns the exit status: 1 if too few images of a reliable camera arrive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arrival", description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", choices=IMAGES, default=IMAGES, help="sizes")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="images a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each camera sends (default: 5)")
    options = parser.parse_args()
    cases = list(product(options.images, options.rates, RELIABILITIES))
    arrivals = []
    queue = ["-p", "qos_overrides.image.subscription.depth:=10"]
    with node_arguments("lseg_mini") as arguments, Client() as client, running([*arguments, *queue]):
        client.first_mask()
        client.stop_camera()
        counter = Counter(client)
        print(HEAD, flush=True)
        for image, rate, reliability in tqdm(cases, desc="arrival", unit="camera", disable=None):
            arrivals.append(measure(counter, image, rate, reliability, options.seconds))
            tqdm.write(row(arrivals[-1]))
            sys.stdout.flush()
    for line in advice(arrivals):
        print(f"- {line}")
    return int(any(x.share < _ENOUGH for x in arrivals if x.reliability == "reliable"))


if __name__ == "__main__":
    sys.exit(main())
