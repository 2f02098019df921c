"""`lseg`: what needs no ROS.

A command's module imports what its work needs inside `run`: torch takes seconds, and --help should not.
"""

import argparse
import sys

from lseg_ros.cli import convert, evaluate, info, models, segment, train


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except OSError as error:
        # The system's own errors come with a number and a tuple; ours are a sentence.
        print(f"lseg: {f'{error.filename}: {error.strerror}' if error.strerror else error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"lseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lseg", description="Language-driven semantic segmentation.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (segment, convert, models, info, train, evaluate):
        command.add_to(commands)
    return parser
