"""Times many labels on a CPU: whole frames, and two ways to find the best label at each pixel."""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch

from benchmarks.inputs import labels, network, photos
from lseg_ros import Segmenter
from lseg_ros.inference.winners import _best_by_strips, _best_by_tiles

FEW, MANY = 7, 150
SIZES = ((480, 360), (1280, 720))  # width and height


def _in_turn(pairs: Iterable[tuple[Callable[[], object], Callable[[], object]]]) -> list[tuple[float, float]]:
    """Runs pairs of functions. Returns milliseconds of this thread for each pair but the first, which warms up."""
    found = []
    for pair in pairs:
        times = [time.thread_time()]
        for run in pair:
            run()
            times.append(time.thread_time())
        found.append((1e3 * (times[1] - times[0]), 1e3 * (times[2] - times[1])))
    return found[1:]


def _medians(rows: Iterable[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Returns the median of each column."""
    first, second, third = (statistics.median(column) for column in zip(*rows, strict=True))
    return first, second, third


@torch.inference_mode()
def compare(segmenter: Segmenter, count: int, width: int, height: int, rounds: int) -> tuple[float, float, float]:
    """Returns medians over rounds: milliseconds of this thread by strips and by tiles, and the ratio of both.

    Args:
        segmenter: Segments photographs; its labels are changed.
        count: Number of labels.
        width: Width of the photographs in pixels.
        height: Height of the photographs in pixels.
        rounds: How often both ways get the same photograph.
    """
    segmenter.set_labels(labels(count), range(1, count + 1), force=True)
    images = [segmenter.embed(rgb) for rgb in photos(width, height)]

    def ways(turn: int) -> tuple[Callable[[], object], Callable[[], object]]:
        image = images[turn % len(images)]
        given = segmenter._logits(image.coordinates, segmenter._competition), image.sizes, (height, width)
        return partial(_best_by_strips, *given), partial(_best_by_tiles, *given)

    found = _in_turn(ways(turn) for turn in range(-1, rounds))
    return _medians((strips, tiles, strips / tiles) for strips, tiles in found)


def frames(precision: str, rounds: int) -> tuple[float, float, float]:
    """Compares whole frames of 480x360, from image to mask and confidence, with few labels and with many.

    Args:
        precision: Precision of the image encoder.
        rounds: How often both get the same photograph.

    Returns:
        Medians over rounds: milliseconds of this thread with few and with many labels, and the ratio of both.
    """
    net, images = network("lseg_mini"), photos(*SIZES[0])
    segmenters = [Segmenter(copy.deepcopy(net), "cpu", precision) for _ in range(2)]
    for segmenter, count in zip(segmenters, (FEW, MANY), strict=True):
        segmenter.set_labels(labels(count))

    def frame(segmenter: Segmenter, turn: int) -> None:
        result = segmenter.segment(images[turn % len(images)])
        result.mask, result.confidence  # noqa: B018

    few, many = segmenters
    found = _in_turn((partial(frame, few, turn), partial(frame, many, turn)) for turn in range(-1, rounds))
    return _medians((fewer, more, more / fewer) for fewer, more in found)


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is timed (default: 10)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the processor's time is then that of one thread
    print(f"| whole frames | {FEW} labels | {MANY} labels | times as long |\n|---|---|---|---|")
    for precision in ("bfloat16", "float32"):
        few, many, ratio = frames(precision, options.rounds)
        print(f"| {precision} | {few:.0f} ms | {many:.0f} ms | {ratio:.2f} |", flush=True)
    segmenter = Segmenter(network("lseg_mini"), "cpu")
    print("\n| image | labels | strips | tiles | times as fast |\n|---|---|---|---|---|")
    for width, height in SIZES:
        for count in (20, 60, 96, 150):
            strips, tiles, ratio = compare(segmenter, count, width, height, options.rounds)
            print(f"| {width}x{height} | {count} | {strips:.0f} ms | {tiles:.0f} ms | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
