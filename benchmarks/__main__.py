"""Measures the speed of the models on this machine, and writes results, the page and README's table."""

import argparse
import copy
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.accuracy import accuracy
from benchmarks.inputs import ROOT, labels, network, photos
from benchmarks.machine import Others, cores, machine, now, slug
from benchmarks.plain import Baseline, Plain
from benchmarks.report import RESULTS, write_report
from benchmarks.subjects import Product, segmenters
from benchmarks.timing import Subject, compare
from lseg_ros.cli.options import user_path
from lseg_ros.inference.backends.names import BACKENDS

CASES: dict[str, dict[str, tuple[int, ...]]] = {  # numbers of labels by the image's size
    "lseg_mini": {"480x360": (7, 11, 20, 150), "640x480": (7, 20, 150), "1280x720": (7, 20, 150)},
    "lseg_vit_l16": {"480x480": (7, 150), "480x360": (7, 20, 150), "640x480": (7, 20, 150), "1280x720": (7, 20, 150)},
}
SIZES = list(dict.fromkeys(image for images in CASES.values() for image in images))
COUNTS = (7, 11, 20, 150)
ROUNDS = {"lseg_mini": 15, "lseg_vit_l16": 3}
NODE = {"lseg_mini": (40, 3), "lseg_vit_l16": (5, 1)}  # frames, starts
PARTS = ("segmenter", "accuracy", "node", "memory")
USUAL = PARTS[:3]  # without memory, which takes another quarter of an hour
MEMORY_FRAMES = 10_000


def measure(
    model: str, images: Sequence[str], counts: Sequence[int], rounds: int, backends: Sequence[str] = BACKENDS
) -> Iterator[dict[str, Any]]:
    """Yields the results of one model's cases, one by one."""
    sizes = [image for image in CASES[model] if image in images]
    cases = [(image, count) for image in sizes for count in CASES[model][image] if count in counts]
    blank = network(model)
    ours = dict(segmenters(blank, backends))
    device = next(iter(ours.values())).device
    plain, baseline = (copy.deepcopy(blank).to(device) for _ in range(2))
    with tqdm(total=len(cases) * (rounds + 1) * (len(ours) + 2), desc=model, unit="frame", disable=None) as bar:
        for image, count in cases:
            words = labels(count)
            subjects: dict[str, Subject] = {"plain": Plain(plain, words), "baseline": Baseline(baseline, words)}
            subjects |= {name: Product(segmenter, words) for name, segmenter in ours.items()}
            width, height = map(int, image.split("x"))
            others = Others()
            figures = compare(subjects, photos(width, height), rounds, bar.update)
            facts = {"model": model, "image": image, "labels": count, **now(), "rounds": rounds}
            yield {**facts, "others": others.share(), "subjects": figures}


def measure_all(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (part, result) one by one, and prints what is left out and why."""
    for model in options.models:
        if "segmenter" in options.parts:
            rounds = options.rounds or (2 if options.quick else ROUNDS[model])
            for case in measure(model, options.images, options.labels, rounds):
                yield "segmenter", case
        if "accuracy" in options.parts and model == "lseg_mini":
            if options.camvid.is_dir():
                yield "accuracy", accuracy(model, options.camvid, 20 if options.quick else None)
            else:
                print(f"mIoU is left out: CamVid is not at {options.camvid}; give its folder as --camvid")
        if {"node", "memory"} & set(options.parts):
            if not (find_spec("rclpy") and shutil.which("lseg_node")):
                print("the node is left out: it is not installed here; run: make env, then: . ./env.sh")
                continue
            from benchmarks.memory import measure_memory
            from benchmarks.node import measure_node

            if "node" in options.parts:
                yield "node", measure_node(model, *((10, 1) if options.quick else NODE[model]))
            if "memory" in options.parts and model == "lseg_mini":
                yield "memory", measure_memory(model, 100 if options.quick else MEMORY_FRAMES)


def main() -> int:
    """Runs the measurements. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=USUAL, help="none: only page and table, anew")
    parser.add_argument("--images", nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--labels", nargs="+", type=int, choices=COUNTS, default=COUNTS)
    parser.add_argument("--rounds", type=int, help="how often each is timed (default: 15, large models 3)")
    parser.add_argument("--quick", action="store_true", help="few rounds, frames and starts, to see that all is well")
    parser.add_argument("--camvid", type=user_path, default=ROOT.parent / "shared/data/camvid", help="CamVid's folder")
    parser.add_argument("--out", type=user_path, default=RESULTS / f"{slug()}.json", help="file of results to add to")
    options = parser.parse_args()
    torch.set_num_threads(cores())
    results = read(options.out)
    for part, found in measure_all(options):
        results[part] = [other for other in results[part] if not same(other, found)] + [found]
        results[part].sort(key=place)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, options.out)
    if options.out.parent == RESULTS:
        from benchmarks.gpu.results import write_section

        write_section()
    return 0


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Returns whether two results belong to the same case."""
    return place(one) == place(other)


def place(result: dict[str, Any]) -> tuple[int, int, int]:
    """Returns model, image size and number of labels, as a sort key."""
    sizes = SIZES.index(result["image"]) if "image" in result else 0
    return list(CASES).index(result["model"]), sizes, result.get("labels", 0)


def read(path: Path) -> dict[str, Any]:
    """Reads the results in a file. Results of another machine or other versions are dropped."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("machine") != machine():
        found = {}
    # What `make gpu` adds stays.
    kept = {"gpu": found["gpu"]} if "gpu" in found else {}
    return {"machine": machine(), **{part: found.get(part, []) for part in PARTS}, **kept}


if __name__ == "__main__":
    sys.exit(main())
