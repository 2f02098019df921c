"""Saves and loads the state of a run between two steps, in `last.pt`."""

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lseg_ros.files import replacing
from lseg_ros.training.config import TrainConfig

# Entries of the configuration that may change when a run continues. They do not affect what is learned.
_FREE = ("workers", "save_every", "broken_files")


def save_state(path: Path, state: dict[str, Any], config: TrainConfig, processes: int) -> None:
    """Saves a state together with the configuration of its run.

    An interruption leaves either the old file or the new one.

    Args:
        path: The file.
        state: The state.
        config: The configuration of the run.
        processes: Number of processes of the run.
    """
    with replacing(path) as part:
        torch.save(state | {"config": _plain(config), "processes": processes}, part)


def load_state(path: Path, config: TrainConfig, processes: int, device: torch.device) -> dict[str, Any] | None:
    """Loads a state.

    A finished run may continue with more `steps` and a restart at the step where it ended.

    Args:
        path: The file.
        config: The configuration of the run that continues.
        processes: Number of its processes.
        device: The device to load to.

    Returns:
        The state, or None where there is no file.

    Raises:
        ValueError: The state is of another run, or the file is no state. The message names what differs.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        before, now = json.loads(state["config"]), json.loads(_plain(config))
        free = (*_FREE, "steps", "restarts") if _is_longer(before, now) else _FREE
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no state of a run of this version; remove it, or use another folder") from error
    differing = [key for key in now if before.get(key) != now[key] and key not in free]
    if differing:
        key = differing[0]
        was, is_now = (_short(entries.get(key)) for entries in (before, now))
        more = f" (and so do {', '.join(map(repr, differing[1:]))})" if differing[1:] else ""
        hint = f"; to train it for longer, add {was} to its 'restarts'" if key == "steps" else ""
        raise ValueError(
            f"{path} is of a run of another configuration: {key!r} was {was} and is {is_now}{more}; "
            f"give the configuration that it was begun with, or another folder{hint}"
        )
    if state["processes"] != processes:
        raise ValueError(
            f"{path} is of a run of {state['processes']} processes, and here are {processes}; "
            "continue it with the same number"
        )
    return state


def _is_longer(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Returns whether the second run begins exactly like the first one and lasts longer."""
    ends = [[*config["restarts"], config["steps"]] for config in (before, now)]
    return len(ends[0]) < len(ends[1]) and ends[0] == ends[1][: len(ends[0])]


def _plain(config: TrainConfig) -> str:
    return json.dumps(asdict(config), default=str)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
