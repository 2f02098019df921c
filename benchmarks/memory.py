"""The memory of the installed node while it works for long."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.inputs import labels, photos
from benchmarks.machine import now
from benchmarks.node import HEIGHT, LABELS, NEW, WIDTH, Client, node_arguments, running

POINTS = 20  # that the memory is read at


def measure_memory(model: str, frames: int) -> dict[str, Any]:
    """Shows the node `frames` images, changing its labels now and then, and reads what memory it holds.

    Each change brings labels it has not seen until there are no more, as a robot does that is asked for many things.
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
    """MB of memory that a process holds, the files that it maps included."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return round(kib * 1024 / 1e6, 1)
