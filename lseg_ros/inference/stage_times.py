"""How long each stage of an image takes: by a GPU's own clock where one computes, else by the wall clock."""

import time

import torch


class StageClock:
    """Call `mark` at the end of each stage. Marking waits for nothing; reading the times waits for the GPU."""

    def __init__(self, device: torch.device) -> None:
        """Starts the first stage."""
        self._device = device
        self._marks: list[tuple[str, torch.cuda.Event | float]] = [("", self._now())]

    def mark(self, stage: str) -> None:
        """Ends a stage, and starts the next one."""
        self._marks.append((stage, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """Of each stage, by name, in their order."""
        found = {}
        for (_, start), (stage, end) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(end, float):
                assert isinstance(start, float)
                found[stage] = 1e3 * (end - start)
            else:
                assert isinstance(start, torch.cuda.Event)
                end.synchronize()
                found[stage] = start.elapsed_time(end)
        return found

    def _now(self) -> torch.cuda.Event | float:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
