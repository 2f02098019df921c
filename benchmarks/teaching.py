"""Measures labels that were taught by a few pixels, in place of their words or in addition to them.

    python -m benchmarks.teaching ../shared/data/camvid [MODEL ...]

prints the table of docs/labels.md. For each label, five pixels are drawn at random from four training frames of CamVid
that show it. Test frames (every fourth) and validation frames are then segmented by words, by marks alone and by both.
Figures are means over three draws.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lseg_ros import Segmenter, load_model
from lseg_ros.data.camvid import CamVid
from lseg_ros.evaluation.metrics import Confusion, Metrics
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.labels import LabelSet, LabelSpec
from lseg_ros.inference.lessons import Lesson, Marks, with_lesson

DRAWS = 3
PIXELS = 5  # marked pixels of each label
FRAMES = 4  # frames that they are drawn from
STEP = 4  # every fourth test frame, and every fourth pixel along both sides, is compared
ENOUGH = 10  # least pixels of a label in a frame that shows it

Vectors = dict[str, NDArray[np.float32]]


class Frame(NamedTuple):
    """A frame to segment.

    Attributes:
        embedding: The network's embedding of the frame.
        target: [h,w] indices of the true labels, of every fourth pixel.
    """

    embedding: ImageEmbedding
    target: NDArray[np.uint8]


def frames(segmenter: Segmenter, data: CamVid, step: int) -> list[Frame]:
    """Embeds every `step`-th frame of a split."""
    found = []
    for index in tqdm(range(0, len(data), step), desc=data.name, unit="frame", disable=None):
        rgb, target = data.sample(index)
        found.append(Frame(segmenter.embed(rgb), target[STEP // 2 :: STEP, STEP // 2 :: STEP]))
    return found


def draw(segmenter: Segmenter, train: CamVid, seed: int) -> Vectors:
    """Marks pixels of each label at random. Returns [PIXELS,D] of each, or fewer if some are similar."""
    rng = np.random.default_rng(seed)
    pixels: dict[int, list[tuple[int, int, int]]] = {place: [] for place in range(len(train.labels))}
    shown = dict.fromkeys(pixels, 0)
    targets: dict[int, NDArray[np.uint8]] = {}
    for index in rng.permutation(len(train)).tolist():
        lacking = [place for place, count in shown.items() if count < FRAMES]
        if not lacking:
            break
        target = train.sample(index)[1]
        for place in lacking:
            of_label = np.argwhere(target == place)
            if len(of_label) >= ENOUGH:
                # One of each frame, and the fifth of the first.
                for v, u in of_label[rng.integers(len(of_label), size=PIXELS - FRAMES + 1 if shown[place] == 0 else 1)]:
                    pixels[place].append((index, int(u), int(v)))
                shown[place] += 1
                targets[index] = target
    embeddings = {index: segmenter.embed(train.sample(index)[0]) for index in targets}
    found: Vectors = {}
    for place, marks in pixels.items():
        rows = []
        for index, u, v in marks:
            size = embeddings[index].sizes.image
            rows.append(segmenter.marked(embeddings[index], Marks([(u, v)]), size))
        found[train.labels[place]] = np.concatenate(rows)
    return found


def taught(segmenter: Segmenter, names: Sequence[str], vectors: Vectors, *, alone: bool) -> list[LabelSpec]:
    """Returns the labels. Those in `vectors` are taught these."""
    labels = LabelSet()
    specs = [LabelSpec(name) for name in names]
    for name, rows in vectors.items():
        none = np.empty((0, rows.shape[1]), np.float32)
        labels = segmenter.plan(specs)
        specs = with_lesson(labels, name, Lesson(segmenter.weights, rows, none, alone))
    return specs


def measure(segmenter: Segmenter, specs: Sequence[str | LabelSpec], data: Sequence[Frame]) -> Metrics:
    """Segments frames under these labels, whose ids are their indices."""
    labels = segmenter.set_labels(specs)
    place_of = np.full(256, len(labels.labels), np.uint8)
    for place, label in enumerate(labels.labels):
        place_of[label.class_id] = place
    confusion = Confusion(len(labels.labels))
    for frame in data:
        height, width = frame.target.shape
        confusion.add(frame.target, place_of[segmenter.score(frame.embedding).at((height, width)).mask])
    return confusion.metrics()


def rows_of(
    segmenter: Segmenter, names: Sequence[str], draws: Sequence[Vectors], data: Sequence[Frame]
) -> dict[str, Any]:
    """Returns the figures of one split, each in [0, 1]."""
    words = measure(segmenter, list(names), data)

    def one(name: str, draw: Vectors, *, alone: bool) -> tuple[float, float]:
        found = measure(segmenter, taught(segmenter, names, {name: draw[name]}, alone=alone), data)
        return found.mean_iou, found.iou[list(names).index(name)]

    def all_of(*, alone: bool) -> float:
        return float(
            np.mean([measure(segmenter, taught(segmenter, names, d, alone=alone), data).mean_iou for d in draws])
        )

    singles = {
        alone: np.nanmean([one(name, d, alone=alone) for d in draws for name in names], axis=0)
        for alone in (True, False)
    }
    return {
        "words": words.mean_iou,
        "all taught, no words": all_of(alone=True),
        "all taught, words too": all_of(alone=False),
        "one taught, without its word: all labels": singles[True][0],
        "one taught, its word too: all labels": singles[False][0],
        "that label, by its word": float(np.nanmean(words.iou)),
        "that label, taught, without its word": singles[True][1],
        "that label, taught, its word too": singles[False][1],
    }


def table(models: Sequence[str], root: Path) -> Iterator[str]:
    """Yields the lines of the table."""
    columns: dict[str, dict[str, Any]] = {}
    for model in models:
        segmenter = Segmenter(load_model(model), device="cpu")
        train = CamVid(root, "train")
        draws = [draw(segmenter, train, seed) for seed in range(DRAWS)]
        for split, step in (("test", STEP), ("val", 1)):
            data = CamVid(root, split)
            columns[f"`{model}`, {split}"] = rows_of(segmenter, data.labels, draws, frames(segmenter, data, step))
    yield "| mIoU | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for row in next(iter(columns.values())):
        yield f"| {row} | " + " | ".join(f"{100 * figures[row]:.1f}" for figures in columns.values()) + " |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="CAMVID", help="folder with train, val and test")
    parser.add_argument("models", nargs="*", default=["lseg_mini", "lseg_mini_street"], metavar="MODEL")
    options = parser.parse_args()
    for line in table(options.models, options.root):
        print(line, flush=True)


if __name__ == "__main__":
    main()
