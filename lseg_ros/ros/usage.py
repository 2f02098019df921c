"""The --help of the executables. A node takes its parameters from ROS, so it has no options of its own."""

import argparse
import sys
from collections.abc import Sequence
from itertools import takewhile
from textwrap import fill

from lseg_ros.ros.given_parameters import Entry

_WIDTH = 120  # characters of a line
_HOW = """\
How parameters are given:
  {name} --ros-args -p {example}
  {name} --ros-args --params-file my.yaml
How topics are chosen:
  {name} --ros-args -r image:=/camera/image_raw -r __ns:=/robot1
"""


def parse_no_arguments(
    name: str, what: str, example: str, parameters: Sequence[Entry], args: Sequence[str] | None = None
) -> None:
    """Prints the help for --help, and refuses arguments that are not for ROS. Both end the program.

    Args:
        name: The executable's name.
        what: What it does, in a few lines.
        example: A parameter and a value, as in `-p`.
        parameters: The executable's parameters.
        args: The command line without the program's name; None for that of this process.
    """
    width = max(len(entry.name) for entry in parameters)
    table = "\n".join(
        fill(
            entry.explained,
            _WIDTH,
            initial_indent=f"  {entry.name.ljust(width)}  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
        for entry in parameters
    )
    parser = argparse.ArgumentParser(
        prog=name,
        description=what,
        epilog=f"{_HOW.format(name=name, example=example)}\nParameters:\n{table}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{name} [--help] [--ros-args ...]",
    )
    parser.parse_args(list(takewhile(lambda word: word != "--ros-args", sys.argv[1:] if args is None else args)))
