"""Counters and latencies of a running node, as diagnostics."""

import threading
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

_FAILING = 3  # failures in a row that are an error
_OTHER_CLOCK_MS = 3_600_000  # an image older than this has its stamp from another clock


class Statistics:
    """Counts what happens to frames. Any thread may count or read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"received": 0, "segmented": 0, "rescored": 0, "refused": 0, "failed": 0}
        self._latency_ms: deque[float] = deque(maxlen=200)
        self._failures_in_a_row = 0
        self._last_error = ""

    def count(self, what: str) -> None:
        """Counts a frame: received or rescored."""
        with self._lock:
            self._counts[what] += 1

    def segmented(self, latency_ms: float) -> None:
        """Counts a published frame, `latency_ms` after its stamp; what cannot be a latency is not averaged."""
        with self._lock:
            self._counts["segmented"] += 1
            if 0 <= latency_ms < _OTHER_CLOCK_MS:
                self._latency_ms.append(latency_ms)
            self._failures_in_a_row = 0

    def error(self, what: str, message: str) -> None:
        """Counts a frame that was refused or failed."""
        with self._lock:
            self._counts[what] += 1
            self._last_error = message
            self._failures_in_a_row += 1

    def snapshot(self) -> tuple[dict[str, int], list[float], int, str]:
        """(counts, latest latencies in ms, failures in a row, last error)."""
        with self._lock:
            return dict(self._counts), list(self._latency_ms), self._failures_in_a_row, self._last_error


def diagnostic_array(
    statistics: Statistics, *, name: str, dropped: int, label_version: int, model: str
) -> DiagnosticArray:
    """One status; the stamp is the caller's to fill."""
    counts, latency_ms, failures, last_error = statistics.snapshot()
    status = DiagnosticStatus(name=f"{name}: segmentation", hardware_id=model)
    if failures >= _FAILING:
        status.level, status.message = DiagnosticStatus.ERROR, f"the last {failures} frames failed: {last_error}"
    elif failures:
        status.level, status.message = DiagnosticStatus.WARN, last_error
    elif not counts["received"]:
        status.level, status.message = DiagnosticStatus.WARN, "no image has arrived yet"
    else:
        status.level, status.message = DiagnosticStatus.OK, "segmenting"
    values = {key: str(value) for key, value in (counts | {"dropped": dropped, "label_version": label_version}).items()}
    if latency_ms:
        p50, p95 = np.percentile(latency_ms, (50, 95))
        values |= {"latency_p50_ms": f"{p50:.1f}", "latency_p95_ms": f"{p95:.1f}"}
    values["last_error"] = last_error
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(status=[status])
