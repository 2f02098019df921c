"""Runs functions one after the other in a process of their own, so that none of them can end or block the others.

After some errors a process cannot use its GPU any more, and a function that hangs cannot be ended from within. Then the
process is replaced. Otherwise it is kept, because PyTorch and CUDA take seconds to start.
"""

import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.gpu import LeftOut

Part = Callable[[dict[str, Any]], None]


class PartFailed(Exception):
    """A part did not succeed. The text is one line."""


class Apart:
    """A process that runs parts. It is started for the first one."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, part: Part, results: dict[str, Any], limit: float) -> None:
        """Runs a part, which adds to the results. What it adds is kept if it then fails, but not if its process ends.

        Args:
            part: A function of a module.
            results: The results so far.
            limit: Most seconds for the part.

        Raises:
            LeftOut: The part says that it cannot run here.
            PartFailed: The part raised an error, took too long, or ended its process.
        """
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((part, results))
            if not self._pipe.poll(limit):
                raise PartFailed(f"not done after {limit:.0f} s")
            kind, text, changed = self._pipe.recv()
        except PartFailed:
            self.close()
            raise
        except (EOFError, OSError):
            self._process.join(5)
            status = self._process.exitcode
            self.close()
            raise PartFailed(f"its process ended with status {status}") from None
        results.update(changed)
        if kind == "left out":
            raise LeftOut(text)
        if kind == "failed":
            self.close()  # whatever went wrong, the next part does not meet it
            raise PartFailed(text)

    def _start(self) -> None:
        context = get_context("spawn")  # a forked process cannot use CUDA
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()

    def close(self) -> None:
        """Ends the process and those that it started."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # it may not lead its group yet
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        assert self._pipe is not None
        self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    """Runs parts until the other end closes."""
    os.setpgrp()
    while True:
        try:
            part, results = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            part(results)
            pipe.send(("done", "", results))
        except LeftOut as error:
            pipe.send(("left out", str(error), results))
        except Exception as error:  # the other parts should still run
            traceback.print_exc()
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            pipe.send(("failed", f"{type(error).__name__}: {first}", results))
