"""The command line `lseg`: commands that need no ROS, and commands that talk to a running node.

A command's module imports its libraries inside `run`, because torch takes seconds, and --help should not.
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
    teach,
    train,
    verify,
    watch,
)

_COMMANDS = (
    *(segment, bag, features, convert, export, models, info, verify, fetch, train, evaluate),
    *(labels, query, teach, enable, status, watch),  # for a running node
)
_BROKEN_PIPE = 141  # the exit status of a program that the signal of a broken pipe has ended


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Returns the exit status.

    Args:
        arguments: The command line without the program's name; None for that of this process.
    """
    _print_everything()
    try:
        try:
            options = _parser().parse_args(arguments)
            ended: int = options.run(options)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here a broken pipe can still be handled
    except BrokenPipeError:
        # As in `lseg info X | head`. The rest of the buffer goes to the null device, or Python would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        # The system's errors have a number and a file name. The package's own errors are one sentence.
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
    """Prints characters that a terminal cannot show as escapes, so that no table of labels is lost."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lseg", description="Language-driven semantic segmentation.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
