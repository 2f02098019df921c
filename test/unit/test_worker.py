"""The worker: one thread, jobs before frames, only the newest frame."""

import threading

import pytest

from lseg_ros.ros.worker import Worker, WorkerStopped

WAIT = 240.0  # seconds; no test that passes waits that long


class Recorder:
    """Notes the handled frames. `gate` holds the current one."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.errors: list[BaseException] = []
        self.entered, self.gate = threading.Semaphore(0), threading.Event()
        self.done = threading.Semaphore(0)

    def __call__(self, source: str, frame: int) -> None:
        self.entered.release()
        assert self.gate.wait(WAIT)
        self.frames.append(frame)
        self.done.release()
        if frame < 0:
            raise RuntimeError(f"frame {frame}")


def test_newer_frames_replace_older_ones_and_jobs_go_first() -> None:
    recorder = Recorder()
    worker = Worker(recorder, lambda source, error: recorder.errors.append(error))
    worker.offer("camera", 1)
    assert recorder.entered.acquire(timeout=WAIT)
    worker.offer("camera", 2)
    worker.offer("camera", 3)
    frames_before_job = worker.submit(lambda: list(recorder.frames))
    recorder.gate.set()
    assert frames_before_job.result(WAIT) == [1]
    for _ in range(2):
        assert recorder.done.acquire(timeout=WAIT)
    assert recorder.frames == [1, 3] and worker.dropped("camera") == 1
    assert worker.stop(WAIT)


def test_an_exception_ends_neither_thread_nor_job_queue() -> None:
    recorder = Recorder()
    recorder.gate.set()
    worker = Worker(recorder, lambda source, error: recorder.errors.append(error))
    worker.offer("camera", -1)
    assert recorder.done.acquire(timeout=WAIT)

    def fail() -> None:
        raise KeyError("job")

    with pytest.raises(KeyError):
        worker.submit(fail).result(WAIT)
    assert worker.submit(threading.get_ident).result(WAIT) != threading.get_ident()
    assert [str(e) for e in recorder.errors] == ["frame -1"]
    assert worker.stop(WAIT)


def test_stop_ends_after_the_frame_in_flight() -> None:
    recorder = Recorder()
    worker = Worker(recorder, lambda source, error: recorder.errors.append(error))
    worker.offer("camera", 1)
    assert recorder.entered.acquire(timeout=WAIT)
    left = worker.submit(lambda: None)
    worker.offer("camera", 2)
    assert not worker.stop(0.01)  # still in flight
    with pytest.raises(WorkerStopped):
        left.result(WAIT)
    recorder.gate.set()
    assert worker.stop(WAIT)
    assert recorder.frames == [1]
    with pytest.raises(WorkerStopped):
        worker.submit(lambda: None).result(WAIT)


def test_sources_take_turns_however_often_they_offer() -> None:
    recorder = Recorder()
    worker = Worker(recorder, lambda source, error: recorder.errors.append(error))
    worker.offer("fast", 0)
    assert recorder.entered.acquire(timeout=WAIT)
    for frame in (1, 2):
        worker.offer("fast", frame)
    worker.offer("slow", 10)
    worker.offer("fast", 3)  # keeps the turn that it had
    recorder.gate.set()
    for _ in range(3):
        assert recorder.done.acquire(timeout=WAIT)
    assert recorder.frames == [0, 3, 10]
    assert (worker.dropped("fast"), worker.dropped("slow")) == (2, 0)
    assert worker.stop(WAIT)
