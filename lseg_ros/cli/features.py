"""The command `lseg features`."""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.memory import enough_memory
from lseg_ros.cli.options import add_model_options, unlabelled_segmenter_of, user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lseg_ros.cli.feature_files import FeatureFile, Kind
    from lseg_ros.cli.pictures import PictureSource
    from lseg_ros.inference.segmenter import Segmenter

FORMATS = ("npz", "feature-3dgs", "openscene")
_MADE_WITH = "features.json"
_SHOWN = 5  # most reasons for left-out pictures that are printed

_DESCRIPTION = """\
Writes the vectors of a picture's pixels, for maps, point clouds and Gaussians that are queried with text later. They
do not depend on labels. Each picture has a file in FOLDER: NAME.npz for a photo, NAME/000000.npz and so on for a video
or a recording.

  --format npz           coordinates [R,h,w] float16 and basis [D,R] float32; basis @ coordinates are the vectors
  --dense                features [D,h,w] float16 instead: no product is needed, and the files are larger
  --at points.npy        coordinates [N,R], or with --dense features [N,D], of the pixels in points.npy, an array [N,2]
                         of column and row
  --format feature-3dgs  NAME_fmap_CxHxW.pt for Feature-3DGS: [D,H,W] float16, longest side 480, no unit vectors
  --format openscene     NAME.pt for OpenScene's fusion scripts: [D,H,W] float16, as large as the picture

docs/features.md has all fields, and how to query them. You can stop it at any moment; the same command continues.
Pictures that cannot be read are named and left out, and the exit status is 1.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "features",
        help="write the vectors of pixels, for maps that are queried later",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="photo, folder of photos, video, or rosbag2 recording"
    )
    parser.add_argument("-o", "--output", type=user_path, required=True, metavar="FOLDER", help="where files go")
    add_model_options(parser)
    parser.add_argument("--format", choices=FORMATS, default="npz", help="see above (default: npz)")
    parser.add_argument("--dense", action="store_true", help="vectors in the space of the text, for npz")
    parser.add_argument("--at", type=user_path, metavar="POINTS.npy", help="the vectors of these pixels alone, for npz")
    parser.add_argument(
        "--multiscale", action="store_true", help="six sizes and mirrored: better, and many times slower"
    )
    parser.add_argument(
        "--topic", action="append", default=[], help="image topic of a recording; several: --topic A --topic B"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the files that do not exist yet. Returns the exit status."""
    from lseg_ros.cli.feature_files import Kind, feature_file
    from lseg_ros.cli.pictures import sources
    from lseg_ros.files import sha256
    from lseg_ros.model.weight_files import weights_path

    for option, given in (("--dense", options.dense), ("--at", options.at is not None)):
        if given and options.format != "npz":
            raise ValueError(f"{option} is for --format npz; {options.format} has files of its own")
    if options.format == "feature-3dgs" and options.backend != "torch":
        raise ValueError("--format feature-3dgs needs --backend torch; the others know directions only, and no lengths")
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"{options.output} is a file; give a folder")
    kind = Kind(options.format, options.multiscale, options.dense, _points(options.at))
    with enough_memory(), sources(options.inputs, options.topic) as found:
        weights = sha256(weights_path(options.model))
        segmenter = unlabelled_segmenter_of(options)
        model = {"model": segmenter.net.variant.name, "weights_sha256": weights}
        format_ = feature_file(kind, segmenter, model, options.input_size)
        begin(options.output, _made_with(options, kind, segmenter, model))
        written, kept, left_out = _write_all(found, format_, options.output)
    for reason, count in left_out.most_common(_SHOWN):
        print(f"lseg: {f'{count} times: ' if count > 1 else ''}{reason}; left out", file=sys.stderr)
    if len(left_out) > _SHOWN:
        print(f"lseg: pictures left out for {len(left_out) - _SHOWN} more reasons", file=sys.stderr)
    print(f"{options.output}: {written} files written" + (f", {kept} were there already" if kept else ""))
    return 1 if left_out else 0


def _points(path: Path | None) -> "NDArray[Any] | None":
    """Reads the [N,2] points of a file; raises ValueError if it holds something else."""
    import numpy as np

    if path is None:
        return None
    with path.open("rb") as file:
        try:
            points = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is no array that numpy.save has written ({error})") from error
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iuf":
        raise ValueError(f"{path} must hold one array of numbers, N x 2, each a column and a row in pixels")
    return points


def _made_with(
    options: argparse.Namespace, kind: "Kind", segmenter: "Segmenter", model: dict[str, str]
) -> dict[str, Any]:
    """Returns all that the files depend on, under names that people understand."""
    from lseg_ros.files import sha256

    return {
        "format": kind.format,
        "choice of --dense": kind.dense,
        "choice of --multiscale": kind.multiscale,
        "list of points": None if kind.points is None else hashlib.sha256(kind.points.tobytes()).hexdigest(),
        "model": model["weights_sha256"],
        "input size": options.input_size or (None if kind.format == "openscene" else segmenter.input_size),
        "size of windows": options.window,
        "kind of device": segmenter.device.type,
        "precision": segmenter.precision,
        "backend": options.backend,
        "exported file": sha256(options.exported) if options.exported else None,
    }


def begin(folder: Path, made_with: dict[str, Any]) -> None:
    """Creates the output folder, or continues one.

    Args:
        folder: The folder.
        made_with: All that the files depend on, as JSON values, under names that people understand.

    Raises:
        ValueError: Its files were made with other values.
        OSError: It cannot be written.
    """
    from lseg_ros.files import remove_leftovers, replacing

    folder.mkdir(parents=True, exist_ok=True)
    note = folder / _MADE_WITH
    if not note.exists():
        with replacing(note) as part:
            part.write_text(json.dumps(made_with, indent=1), encoding="utf-8")
        return
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
        if not isinstance(begun, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{note} is in the way: it is not what an earlier run has left; choose another folder"
        ) from error
    other = sorted(name for name in begun.keys() | made_with.keys() if begun.get(name) != made_with.get(name))
    if other:
        raise ValueError(
            f"{folder} was begun with another {' and another '.join(other)}; "
            "repeat the earlier command to finish it, or choose another folder"
        )
    remove_leftovers(folder, older_than=3600)


def _write_all(found: "Sequence[PictureSource]", format_: "FeatureFile", folder: Path) -> tuple[int, int, Counter[str]]:
    """Returns the number of new files, the number of existing files, and why pictures were left out."""
    from tqdm import tqdm

    from lseg_ros.cli.pictures import PictureError

    written = kept = 0
    left_out: Counter[str] = Counter()
    counts = [source.count for source in found]
    with tqdm(total=sum(counts) if all(counts) else None, unit="picture", disable=None) as bar:
        for source, place in zip(found, _places(found, format_, folder), strict=True):
            for picture in source.pictures():
                path = place / format_.name(picture.name) if source.many else place
                try:
                    if path.exists() and path.stat().st_mtime >= source.changed:
                        kept += 1
                    else:
                        rgb, facts = picture.read()
                        path.parent.mkdir(parents=True, exist_ok=True)
                        format_.write(path, rgb, facts)
                        written += 1
                except PictureError as error:
                    left_out[str(error)] += 1
                except ValueError as error:
                    raise ValueError(f"{source.path}: {error}") from error
                except KeyboardInterrupt:
                    print("lseg: stopped; the same command goes on from there", file=sys.stderr)
                    raise
                bar.update()
    return written, kept, left_out


def _places(found: "Sequence[PictureSource]", format_: "FeatureFile", folder: Path) -> list[Path]:
    """Returns the file of each photo and the folder of each other source; raises ValueError if two are the same."""
    places = [folder / (s.path.stem if s.many else format_.name(s.path.stem)) for s in found]
    seen: dict[Path, Path] = {}
    for source, place in zip(found, places, strict=True):
        if place in seen:
            raise ValueError(
                f"{seen[place]} and {source.path} would both become {place}; give them separately, with two folders"
            )
        seen[place] = source.path
    return places
