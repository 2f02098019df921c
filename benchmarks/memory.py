"""Measures the memory of the installed node during long work."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.inputs import labels, photos
from benchmarks.machine import now
from benchmarks.node import HEIGHT, LABELS, NEW, WIDTH, Client, node_arguments, running

POINTS = 20  # number of times that the memory is read


def measure_memory(model: str, frames: int) -> dict[str, Any]:
    """Sends the node `frames` images, changes its labels now and then, and reads its memory.

    Each change brings labels that the node has not seen, until there are no more, as on a robot that gets many
    requests.
    """
    words, pictures = labels(150), photos(WIDTH, HEIGHT)
    every = max(1, frames // POINTS)
    held: dict[int, float] = {}
    with node_arguments(model) as arguments, Client() as client, running(arguments) as process:
        client.first_mask()
        for frame in tqdm(range(1, frames + 1), desc=f"{model}, memory", unit="frame", disable=None):
            client.frame(pictures[frame % len(pictures)])
            if frame % every == 0:
                held[frame] = _resident_mb(process)
                start = LABELS + NEW * (frame // every) % (len(words) - LABELS - NEW)
                client.set_labels(words[start : start + NEW])
    return {"model": model, **now(), "image": f"{WIDTH}x{HEIGHT}", "frames": frames, "resident_mb": held}


def _resident_mb(process: int) -> float:
    """Returns the resident memory of a process in MB, including mapped files."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return round(kib * 1024 / 1e6, 1)
