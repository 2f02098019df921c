"""Times many labels on a CPU: whole frames, and two ways to find the best label at each pixel."""

import argparse
import copy
import statistics
import time

import torch

from benchmarks.inputs import labels, network, photos
from lseg_ros import Segmenter
from lseg_ros.inference.winners import _best_by_strips, _best_by_tiles

FEW, MANY = 7, 150
SIZES = ((480, 360), (1280, 720))  # width and height


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
    found = []
    for turn in range(-1, rounds):  # the first one warms up
        image = images[turn % len(images)]
        logits = segmenter._logits(image.coordinates, segmenter._competition)
        times = [time.thread_time()]
        for best in (_best_by_strips, _best_by_tiles):
            best(logits, image.sizes, (height, width))
            times.append(time.thread_time())
        if turn >= 0:
            strips, tiles = (1e3 * (end - start) for start, end in zip(times, times[1:], strict=False))
            found.append((strips, tiles, strips / tiles))
    first, second, ratio = (statistics.median(column) for column in zip(*found, strict=True))
    return first, second, ratio


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
    found = []
    for turn in range(-1, rounds):  # the first one warms up
        times = [time.thread_time()]
        for segmenter in segmenters:
            result = segmenter.segment(images[turn % len(images)])
            result.mask, result.confidence  # noqa: B018
            times.append(time.thread_time())
        if turn >= 0:
            few, many = (1e3 * (end - start) for start, end in zip(times, times[1:], strict=False))
            found.append((few, many, many / few))
    first, second, ratio = (statistics.median(column) for column in zip(*found, strict=True))
    return first, second, ratio


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
