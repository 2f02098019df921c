"""The watch for a process that stood still."""

import os
import signal
import subprocess
import sys

import pytest
from processes import PATIENCE

from lseg_ros.ros.standstill import Times, stood_still

PROGRAM = """
from threading import Event
from lseg_ros.ros.standstill import StandstillWatch
noticed = Event()
def notice(seconds):
    print(f"{seconds:.0f}", flush=True)
    noticed.set()
with StandstillWatch(notice):
    print("watching", flush=True)
    noticed.wait()
"""


@pytest.mark.parametrize(
    ("seconds", "cpu", "expected"),
    [(0.25, 0.0, 0.0), (2.0, 0.0, 0.0), (20.25, 0.1, 20.0), (20.25, 19.0, 0.0), (2.5, 0.2, 2.25), (2.5, 2.0, 0.0)],
)
def test_a_process_that_worked_did_not_stand_still(seconds: float, cpu: float, expected: float) -> None:
    before = Times(1000.0, 50.0)
    assert stood_still(before, Times(before.wall + seconds, before.cpu + cpu)) == expected


def test_a_stopped_process_notices() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "watching\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        # What is tested is that time passes.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGCONT)
        assert float(process.stdout.readline()) >= 2
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
