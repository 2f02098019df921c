"""The command `lseg segment`."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import table, warn
from lseg_ros.cli.memory import enough_memory
from lseg_ros.cli.options import add_segmenter_options, segmenter_of, user_path

if TYPE_CHECKING:
    from lseg_ros.cli.outputs import Target
    from lseg_ros.images.photos import RGB
    from lseg_ros.inference.labels import LabelSet
    from lseg_ros.inference.postprocess import Segmentation


_DESCRIPTION = """\
Segments photos, folders of photos and videos by free text.

What is written:
  -o OUT.png, for one photo:  the overlay (labels in color, with a legend), and OUT_mask.png beside it
  -o OUT.mp4, for one video:  the overlay as a video
  -o FOLDER, for any inputs:  NAME_overlay.png and NAME_mask.png for a photo, NAME_overlay.mp4 for a video
  --scores, photos only:      NAME_scores.npz, an array for each label under its name, float16 in [0, 1]
  --masks, videos only:       NAME_masks/000000.png and so on, the mask of each frame, and times.csv, its seconds

An overlay video lasts as long as its input: where that has no steady rate, frames are held for their time.

A mask holds the ids of the printed table, and 255 where the label is unknown (under its threshold, or background);
it has 8 bits, or 16 and 65535 for unknown where there are more than 254 labels or larger ids.
Of an animation (GIF, WebP, PNG) or a TIFF of several pages the first picture is segmented, and a line says so.
Inputs that cannot be read are named and left out, and the exit status is 1.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "segment",
        help="segment photos, folders of photos and videos",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="photo, folder of photos, or video")
    parser.add_argument("-o", "--output", type=user_path, required=True, help="what to write, see above")
    add_segmenter_options(parser)
    parser.add_argument(
        "--multiscale", action="store_true", help="six sizes and mirrored: better, and many times slower"
    )
    parser.add_argument("--scores", action="store_true", help="write every label's scores too")
    parser.add_argument("--masks", action="store_true", help="write the masks of a video's frames too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Segments the inputs, writes the results, and prints each label's share. Returns the exit status."""
    from lseg_ros.cli.outputs import targets
    from lseg_ros.images.sources import expand, is_video

    if not 0 <= options.threshold <= 1:
        raise ValueError(f"the threshold is {options.threshold:g}; it must be between 0 and 1")
    planned = targets(expand(options.inputs, warn), options.output)
    videos = [target for target in planned if is_video(target.source)]
    if options.scores and videos:
        raise ValueError(f"--scores is for photos, and {videos[0].source} is a video; leave one of them out")
    for target in videos if options.masks else []:
        if target.masks.exists():
            raise ValueError(f"{target.masks} is there already; remove it, or choose another output")

    pixels: Counter[int] = Counter()
    with enough_memory():
        segmenter = segmenter_of(options)  # slow, so the inputs are checked before
        segment = segmenter.segment_multiscale if options.multiscale else segmenter.segment
        failed = _segment_all(planned, segment, options, pixels)
    if pixels:
        print(_shares(segmenter.labels, segmenter.rules.unknown_id, pixels))
    return 1 if failed else 0


def _segment_all(
    planned: "Sequence[Target]",
    segment: "Callable[[RGB], Segmentation]",
    options: argparse.Namespace,
    pixels: Counter[int],
) -> int:
    """Segments and writes all inputs, and counts pixels by id. Returns how many inputs could not be read."""
    import numpy as np
    from tqdm import tqdm

    from lseg_ros.images.photos import SourceError
    from lseg_ros.images.sources import is_video

    failed = 0
    photos = sum(not is_video(target.source) for target in planned)
    with tqdm(total=photos, unit="picture", disable=None) as bar:

        def more(frames: int) -> None:
            bar.total = (bar.total or 0) + frames
            bar.refresh()

        for target in planned:
            target.overlay.parent.mkdir(parents=True, exist_ok=True)
            work = partial(_segment_video, more=more) if is_video(target.source) else _segment_photo
            try:
                for result in work(target, segment, options):
                    pixels.update(dict(enumerate(np.bincount(result.mask.ravel()).tolist())))
                    bar.update()
            except SourceError as error:
                failed += 1
                warn(f"{error}; left out")
    return failed


def _segment_photo(
    target: "Target", segment: "Callable[[RGB], Segmentation]", options: argparse.Namespace
) -> "Iterator[Segmentation]":
    from lseg_ros.cli.outputs import write_png, write_scores
    from lseg_ros.images.photos import picture_count, read_photo
    from lseg_ros.inference.render import overlay

    rgb = read_photo(target.source)
    count = picture_count(target.source)
    if count > 1:
        warn(f"{target.source} holds {count} pictures; only the first is segmented")
    result = segment(rgb)
    if options.scores:
        write_scores(target.scores, result)
    write_png(target.masks, result.mask)
    write_png(target.overlay, overlay(rgb, result.mask, result.labels))
    yield result


def _segment_video(
    target: "Target",
    segment: "Callable[[RGB], Segmentation]",
    options: argparse.Namespace,
    more: Callable[[int], object],
) -> "Iterator[Segmentation]":
    from lseg_ros.cli.outputs import VideoWriter, write_png, write_times
    from lseg_ros.files import replacing
    from lseg_ros.images.videos import read_video, video_timing
    from lseg_ros.inference.render import overlay

    timing = video_timing(target.source)
    more(len(timing.times))
    with ExitStack() as stack:
        masks = stack.enter_context(replacing(target.masks)) if options.masks else None
        if masks is not None:
            masks.mkdir()
            write_times(masks / "times.csv", timing.times)
        video = stack.enter_context(closing(VideoWriter(stack.enter_context(replacing(target.overlay)), timing.rate)))
        for number, (rgb, times) in enumerate(zip(read_video(target.source), timing.repeats, strict=False)):
            result = segment(rgb)
            if masks is not None:
                write_png(masks / f"{number:06d}.png", result.mask)
            video.write(overlay(rgb, result.mask, result.labels), times)
            yield result
    end = timing.times[-1] + 1 / timing.rate
    if timing.missing > 0.1 * (end + timing.missing):  # headers may be wrong by a few frames
        warn(f"{target.source} ends after {end:.3g} of {end + timing.missing:.3g} s; is it damaged?")


def _shares(labels: "LabelSet", unknown: int, pixels: Counter[int]) -> str:
    """Returns a table of the labels, their ids, and their shares of all pixels."""
    total = pixels.total()
    rows = [("label", "id", "share of the picture")]
    rows += [(x.name, str(x.class_id), f"{pixels[x.class_id] / total:.1%}") for x in labels.labels if not x.background]
    if pixels[unknown]:
        rows.append(("(unknown)", str(unknown), f"{pixels[unknown] / total:.1%}"))
    return table(rows)
