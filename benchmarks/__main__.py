"""`python -m benchmarks`: measures, and writes results, page and table. See docs/performance.md."""

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.inputs import labels, network, photos
from benchmarks.machine import cores, machine, now, slug
from benchmarks.plain import Baseline, Plain
from benchmarks.subjects import Product, segmenters
from benchmarks.timing import Subject, compare

RESULTS = Path(__file__).parent / "results"
CASES: dict[str, dict[str, tuple[int, ...]]] = {  # numbers of labels by the image's size
    "lseg_mini": {"480x360": (7, 11, 20, 150), "640x480": (7, 20, 150), "1280x720": (7, 20, 150)},
    "lseg_vit_l16": {"480x480": (7, 150), "480x360": (7, 20, 150), "640x480": (7, 20, 150), "1280x720": (7, 20, 150)},
}
ROUNDS = {"lseg_mini": 15, "lseg_vit_l16": 3}


def measure(model: str, images: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """The cases of one model, one by one."""
    cases = [(image, count) for image, counts in CASES[model].items() if image in images for count in counts]
    blank = network(model)
    ours = dict(segmenters(blank))
    device = next(iter(ours.values())).device
    plain, baseline = (copy.deepcopy(blank).to(device) for _ in range(2))
    with tqdm(total=len(cases) * (rounds + 1) * (len(ours) + 2), desc=model, unit="frame", disable=None) as bar:
        for image, count in cases:
            words = labels(count)
            subjects: dict[str, Subject] = {"plain": Plain(plain, words), "baseline": Baseline(baseline, words)}
            subjects |= {name: Product(segmenter, words) for name, segmenter in ours.items()}
            width, height = map(int, image.split("x"))
            figures = compare(subjects, photos(width, height), rounds, bar.update)
            yield {"model": model, "image": image, "labels": count, **now(), "rounds": rounds, "subjects": figures}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    sizes = list(dict.fromkeys(image for images in CASES.values() for image in images))
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--images", nargs="+", choices=sizes, default=sizes)
    parser.add_argument("--rounds", type=int, help="how often each is timed (default: 15, large models 3)")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{slug()}.json", help="file of results to add to")
    options = parser.parse_args()
    torch.set_num_threads(cores())
    results = read(options.out)
    for model in options.models:
        for case in measure(model, options.images, options.rounds or ROUNDS[model]):
            results["cases"] = [c for c in results["cases"] if not same(c, case)] + [case]
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two cases measure the same."""
    return all(one[key] == other[key] for key in ("model", "image", "labels"))


def read(path: Path) -> dict[str, Any]:
    """The results in a file, or empty ones: what another machine or other versions gave is not mixed with ours."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    return found if found.get("machine") == machine() else {"machine": machine(), "cases": []}


if __name__ == "__main__":
    sys.exit(main())
