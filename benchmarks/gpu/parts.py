"""The measurements on a GPU. Each adds to the results."""

import copy
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import measure
from benchmarks.gpu import LeftOut
from benchmarks.gpu.precision import decide
from benchmarks.inputs import labels, photos
from benchmarks.machine import now
from lseg_ros import Segmenter, load_model

ROOT = Path(__file__).parents[2]
FRAMES, EVERY = 10_000, 500  # frames of the long run, and between two readings of its memory
LONG_RUN = 40.0  # seconds after which it ends before that
CHANGE = 50  # frames between two changes of labels in the long run
LIVES = 20
TESTS = 100  # most seconds for the tests
SIZES = ((480, 360), (640, 480), (320, 240), (480, 480), (424, 240), (640, 360))  # width and height


def tests(results: dict[str, Any]) -> None:
    """Runs the tests marked gpu in their own process."""
    if find_spec("pytest") is None:
        raise LeftOut("pytest is not installed")
    command = [sys.executable, "-m", "pytest", "test/gpu", "-m", "gpu", "-q", "-o", "addopts=--import-mode=importlib"]
    command += ["-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TESTS)
        output, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        output, status = f"{error.stdout or b''!r}", -1
    lines = output.splitlines()
    print("\n".join(lines[-60:]), flush=True)
    results["gpu"]["tests"] = {"status": status, "summary": lines[-1] if lines else ""}
    if status:
        raise RuntimeError(lines[-1] if status > 0 and lines else f"not done after {TESTS} s")


def speed_mini(results: dict[str, Any]) -> None:
    """Measures `lseg_mini`: plain, baseline, and each precision, on the same photographs in turn."""
    results["segmenter"] += measure("lseg_mini", ("480x360", "640x480", "1280x720"), (7, 11, 20, 150), 15, ("torch",))


def speed_vit(results: dict[str, Any]) -> None:
    """Measures `lseg_vit_l16` with random weights of full size."""
    _need_open_clip()
    results["segmenter"] += measure("lseg_vit_l16", ("480x480", "640x480", "1280x720"), (7, 20, 150), 7, ("torch",))


def precision(results: dict[str, Any]) -> None:
    """Finds the precision that `auto` should be."""
    results["gpu"]["precision"] = [decide("lseg_mini")]
    _need_open_clip()
    results["gpu"]["precision"].append(decide("lseg_vit_l16"))


def endurance(results: dict[str, Any]) -> None:
    """Measures the memory of card and host while sizes and labels change."""
    segmenter = Segmenter(load_model("lseg_mini"), "cuda")
    words, images = labels(150), [photos(*size)[0] for size in SIZES]
    held, start = {}, time.perf_counter()
    for frame in range(FRAMES):
        if frame % CHANGE == 0:
            first = 20 * (frame // CHANGE) % 130
            segmenter.set_labels(words[first : first + 5 + frame // CHANGE % 16])
        result = segmenter.segment(images[frame // EVERY % len(images)])
        result.mask, result.confidence_bytes  # noqa: B018
        if (frame + 1) % EVERY == 0:
            held[str(frame + 1)] = _memory_mb()
            if time.perf_counter() - start > LONG_RUN:
                break
    seconds = time.perf_counter() - start
    segmenter.release()
    results["gpu"]["endurance"] = {**now(), "frames_per_s": round((frame + 1) / seconds, 1), "held_mb": held}


def lives(results: dict[str, Any]) -> None:
    """Measures the memory after segmenters were created and released several times, as by cleanup and configure."""
    held, net = [], load_model("lseg_mini")
    for _ in range(LIVES):
        segmenter = Segmenter(copy.deepcopy(net), "cuda")
        segmenter.set_labels(labels(20))
        for _ in range(5):  # graphs are recorded after a few images
            segmenter.segment(photos(640, 480)[0]).mask  # noqa: B018
        segmenter.release()
        del segmenter
        gc.collect()
        held.append(_memory_mb())
    results["gpu"]["lives"] = {**now(), "held_mb": held}


def cameras(results: dict[str, Any]) -> None:
    """Measures four cameras of two sizes that share a model, in frames per second for all."""
    segmenter = Segmenter(load_model("lseg_mini"), "cuda")
    segmenter.set_labels(labels(20))
    images = [photos(*size)[i] for i, size in enumerate(((640, 480), (640, 480), (480, 360), (480, 360)))]
    results["gpu"]["cameras"] = {**now(), "frames_per_s": round(frames_a_second(segmenter, images, 800), 1)}


def processes(results: dict[str, Any]) -> None:
    """Measures two processes on one card and one alone, in frames per second for each."""
    alone = _workers(1)
    results["gpu"]["processes"] = {**now(), "alone": alone, "together": _workers(2)}


def training(results: dict[str, Any]) -> None:
    """Measures the training steps of `lseg_mini` per second, with 8 crops of 320 pixels."""
    from benchmarks.gpu.training import steps_a_second

    results["gpu"]["training"] = {**now(), **steps_a_second()}


def node(results: dict[str, Any]) -> None:
    """Measures the installed node over DDS, if ROS is installed."""
    if find_spec("rclpy") is None:
        raise LeftOut("rclpy is not installed")
    import shutil

    if shutil.which("lseg_node") is None:
        raise LeftOut("lseg_node is not installed; run make env, then . ./env.sh")
    from benchmarks.node import measure_node

    results["node"].append(measure_node("lseg_mini", 100, 1))


PARTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "tests": tests,
    "speed of lseg_mini": speed_mini,
    "speed of lseg_vit_l16": speed_vit,
    "precision": precision,
    "cameras": cameras,
    "endurance": endurance,
    "lives": lives,
    "processes": processes,
    "training": training,
    "node": node,
}


def _need_open_clip() -> None:
    if find_spec("open_clip") is None:
        raise LeftOut("lseg_vit_l16 needs open_clip, which is not installed")


def frames_a_second(segmenter: Segmenter, images: list[Any], frames: int) -> float:
    start = 0.0
    for frame in range(-20, frames):
        if frame == 0:
            start = time.perf_counter()
        result = segmenter.segment(images[frame % len(images)])
        result.mask, result.confidence_bytes  # noqa: B018
    return frames / (time.perf_counter() - start)


def _workers(count: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.gpu.worker"]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    try:
        for process in running:  # all processes are ready before the first one starts
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [float(process.communicate(timeout=60)[0]) for process in running]
    finally:
        for process in running:
            process.kill()


def _memory_mb() -> dict[str, float]:
    """Returns this process's memory on the card (PyTorch's own count, and with all libraries) and on the host."""
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    numbers = {
        "allocated": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
        "card": total - free,
        "host": pages * os.sysconf("SC_PAGE_SIZE"),
    }
    return {name: round(number / 2**20, 1) for name, number in numbers.items()}
