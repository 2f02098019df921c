"""The command `lseg verify`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.memory import enough_memory
from lseg_ros.cli.options import user_path

if TYPE_CHECKING:
    from lseg_ros.inference.segmenter import Segmenter
    from lseg_ros.model.published import Finding

VARIANT, TENSORS, NUMBERS = "lseg_vit_l16", 730, 495_144_697  # facts about demo_e200.ckpt
MEAN_IOU, PIXEL_ACCURACY = 32.07, 80.8  # percent, as its users report (isl-org/lang-seg, issue 17)
_TOLERANCE = 0.3  # percent
_SHARE = 0.6  # least share of an area's pixels that must have its label

_DESCRIPTION = """\
Checks whether a file is the published LSeg network, demo_e200.ckpt, which comes from a file-sharing link and without a
checksum. It checks names, shapes and numbers of the tensors, and segments the two photographs that come with
scikit-learn: FILE_china.png and FILE_flower.png show the result. The exit status is 1 if a check fails.

With --ade20k it also measures the file on ADE20K's 2000 validation images, by the original's own slow evaluation. This
takes hours on a GPU. The folder must hold ADEChallengeData2016.
"""


@dataclass(frozen=True)
class Area:
    """A part of a photograph where one label must win.

    Attributes:
        label: The label.
        rows: The first row, and the one after the last.
        columns: The first column, and the one after the last.
    """

    label: str
    rows: tuple[int, int]
    columns: tuple[int, int]


# Each area lies well inside of the object.
PHOTOS = {
    "china": (
        ("sky", "building", "tree", "water", "road", "person"),
        (
            Area("sky", (0, 120), (360, 640)),
            Area("building", (180, 320), (110, 310)),
            Area("tree", (330, 420), (410, 550)),
        ),
    ),
    "flower": (
        ("flower", "leaf", "sky", "building", "person", "car"),
        (Area("flower", (120, 320), (200, 430)),),
    ),
}


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "verify",
        help="say whether a file is the published LSeg network",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=user_path, help="the checkpoint, demo_e200.ckpt")
    parser.add_argument("-o", "--output", type=user_path, help="folder for the pictures (default: beside the file)")
    parser.add_argument(
        "--ade20k", type=user_path, metavar="FOLDER", help="measure on ADE20K, which lies in this folder"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the findings, one per line. Returns the exit status."""
    from lseg_ros import Segmenter, load_model
    from lseg_ros.model.keymap import is_original
    from lseg_ros.model.published import check_tensors
    from lseg_ros.model.reader import read_weights
    from lseg_ros.model.variants import variant_named

    if options.ade20k is not None:
        from lseg_ros.data.ade20k import Ade20k

        Ade20k(options.ade20k, "validation", quirks=True)  # raises if it is missing, before anything slow begins
    state, _ = read_weights(options.file)
    if not is_original(state):
        raise ValueError(
            f"{options.file} is no checkpoint of the original LSeg, and only those can be verified; "
            "`lseg info` says what it is"
        )
    findings = check_tensors(state, variant_named(VARIANT), TENSORS, NUMBERS)
    del state
    _show(findings)
    if findings[0].ok:
        with enough_memory():
            segmenter = Segmenter(load_model(options.file, VARIANT), options.device)
            for step in (_check_photos, *([_check_ade20k] if options.ade20k is not None else [])):
                further = step(segmenter, options)
                _show(further)
                findings += further
    good = all(finding.ok for finding in findings)
    print(f"{options.file.name} {'looks like' if good else 'is not, or not completely,'} the published network")
    return 0 if good else 1


def _show(findings: "Sequence[Finding]") -> None:
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'NOT'}  {finding.text}", flush=True)


def _check_photos(segmenter: "Segmenter", options: argparse.Namespace) -> "list[Finding]":
    from lseg_ros.model.published import Finding

    if find_spec("sklearn") is None:
        print("(the photographs are left out, because they come with scikit-learn; run: pip install scikit-learn)")
        return []
    import numpy as np
    from sklearn.datasets import load_sample_image

    from lseg_ros.cli.outputs import write_png
    from lseg_ros.inference.render import overlay

    folder = options.output or options.file.parent
    folder.mkdir(parents=True, exist_ok=True)
    findings = []
    for name, (labels, areas) in PHOTOS.items():
        rgb = np.ascontiguousarray(load_sample_image(f"{name}.jpg"))
        segmenter.set_labels(labels, force=True)
        result = segmenter.segment(rgb)
        path = folder / f"{options.file.stem}_{name}.png"
        write_png(path, overlay(rgb, result.mask, result.labels))
        for area in areas:
            part = result.mask[slice(*area.rows), slice(*area.columns)]
            share = float(np.mean(part == result.labels.labels[result.labels.index(area.label)].class_id))
            text = f"{name}.jpg: {share:.0%} of the {area.label}'s area is {area.label} ({path})"
            findings.append(Finding(share >= _SHARE, text))
    return findings


def _check_ade20k(segmenter: "Segmenter", options: argparse.Namespace) -> "list[Finding]":
    from tqdm import tqdm

    from lseg_ros.data.ade20k import Ade20k
    from lseg_ros.evaluation.dense import evaluate
    from lseg_ros.evaluation.scoring import Scorer
    from lseg_ros.model.published import Finding

    data = Ade20k(options.ade20k, "validation", quirks=True)
    indices = tqdm(range(len(data)), unit="image", leave=False, disable=None)
    metrics = evaluate(Scorer(segmenter.net, options.device), data, indices=indices, multiscale=True)
    iou, accuracy = 100 * metrics.mean_iou, 100 * metrics.pixel_accuracy
    text = f"ADE20K: mIoU {iou:.2f} %, pixel accuracy {accuracy:.2f} %; reported: {MEAN_IOU}, {PIXEL_ACCURACY}"
    return [Finding(abs(iou - MEAN_IOU) <= _TOLERANCE and abs(accuracy - PIXEL_ACCURACY) <= _TOLERANCE, text)]
