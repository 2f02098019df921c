"""Counts, rates and latencies of a running node, as diagnostics."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

_FAILING = 3  # number of failures in a row that make the status an error
_OTHER_CLOCK_MS = 3_600_000  # an image that seems older than this has its stamp from another clock
_WINDOW = 5.0  # seconds over which rates are measured
_SAMPLES = 200  # number of latest values from which percentiles are computed


@dataclass
class Snapshot:
    """The figures of one camera at one moment.

    Attributes:
        counts: Number of frames since the start: received, skipped, segmented, rescored, refused, failed.
        rates: Received and segmented images per second.
        stages_ms: Latest times of each stage, in milliseconds.
        ages_ms: Latest times from an image's stamp to the publication of its mask, in milliseconds.
        failures_in_a_row: Number of frames that were refused or failed since the last segmented one.
        last_error: The last error in one sentence.
        silence: Why no image arrives, if that is known.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    ages_ms: list[float] = field(default_factory=list)
    failures_in_a_row: int = 0
    last_error: str = ""
    silence: str = ""


class Statistics:
    """Counts one camera's frames. Any thread may count or read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("received", "skipped", "segmented", "rescored", "refused", "failed"), 0)
        self._times: dict[str, deque[float]] = {name: deque(maxlen=1000) for name in ("received", "segmented")}
        self._stages_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_SAMPLES))
        self._ages_ms: deque[float] = deque(maxlen=_SAMPLES)
        self._failures_in_a_row = 0
        self._last_error = self._silence = ""

    def count(self, what: str) -> None:
        """Counts a frame.

        Args:
            what: "received", "skipped" (because of max_rate) or "rescored".
        """
        with self._lock:
            self._counts[what] += 1
            if what in self._times:
                self._times[what].append(time.perf_counter())

    def segmented(self, age_ms: float, stages_ms: Mapping[str, float]) -> None:
        """Counts a published frame.

        Args:
            age_ms: Time since the image's stamp, in milliseconds. Impossible values are left out.
            stages_ms: Time of each stage, in milliseconds.
        """
        with self._lock:
            self._counts["segmented"] += 1
            self._times["segmented"].append(time.perf_counter())
            if 0 <= age_ms < _OTHER_CLOCK_MS:
                self._ages_ms.append(age_ms)
            for name, value in stages_ms.items():
                self._stages_ms[name].append(value)
            self._failures_in_a_row, self._silence = 0, ""

    def error(self, what: str, message: str) -> None:
        """Counts a frame that was not segmented.

        Args:
            what: "refused" or "failed".
            message: The reason in one sentence.
        """
        with self._lock:
            self._counts[what] += 1
            self._last_error = message
            self._failures_in_a_row += 1

    def silent(self, why: str) -> None:
        """Notes why no image arrives; empty: the reason no longer holds."""
        with self._lock:
            self._silence = why

    def snapshot(self) -> Snapshot:
        """Returns the current figures."""
        since = time.perf_counter() - _WINDOW
        with self._lock:
            rates = {name: sum(t > since for t in times) / _WINDOW for name, times in self._times.items()}
            return Snapshot(
                dict(self._counts),
                rates,
                {name: list(values) for name, values in self._stages_ms.items()},
                list(self._ages_ms),
                self._failures_in_a_row,
                self._last_error,
                self._silence,
            )


def status(
    name: str, hardware_id: str, activity: str, snapshot: Snapshot, values: Mapping[str, object]
) -> DiagnosticStatus:
    """Returns the status of one camera.

    Args:
        name: The status's name.
        hardware_id: The status's hardware id.
        activity: The camera's state in a few words. It is the message if nothing is wrong.
        snapshot: The camera's figures.
        values: Further values to show before the figures.
    """
    message = DiagnosticStatus(name=name, hardware_id=hardware_id)
    failures = snapshot.failures_in_a_row
    if failures >= _FAILING:
        message.level = DiagnosticStatus.ERROR
        message.message = f"the last {failures} frames failed: {snapshot.last_error}"
    elif failures:
        message.level, message.message = DiagnosticStatus.WARN, snapshot.last_error
    elif snapshot.silence:
        message.level, message.message = DiagnosticStatus.WARN, snapshot.silence
    else:
        message.level, message.message = DiagnosticStatus.OK, activity
    shown: dict[str, object] = {**values, **snapshot.counts}
    shown |= {f"{name}_hz": f"{rate:.1f}" for name, rate in snapshot.rates.items()}
    for stage, samples in {"age": snapshot.ages_ms, **snapshot.stages_ms}.items():
        if samples:
            p50, p95 = np.percentile(samples, (50, 95))
            shown |= {f"{stage}_p50_ms": f"{p50:.1f}", f"{stage}_p95_ms": f"{p95:.1f}"}
    shown["last_error"] = snapshot.last_error
    message.values = [KeyValue(key=key, value=str(value)) for key, value in shown.items()]
    return message


def failed_status(name: str, hardware_id: str, state: str, failure: str) -> DiagnosticStatus:
    """Returns the status of a node without running cameras.

    Args:
        name: The status's name.
        hardware_id: The status's hardware id.
        state: The node's state.
        failure: Why the last transition failed; empty if none did.
    """
    level = DiagnosticStatus.ERROR if failure else DiagnosticStatus.OK
    values = [KeyValue(key="state", value=state), KeyValue(key="last_error", value=failure)]
    return DiagnosticStatus(name=name, hardware_id=hardware_id, level=level, message=failure or state, values=values)


def with_warning(status: DiagnosticStatus, warning: str) -> DiagnosticStatus:
    """Raises a status to a warning at least, and adds a sentence to its message."""
    if status.level == DiagnosticStatus.OK:
        status.level, status.message = DiagnosticStatus.WARN, f"{warning} ({status.message})"
    else:
        status.message += f"; {warning}"
    return status
