"""Measures the time of each stage of an image: by the GPU's own clock on a GPU, else by the wall clock."""

import time

import torch


class StageClock:
    """A clock for the stages of one image. Call `mark` at the end of each stage.

    Marking does not wait. Reading the times waits for the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        """Starts the first stage.

        Args:
            device: The device that computes.
        """
        self._device = device
        self._marks: list[tuple[str, torch.cuda.Event | float]] = [("", self._now())]

    def mark(self, stage: str) -> None:
        """Ends a stage and starts the next one."""
        self._marks.append((stage, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """Returns the time of each stage in milliseconds, by name, in order."""
        times = {}
        for (_, start), (stage, end) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(end, float):
                assert isinstance(start, float)
                times[stage] = 1e3 * (end - start)
            else:
                assert isinstance(start, torch.cuda.Event)
                end.synchronize()
                times[stage] = start.elapsed_time(end)
        return times

    def _now(self) -> torch.cuda.Event | float:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
