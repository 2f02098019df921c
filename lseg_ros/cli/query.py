"""The command `lseg query`, which asks a running node where something is in its last image."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import table
from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, with_node
from lseg_ros.cli.options import user_path
from lseg_ros.files import from_home

if TYPE_CHECKING:
    from lseg_ros.ros.client import RemoteNode

_OLDEST = 3600.0  # seconds; an image that seems older has its stamp from another clock
_LONGEST_NAME = 60  # most characters of a file's name
_DESCRIPTION = f"""\
Asks a running node where something is in its last image. It need not be a label, and the labels do not change:

  lseg query door "fire extinguisher"

score:  the phrase's share at its best pixel, 0 to 1, against the labels in force; phrases do not compete
cosine: of the phrase and that pixel, independent of the labels
box:    around the pixels that are connected with the best one and have at least half its score

{EXIT_STATUS}"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "query",
        help="ask a running node where something is in its last image",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("phrases", nargs="+", metavar="PHRASE", help="what to look for")
    parser.add_argument(
        "--save", type=user_path, metavar="DIR", help="write a heat map of each phrase there: dark is 0, bright is 1"
    )
    add_node_options(parser, camera=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints where each phrase fits best. Returns the exit status."""
    folder = None if options.save is None else from_home(options.save)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def work(node: "RemoteNode") -> int:
        answer = node.query(options.phrases, scores=folder is not None, camera=options.camera)
        print(_image(answer.header))
        print(match_table(options.phrases, answer))
        for number, score in enumerate(answer.scores):
            path = Path(folder or "", _file_name(number, options.phrases[number]))
            _write_heat_map(path, score)
            print(f"wrote {path}")
        return 0

    return with_node(options, work)


def match_table(phrases: list[str], answer: Any) -> str:
    """Returns an answer of lseg_ros/srv/Query as a table.

    Args:
        phrases: The phrases of the request.
        answer: The response.
    """
    rows = [("phrase", "score", "cosine", "point", "box")]
    for i, phrase in enumerate(phrases):
        box = answer.best_region[i]
        rows.append(
            (
                phrase,
                f"{answer.best_score[i]:.2f}",
                f"{answer.best_cosine[i]:.2f}",
                f"{answer.best_u[i]}, {answer.best_v[i]}",
                f"{box.width}x{box.height} at {box.x_offset}, {box.y_offset}",
            )
        )
    return table(rows)


def _image(header: Any) -> str:
    seconds = header.stamp.sec + header.stamp.nanosec / 1e9
    age = time.time() - seconds
    when = f"{age:.1f} s old" if 0 <= age < _OLDEST else f"of {seconds:.3f} s"
    return f"image of {header.frame_id or '(no frame)'}, {when}:"


def _file_name(number: int, phrase: str) -> str:
    words = re.sub(r"\W+", "_", phrase.strip().lower()).strip("_")[:_LONGEST_NAME]
    return f"{number + 1}_{words or 'phrase'}.png"


def _write_heat_map(path: Path, score: Any) -> None:
    import cv2
    import numpy as np

    from lseg_ros.cli.outputs import write_png
    from lseg_ros.ros.client import to_array

    levels = np.clip(255 * to_array(score), 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    write_png(path, cv2.cvtColor(colors, cv2.COLOR_BGR2RGB))
