"""Starts installed executables for tests, and ends them."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

Start = Callable[..., subprocess.Popen[str]]

PATIENCE = 400.0
"""Seconds after which a test gives up waiting for another process. One that passes never waits that long, but loading
torch beside other work may take a minute, and no test is about how fast the machine is."""


@pytest.fixture
def start(tmp_path: Path, domain: int) -> Iterator[Start]:
    """Starts an installed executable with a log in tmp_path/<name>.log. Running ones are killed at the end."""
    running: list[tuple[subprocess.Popen[str], IO[str]]] = []

    def run(name: str, **parameters: object) -> subprocess.Popen[str]:
        arguments = [a for key, value in parameters.items() for a in ("-p", f"{key}:={value}")]
        log = (tmp_path / f"{name}.log").open("a+")
        process = subprocess.Popen([name, "--ros-args", *arguments], stdout=log, stderr=subprocess.STDOUT, text=True)
        running.append((process, log))
        return process

    yield run
    for process, log in running:
        process.kill()
        process.wait()
        log.close()


def stop(process: subprocess.Popen[str], how: signal.Signals) -> float:
    """Sends a signal and returns the processor seconds until the process had ended.

    The wall clock would also count other work on the machine.
    """
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    before = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    process.send_signal(how)
    process.wait(PATIENCE)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime + now.ru_stime - ended.ru_utime - ended.ru_stime - before
