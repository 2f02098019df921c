"""`lseg`: what needs no ROS, and the commands that talk to a running node.

A command's module imports what its work needs inside `run`: torch takes seconds, and --help should not.
"""

import argparse
import io
import os
import sys

from lseg_ros.cli import (
    bag,
    convert,
    enable,
    evaluate,
    export,
    features,
    fetch,
    info,
    labels,
    models,
    query,
    segment,
    status,
    train,
    verify,
    watch,
)

_COMMANDS = (
    *(segment, bag, features, convert, export, models, info, verify, fetch, train, evaluate),
    *(labels, query, enable, status, watch),  # of a running node
)
_BROKEN_PIPE = 141  # the exit status that shells give programs that the signal of a broken pipe has ended


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    _print_everything()
    try:
        try:
            options = _parser().parse_args(arguments)
            ended: int = options.run(options)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where it can still be handled that nobody reads any more
    except BrokenPipeError:
        # As in `lseg info X | head`. What is still buffered must go somewhere, or Python complains when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        # The system's own errors come with a number and a tuple; ours are a sentence.
        reason = error.strerror or str(error)
        print(f"lseg: {f'{error.filename}: {reason}' if error.filename else reason}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"lseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return ended


def _print_everything() -> None:
    """Shows characters that a terminal has not as backslashes and numbers, so that no table of labels is lost."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lseg", description="Language-driven semantic segmentation.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
