"""The command `lseg teach`, which teaches a running node a label by pixels of its last image."""

import argparse
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, with_node

if TYPE_CHECKING:
    from lseg_ros.ros.client import RemoteNode

_DESCRIPTION = f"""\
Teaches a running node a label, by pixels of its last image. The label then competes with its words and with the vectors
of these pixels. It is added if it is new. Further calls add to the earlier ones.

  lseg teach gravel --at 320,400 350,410 --not 100,420
  lseg teach gravel --box 300,380,60,40 --alone

Columns and rows are those of the mask. `lseg labels --save FILE.yaml` keeps what was taught.

{EXIT_STATUS}"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "teach",
        help="teach a running node a label by pixels of its last image",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("label", metavar="LABEL", help="its name")
    for option, kind, shape, meaning in (
        ("at", _point, "U,V", "pixels that are of the label"),
        ("not", _point, "U,V", "pixels that are not"),
        ("box", _box, "LEFT,TOP,WIDTH,HEIGHT", "rectangles that are of the label"),
        ("not-box", _box, "LEFT,TOP,WIDTH,HEIGHT", "rectangles that are not"),
    ):
        name = f"{option.replace('-', '_')}_marks"
        parser.add_argument(
            f"--{option}", dest=name, type=kind, nargs="+", action="extend", default=[], metavar=shape, help=meaning
        )
    parser.add_argument("--alone", action="store_true", help="the label's words do not count")
    parser.add_argument("--forget", action="store_true", help="drop what it was taught before")
    add_node_options(parser, camera=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Teaches a label and prints the node's answer. Returns the exit status."""
    from lseg_ros.inference.lessons import Marks

    toward, against = Marks(options.at_marks, options.box_marks), Marks(options.not_marks, options.not_box_marks)
    if not (options.forget or toward.number or against.number):
        raise ValueError("nothing is marked; give --at, --not, --box or --not-box, or --forget")

    def work(node: "RemoteNode") -> int:
        answer = node.teach(
            options.label, toward, against, alone=options.alone, forget=options.forget, camera=options.camera
        )
        print(f"{answer.message} (version {answer.label_version})")
        return 0

    return with_node(options, work)


def _point(text: str) -> tuple[int, ...]:
    return _numbers(text, 2)


def _box(text: str) -> tuple[int, ...]:
    return _numbers(text, 4)


def _numbers(text: str, count: int) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != count or not all(part.isascii() and part.isdecimal() and len(part) < 7 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not {count} whole numbers with commas between them")
    return tuple(map(int, parts))
